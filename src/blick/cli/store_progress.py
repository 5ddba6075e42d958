"""How far a check of stores has come, for who sits before it: on stderr, if that is a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress


class Quiet:
    """A watcher that says nothing."""

    def listed(self, store_id: str, objects: int) -> None:
        """See Watcher."""

    def compared(self, locations: int) -> None:
        """See Watcher."""

    def read(self, size_bytes: int) -> None:
        """See Watcher."""

    def end(self) -> None:
        """There is nothing more to come."""


class Lines(Quiet):
    """A watcher that keeps a few lines of counts up to date."""

    def __init__(self, progress: "Progress") -> None:
        self._progress = progress
        self._tasks: dict[str, object] = {}

    def listed(self, store_id: str, objects: int) -> None:
        """See Watcher."""
        self._advance(f"objects listed in {store_id}", objects)

    def compared(self, locations: int) -> None:
        """See Watcher."""
        self._advance("recorded locations compared", locations)

    def read(self, size_bytes: int) -> None:
        """See Watcher."""
        self._advance("MiB read", size_bytes / (1 << 20))

    def end(self) -> None:
        """Take the lines away."""
        self._progress.stop()

    def _advance(self, what: str, count: float) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=None)
        self._progress.advance(self._tasks[what], count)  # type: ignore[arg-type]  # rich's own number


@contextmanager
def watching() -> Iterator[Quiet]:
    """A watcher of the kind that fits where stderr goes."""
    if not sys.stderr.isatty():
        yield Quiet()
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.completed:>12,.0f} {task.description}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield Lines(progress)
