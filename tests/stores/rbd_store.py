"""How the tests of the rbd store reach a cluster; run as a program, a writer that is there to be killed.

`python -m tests.stores.rbd_store CEPH_CONF UNFINISHED_KEY FINISHED_KEY`: the first image is written without end, the
second one committed, but its writer not left. Says so when both is the case.
"""

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

from blick.stores.conformance import MIB
from blick.stores.rbd.store import RbdStore
from tests.support.ceph import USER, Ceph


def open_store(conf_path: Path, **options: Any) -> RbdStore:
    """A store in the pool images of the cluster of this ceph.conf."""
    usual = {"rbd_store_ceph_conf": str(conf_path), "rbd_store_user": USER, "rbd_store_pool": "images"}
    return RbdStore("rbd", usual | options)


def names_in(ceph: Ceph, pool: str = "images") -> list[str]:
    """Every image there is, those in the trash with an asterisk."""
    trashed = [f"{line.split()[1]}*" for line in ceph.rbd("trash", "ls", pool).splitlines()]
    return sorted(ceph.rbd("ls", pool).split() + trashed)


def kill_a_writer(ceph: Ceph, unfinished: str, finished: str) -> None:
    """A process with two writers was killed; Ceph does not know it yet."""
    command = [sys.executable, "-m", "tests.stores.rbd_store", str(ceph.conf_path), unfinished, finished]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        said = child.stdout.readline()
        child.kill()
    assert said == "ready\n"


async def _write(conf_path: Path, unfinished: str, finished: str) -> None:
    store = open_store(conf_path)
    async with store.writer(unfinished, None) as first, store.writer(finished, None) as second:
        await second.write(memoryview(b"finished"))
        await second.commit()
        for number in range(10**9):
            await first.write(memoryview(bytes([number % 255 + 1]) * MIB))
            if number == 16:
                print("ready", flush=True)


if __name__ == "__main__":
    asyncio.run(_write(Path(sys.argv[1]), *sys.argv[2:]))
