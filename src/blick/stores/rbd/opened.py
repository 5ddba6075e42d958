"""Images while they are open, and why none is closed as soon as nobody needs it any more.

librbd says that an image is open, and then looks at it once more, in a thread of its own. If that thread is held up, as
happens on busy machines, and the image has been opened, read and closed meanwhile, it uses freed memory: the whole
process ends, or all calls to that cluster hang (seen with 16.2.15; a delay put into that place shows it every time).
Nothing tells when that look is over, and with one such thread alone librbd waits for itself. So an image stays open
until that is surely behind us.
"""

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from blick.stores.ceph_bindings import CephBindings

_log = logging.getLogger(__name__)

SETTLED_AFTER_S = 0.1
"""So long after it was opened an image may be closed. A thread that is ready to run waits some milliseconds, with many
others for the same core some more."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An image of the library's that is open, and from when on it may be closed, of time.monotonic."""

    image: Any
    settled_at_s: float

    @property
    def is_settled(self) -> bool:
        """Whether it may be closed now."""
        return self.settled_at_s <= time.monotonic()

    def settle(self) -> None:
        """Wait until it may be closed. Blocks for SETTLED_AFTER_S at most."""
        time.sleep(max(0.0, self.settled_at_s - time.monotonic()))


def opened(image: Any) -> Opened:
    """What the library has just opened."""
    return Opened(image, time.monotonic() + SETTLED_AFTER_S)


class Lingering:
    """Images of one connection that were open for reading, and that nobody uses any more. For many threads."""

    def __init__(self, bindings: CephBindings) -> None:
        self._bindings = bindings
        self._lock = threading.Lock()
        self._images: deque[Opened] = deque()

    def close(self, opened: Opened) -> None:
        """Close it now, or at one of the next calls, if that is too soon. Raises nothing.

        One that was opened for reading stands in nobody's way: not in that of who removes it, either.
        """
        if opened.is_settled:
            self._close(opened)
        else:
            with self._lock:
                self._images.append(opened)
        while (settled := self._next_settled()) is not None:
            self._close(settled)

    def close_all(self) -> None:
        """Close all, as soon as that is safe. Raises nothing."""
        while self._images:
            opened = self._images.popleft()
            opened.settle()
            self._close(opened)

    def _next_settled(self) -> Opened | None:
        with self._lock:
            if self._images and self._images[0].is_settled:
                return self._images.popleft()
            return None

    def _close(self, opened: Opened) -> None:
        try:
            opened.image.close()
        except (self._bindings.rados.Error, self._bindings.rbd.Error) as error:
            _log.warning("an image that was read cannot be closed: %s", error)
