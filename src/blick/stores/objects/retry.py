"""Sending a request again: for clients of libraries that are told not to do so by themselves. Blocks."""

from collections.abc import Callable
from threading import Event
from typing import TypeVar

_ATTEMPTS = 3
_FIRST_PAUSE_S = 0.4

_Answer = TypeVar("_Answer")


def sent_again(
    request: Callable[[], _Answer],
    errors: tuple[type[Exception], ...],
    is_transient: Callable[[Exception], bool],
    ended: Event,
) -> _Answer:
    """What `request()` gives, after a few tries where it raised one of `errors` that is transient. Raises the last.

    Setting `ended`, from any thread, means that nobody wants the answer: nothing is tried again then.
    """
    attempt = 1
    while True:
        try:
            return request()
        except errors as error:
            if attempt == _ATTEMPTS or not is_transient(error) or ended.wait(_FIRST_PAUSE_S * attempt):
                raise
        attempt += 1
