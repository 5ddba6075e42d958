"""How far a transfer has come, for who sits before it: a bar on stderr, if that is a terminal."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]


def counted(pieces: Iterable[bytes], advance: Advance) -> Iterator[bytes]:
    """The same pieces, each told of by its size."""
    for piece in pieces:
        advance(len(piece))
        yield piece


@contextmanager
def transfer_bar(what: str, size_bytes: int | None, begun_bytes: int = 0) -> Iterator[Advance]:
    """Call what this gives with every number of bytes that has come. The bar goes away afterwards."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=size_bytes, completed=begun_bytes)
        yield lambda count: progress.advance(task, count)
