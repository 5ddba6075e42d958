"""What one run of a verb works with, and what it has done so far."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from blick.model.errors import Conflict, Invalid, SourceError, SourceUnavailable

# What goes wrong with one image, and lets the others be tried.
_OF_ONE_IMAGE = (Invalid, Conflict, SourceError)
# More than one image's trouble, though it is told of as a SourceError.
_OF_ALL = (SourceUnavailable,)


@dataclass(frozen=True, slots=True)
class Choices:
    """What the flags said. `left_out` are fields that are neither carried nor compared."""

    chunk_bytes: int = 65536
    left_out: frozenset[str] = frozenset()
    only_metadata: bool = False


@dataclass(slots=True)
class Session:
    """One run. `say` tells what was done, `complain` what was not."""

    choices: Choices
    say: Callable[[str], None]
    complain: Callable[[str], None]
    counts: Counter[str] = field(default_factory=Counter)

    def did(self, what: str, image_id: str, text: str = "") -> None:
        """Count an image under `what`, and tell of it if there is a text."""
        self.counts[what] += 1
        if text:
            self.say(f"{image_id}: {text}")

    @contextmanager
    def attempt(self, image_id: str) -> Iterator[None]:
        """Work on one image: what goes wrong with it alone is counted as failed, and the others go on."""
        try:
            yield
        except _OF_ALL:
            raise
        except _OF_ONE_IMAGE as error:
            self.counts["failed"] += 1
            self.complain(f"{image_id}: {error}")

    @property
    def has_failed(self) -> bool:
        """Was there an image that could not be dealt with?"""
        return self.counts["failed"] > 0

    def summary(self, kinds: tuple[str, ...]) -> str:
        """One line: how many images of each kind."""
        return ", ".join(f"{kind} {self.counts[kind]}" for kind in kinds).capitalize() + "."
