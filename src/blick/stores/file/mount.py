"""Whether a directory is where something is mounted. Asked of the open directory, so that nothing can change between
the answer and what is done in it.
"""

import os


def is_mount_point(folder: int) -> bool:
    """Is the open directory `folder` the top of a mount? Of any kind: a disk, a network share, a bind mount.

    Blocks. Raises OSError where the kernel does not tell.
    """
    # Going up from the top of a mount leaves it. Numbers of devices tell less: a bind mount has its source's.
    above = os.open("..", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        return _mount_id(folder) != _mount_id(above)
    finally:
        os.close(above)


def _mount_id(descriptor: int) -> int:
    with open(f"/proc/self/fdinfo/{descriptor}", encoding="ascii") as lines:  # noqa: PTH123 - not a path of a file
        return next(int(line.removeprefix("mnt_id:")) for line in lines if line.startswith("mnt_id:"))
