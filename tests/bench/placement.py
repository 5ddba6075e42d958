"""Which processors the client and a server run on while bytes are downloaded.

On the loopback interface the receiver's share of the TCP work is charged to whoever happens to run: to the server
too, as soon as both share a processor. Apart from each other they behave like two machines, and runs agree.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.bench import procfs


@contextmanager
def apart(root_pid: int) -> Iterator[None]:
    """Keep this process and those it starts on one processor, and the tree of `root_pid` on the others, for a while.

    Does nothing on a machine with one processor.
    """
    everywhere = os.sched_getaffinity(0)
    if len(everywhere) == 1:
        yield
        return
    client = {max(everywhere)}
    try:
        os.sched_setaffinity(0, client)
        _place(root_pid, everywhere - client)
        yield
    finally:
        os.sched_setaffinity(0, everywhere)
        _place(root_pid, everywhere)


def _place(root_pid: int, processors: set[int]) -> None:
    """Threads that start later inherit the place of the thread that starts them."""
    for stat in procfs.tree(root_pid):
        for thread in Path(f"/proc/{stat.pid}/task").iterdir():
            with suppress(ProcessLookupError):  # the thread ended meanwhile
                os.sched_setaffinity(int(thread.name), processors)
