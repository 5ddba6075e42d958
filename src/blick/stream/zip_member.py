"""Where the only member of a zip archive lies, read from the archive's end as every reader does.

Names of members are never used. An archive that could be read in two ways is refused.
"""

import os
import struct
from dataclasses import dataclass
from typing import BinaryIO, Final

from blick.model.errors import Invalid

MAGIC: Final = b"PK\x03\x04"
EMPTY_MAGIC: Final = b"PK\x05\x06"

_END = struct.Struct("<4sHHHHIIH")
_END64_LOCATOR = struct.Struct("<4sIQI")
_END64 = struct.Struct("<4sQHHIIQQQQ")
_ENTRY = struct.Struct("<4sHHHHHHIIIHHHHHII")
_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_COMMENT_BYTES = (1 << 16) - 1
# One entry, whose name, extra field and comment are as long as they can be.
_DIRECTORY_BYTES = _ENTRY.size + 3 * _COMMENT_BYTES
_SAYS_ELSEWHERE, _SAYS_ELSEWHERE_SHORT = (1 << 32) - 1, (1 << 16) - 1
# Number of this disk, and of the directory's; entries on this disk, and in all; length and place of the directory.
_Fields = tuple[int, int, int, int, int, int]
_ELSEWHERE: _Fields = (*(_SAYS_ELSEWHERE_SHORT,) * 4, *(_SAYS_ELSEWHERE,) * 2)
_EXTRA_ZIP64 = 1
_ENCRYPTED = 1 << 0 | 1 << 6 | 1 << 13
_UNIX, _FILE_TYPE, _REGULAR = 3, 0o170000, 0o100000

_DAMAGED = "The image cannot be decompressed: the zip archive is damaged."


@dataclass(frozen=True, slots=True)
class ZipMember:
    """The packed bytes are [begin, end) of the file; unpacked by `method` they have that size and CRC-32."""

    begin: int
    end: int
    method: int
    size_bytes: int
    crc32: int


def only_member(file: BinaryIO) -> ZipMember:
    """The one member of the archive. Blocks. Raises Invalid where there are more, or none, or it is no plain file."""
    size_bytes = os.fstat(file.fileno()).st_size
    count, at, length = _directory(file, size_bytes)
    if count != 1:
        raise Invalid(f"The image cannot be decompressed: the zip archive holds {count} files, not one.")
    if length > _DIRECTORY_BYTES:
        raise Invalid(_DAMAGED)
    directory = _read(file, at, length)
    if len(directory) < _ENTRY.size or not directory.startswith(b"PK\x01\x02"):
        raise Invalid(_DAMAGED)
    return _member(file, directory, at)


def _directory(file: BinaryIO, size_bytes: int) -> tuple[int, int, int]:
    """How many entries the directory has, where it is and how long; it ends where its own trailer begins."""
    tail_at = max(0, size_bytes - _END.size - _COMMENT_BYTES)
    tail = _read(file, tail_at, size_bytes - tail_at)
    at = tail.rfind(EMPTY_MAGIC)
    if at < 0 or at + _END.size > len(tail):
        raise Invalid(_DAMAGED)
    _, disk, first_disk, here, count, length, directory_at, comment = _END.unpack_from(tail, at)
    if at + _END.size + comment != len(tail):
        raise Invalid(_DAMAGED)
    end = tail_at + at
    told = disk, first_disk, here, count, length, directory_at
    found, end = _directory64(file, end, told)
    disk, first_disk, here, count, length, directory_at = found
    if disk or first_disk or here != count or directory_at + length != end:
        raise Invalid(_DAMAGED)
    return count, directory_at, length


def _directory64(file: BinaryIO, end: int, told: _Fields) -> tuple[_Fields, int]:
    """The same fields with more bits, where there are such, and where they stand; else `told`, and `end`.

    Some programs write them where they are not needed, and say the same twice then.
    """
    locator_at = end - _END64_LOCATOR.size
    locator = _read(file, max(locator_at, 0), _END64_LOCATOR.size)
    if locator_at < 0 or not locator.startswith(b"PK\x06\x07"):
        return told, end
    _, disk, at, disks = _END64_LOCATOR.unpack(locator)
    if disk or disks > 1 or at + _END64.size > locator_at:
        raise Invalid(_DAMAGED)
    magic, rest, _, _, *found = _END64.unpack(_read(file, at, _END64.size))
    if magic != b"PK\x06\x06" or at + 12 + rest != locator_at:
        raise Invalid(_DAMAGED)
    for short, long, elsewhere in zip(told, found, _ELSEWHERE, strict=True):
        if short not in (long, elsewhere):
            raise Invalid(_DAMAGED)
    disk, first_disk, here, count, length, directory_at = found
    return (disk, first_disk, here, count, length, directory_at), at


def _member(file: BinaryIO, directory: bytes, directory_at: int) -> ZipMember:
    (
        _, made_by, _, flags, method, _, _, crc32, packed, unpacked, name, extra, comment, disk, _, attributes,
        local_at,
    ) = _ENTRY.unpack_from(directory)  # fmt: skip
    if len(directory) != _ENTRY.size + name + extra + comment:
        raise Invalid(_DAMAGED)
    if flags & _ENCRYPTED:
        raise Invalid("The image cannot be decompressed: the zip archive is encrypted.")
    kind = attributes >> 16 & _FILE_TYPE
    if directory[_ENTRY.size : _ENTRY.size + name].endswith(b"/") or (
        made_by >> 8 == _UNIX and kind not in (0, _REGULAR)
    ):
        raise Invalid("The image cannot be decompressed: the zip archive holds no file.")
    extras = directory[_ENTRY.size + name : _ENTRY.size + name + extra]
    unpacked, packed, local_at = _real_sizes(extras, unpacked, packed, local_at)
    if disk or local_at:  # what stands before it would be somebody else's
        raise Invalid(_DAMAGED)
    begin = _data_at(file, method)
    if begin + packed > directory_at:
        raise Invalid(_DAMAGED)
    return ZipMember(begin, begin + packed, method, unpacked, crc32)


def _real_sizes(extras: bytes, *sizes: int) -> tuple[int, int, int]:
    """Sizes that need more than 32 bits stand in an extra field, in this order, as far as they are left out here."""
    at, large = 0, b""
    while at + 4 <= len(extras):
        kind, length = struct.unpack_from("<HH", extras, at)
        if kind == _EXTRA_ZIP64:
            large = extras[at + 4 : at + 4 + length]
        at += 4 + length
    found = []
    for size in sizes:
        if size == _SAYS_ELSEWHERE:
            if len(large) < 8:
                raise Invalid(_DAMAGED)
            size, large = struct.unpack_from("<Q", large)[0], large[8:]
        found.append(size)
    unpacked, packed, local_at = found
    return unpacked, packed, local_at


def _data_at(file: BinaryIO, method: int) -> int:
    """Where the data begins, behind its own header, which has to tell of the same method."""
    header = _read(file, 0, _LOCAL.size)
    if len(header) < _LOCAL.size:
        raise Invalid(_DAMAGED)
    magic, _, _, local_method, _, _, _, _, _, name, extra = _LOCAL.unpack(header)
    if magic != MAGIC or local_method != method:
        raise Invalid(_DAMAGED)
    return _LOCAL.size + int(name) + int(extra)


def _read(file: BinaryIO, at: int, length: int) -> bytes:
    file.seek(at)
    return file.read(length)
