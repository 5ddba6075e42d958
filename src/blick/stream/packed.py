"""What compressed data is recognised by, and what unpacks it: one interface for all methods."""

import lzma
import struct
import sys
import zlib
from bz2 import BZ2Decompressor
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from blick.model.errors import Invalid
from blick.stream.zip_member import EMPTY_MAGIC, MAGIC, ZipMember, only_member

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MEMORY_BYTES: Final = 128 << 20
"""What unpacking may take, above all for the window of data that packed data refers to: enough for `xz -9` (65 MiB) and
`zstd --long` (128 MiB), not for what was packed with a window of a GiB."""

FAILED: Final = "The image cannot be decompressed"

_WINDOW_LOG = 27

UNPACKING_ERRORS: Final = (zlib.error, lzma.LZMAError, zstd.ZstdError, OSError, ValueError, EOFError)
"""What an `Unpacker` raises at data that it cannot read."""


class Unpacker(Protocol):
    """One packed stream, as the standard library unpacks it."""

    @property
    def eof(self) -> bool:
        """Has its end been met?"""
        ...

    @property
    def needs_input(self) -> bool:
        """Is everything out that can come of what was given?"""
        ...

    @property
    def unused_data(self) -> bytes:
        """What was given behind its end."""
        ...

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """What comes next, no more than `max_length` bytes of it; the rest comes when asked again."""
        ...


@dataclass(frozen=True, slots=True)
class Packed:
    """Data that is packed: by what, and which part of the file it is (to the end, if `end` is None).

    Where `has_members` more packed streams may follow the first; they belong together. `size_bytes` and `crc32` are
    what has to come out, where that is written beside the data.
    """

    kind: str
    unpacker: Callable[[], Unpacker]
    magic: bytes = b""
    has_members: bool = True
    begin: int = 0
    end: int | None = None
    size_bytes: int | None = None
    crc32: int | None = None

    @property
    def is_stored(self) -> bool:
        """Is it just part of an archive, as it is?"""
        return self.unpacker is _Stored


class _Deflate:
    """zlib's stream with the interface of all others. `bits` tell what is around it: 31 for gzip, -15 for nothing."""

    def __init__(self, bits: int) -> None:
        self._stream = zlib.decompressobj(bits)
        self._may_have_more = False

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def needs_input(self) -> bool:
        return not self.eof and not self._may_have_more

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        out = self._stream.decompress(self._stream.unconsumed_tail + data, max_length)
        # A full piece may have been cut off inside the stream's own window, with all input consumed.
        self._may_have_more = bool(self._stream.unconsumed_tail) or len(out) == max_length
        return out


class _Stored:
    """Data that is in an archive as it is. It ends with its part of the file."""

    eof = False
    unused_data = b""

    def __init__(self) -> None:
        self._left = b""

    @property
    def needs_input(self) -> bool:
        return not self._left

    def decompress(self, data: bytes, max_length: int) -> bytes:
        data = self._left + data
        self._left = data[max_length:]
        return data[:max_length]


def _gzip() -> Unpacker:
    return _Deflate(31)


def _deflate() -> Unpacker:
    return _Deflate(-15)


def _bzip2() -> Unpacker:
    return BZ2Decompressor()


def _xz() -> Unpacker:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY_BYTES)


def _zstd() -> Unpacker:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})


_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_BZIP2_BLOCK, _BZIP2_END = b"\x31\x41\x59\x26\x53\x59", b"\x17\x72\x45\x38\x50\x90"
_ZIP_METHODS: Mapping[int, Callable[[], Unpacker]] = {
    0: _Stored, 8: _deflate, 12: _bzip2, 93: _zstd, 95: _xz,
}  # fmt: skip


def recognise(file: Path) -> Packed | None:
    """By what the data is packed, as its first bytes say; None if by nothing that is known here.

    Blocks briefly. Raises Invalid for a zip archive that does not hold one file and nothing else.
    """
    with file.open("rb") as source:
        head = source.read(32)
        if head.startswith((MAGIC, EMPTY_MAGIC)):
            return _zipped(only_member(source))
    if head.startswith(b"\x1f\x8b\x08"):
        return Packed("gzip", _gzip, b"\x1f\x8b")
    if head.startswith(b"BZh") and head[3:4] in b"123456789" and head[4:10] in (_BZIP2_BLOCK, _BZIP2_END):
        return Packed("bzip2", _bzip2, b"BZh")
    if head.startswith(b"\xfd7zXZ\0"):
        return Packed("xz", _xz, b"\xfd7zXZ\0")
    if head.startswith(_ZSTD_MAGIC) or _is_skippable(head):
        return Packed("zstd", _zstd)
    return None


def _is_skippable(head: bytes) -> bool:
    """A frame of a few bytes with no data in it, as pzstd writes it before each frame that has some."""
    if len(head) < 12 or head[1:4] != b"\x2a\x4d\x18" or head[0] & 0xF0 != 0x50:
        return False
    (length,) = struct.unpack_from("<I", head, 4)
    return head[8 + length : 12 + length] == _ZSTD_MAGIC


def _zipped(member: ZipMember) -> Packed:
    unpacker = _ZIP_METHODS.get(member.method)
    if unpacker is None:
        raise Invalid(f"{FAILED}: the zip archive uses method {member.method}, which is not supported.")
    return Packed(
        "zip",
        unpacker,
        has_members=False,
        begin=member.begin,
        end=member.end,
        size_bytes=member.size_bytes,
        crc32=member.crc32,
    )
