"""What was asked of each image and what was answered: all that the end is judged by."""

import hashlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.support.import_world import data_of


@dataclass(slots=True)
class Attempt:
    """One way in which an image was to get data, or more copies of it.

    `accepted` None: the answer did not come. `good`: nothing about it is wrong, so that it has to work unless it is
    cancelled or the image deleted. `stores` empty: the default one.
    """

    kind: str
    stores: tuple[str, ...] = ()
    must_succeed: bool = True
    good: bool = True
    accepted: bool | None = None


@dataclass(slots=True)
class Story:
    """One image, which has one client of its own at a time. `deleted` None: asked for, without an answer."""

    id: str
    seed: int
    size_bytes: int
    digest: str
    created: bool | None = None
    deleted: bool | None = False
    staged: bool | None = False
    cancelled: bool = False
    attempts: list[Attempt] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def data(self) -> bytes:
        """The bytes that it is to have."""
        return data_of(self.seed, self.size_bytes)

    def say(self, what: str) -> None:
        """One more line for whoever reads of a failure."""
        self.lines.append(f"{time.monotonic():.3f} {what}")

    def text(self) -> str:
        return "\n    ".join([f"image {self.id} ({self.size_bytes} bytes, seed {self.seed})", *self.lines])


class Stories:
    """All of them; filled by the clients' threads."""

    def __init__(self) -> None:
        self._stories: dict[str, Story] = {}
        self._lock = threading.Lock()

    def begin(self, image_id: str, seed: int, size_bytes: int) -> Story:
        digest = hashlib.sha512(data_of(seed, size_bytes)).hexdigest()
        story = Story(image_id, seed, size_bytes, digest)
        with self._lock:
            self._stories[image_id] = story
        return story

    def __iter__(self) -> Iterator[Story]:
        with self._lock:
            return iter(list(self._stories.values()))

    def __len__(self) -> int:
        return len(self._stories)

    def get(self, image_id: str) -> Story | None:
        return self._stories.get(image_id)
