"""Bytes from one open file to another by the shortest way that the file systems know. Everything here blocks."""

import errno
import fcntl
import os

# From linux/fs.h, _IOW(0x94, 9, int): share the other file's blocks until one of the two is written.
_FICLONE = 0x40049409
_CANNOT = frozenset(
    {
        errno.EXDEV,
        errno.EINVAL,
        errno.ENOSYS,
        errno.ENOTTY,
        errno.EOPNOTSUPP,
        errno.ENOTSUP,
        errno.EPERM,
        errno.EBADF,
        errno.ETXTBSY,
    }
)
"""Answers that mean: not this way, not between these two. Whatever else is wrong shows on the plain way too."""
_BUFFER_BYTES = 1 << 20


def clone(source: int, target: int) -> bool:
    """Make the empty file `target` share all blocks of `source`. False where that cannot be done; raises OSError."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
        return False
    return True


def data_from(source: int, offset_bytes: int, size_bytes: int) -> tuple[int, int]:
    """Where the next data of `source` begins and ends, from `offset_bytes` on; both `size_bytes` behind the last.

    What lies in between are zeros that take no room. Raises OSError.
    """
    try:
        begin = os.lseek(source, offset_bytes, os.SEEK_DATA)
        end = os.lseek(source, begin, os.SEEK_HOLE)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return size_bytes, size_bytes
        if error.errno not in _CANNOT:
            raise
        return offset_bytes, size_bytes
    return min(begin, size_bytes), min(end, size_bytes)


def copy(source: int, target: int, offset_bytes: int, length_bytes: int) -> int:
    """Copy these bytes to the same place; gives how many there were. Raises OSError."""
    copied = 0
    while copied < length_bytes:
        count = _copy_some(source, target, offset_bytes + copied, length_bytes - copied)
        if count == 0:
            break
        copied += count
    return copied


def _copy_some(source: int, target: int, offset_bytes: int, length_bytes: int) -> int:
    try:
        return os.copy_file_range(source, target, length_bytes, offset_bytes, offset_bytes)
    except OSError as error:
        if error.errno not in _CANNOT:
            raise
    piece = os.pread(source, min(length_bytes, _BUFFER_BYTES), offset_bytes)
    return os.pwrite(target, piece, offset_bytes) if piece else 0
