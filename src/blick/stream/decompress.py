"""Compressed data, unpacked piece by piece, with a bound to everything that comes out, is kept or is waited for."""

import errno
import logging
import lzma
import os
import struct
import sys
import zlib
from bz2 import BZ2Decompressor
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from blick.model.errors import Invalid, LimitExceeded, ServiceUnavailable
from blick.stream.holes import data_pieces
from blick.stream.hop import hop, to_the_end
from blick.stream.zip_member import EMPTY_MAGIC, MAGIC, ZipMember, only_member

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_log = logging.getLogger(__name__)

_MIB = 1 << 20

MEMORY_BYTES: Final = 128 * _MIB
"""What unpacking may take, above all for the window of data that packed data refers to: enough for `xz -9` (65 MiB) and
`zstd --long` (128 MiB), not for what was packed with a window of a GiB."""

_WINDOW_LOG = 27
_READ_BYTES = 64 << 10
_STEP_BYTES = 4 * _MIB
"""How much one step unpacks, or reads: a few tenths of a second with the slowest method, which a cancellation waits."""
_PIECE_BYTES = _MIB
_LOOK_AFTER_BYTES = 32 * _MIB
"""How much is written between two looks at the disk, and before the kernel is asked to begin writing it out."""

# Every member costs time of its own, however little is in it. Real ones hold 64 KiB or more, except for a few.
_MEMBERS = 1000
_MEMBER_BYTES = 4 << 10

_FAILED = "The image cannot be decompressed"


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


@dataclass(frozen=True, slots=True)
class Bounds:
    """How large the result may get, how many times its size packed data may grow, and what of the disk stays free."""

    size_bytes: int
    ratio: int
    small_bytes: int
    keep_free_bytes: int


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
        raise Invalid(f"{_FAILED}: the zip archive uses method {member.method}, which is not supported.")
    return Packed(
        "zip",
        unpacker,
        has_members=False,
        begin=member.begin,
        end=member.end,
        size_bytes=member.size_bytes,
        crc32=member.crc32,
    )


async def decompress(
    packed: Packed, source: Path, target: Path, bounds: Bounds, tell: Callable[[int, int], None]
) -> None:
    """Unpack `source`, which was recognised as `packed`, to `target`, in the place of what is there.

    `tell` hears how many bytes of how many were read. Afterwards the result is on the disk, whole, with holes for
    zeros; otherwise, also when cancelled, nothing is there. Raises Invalid, LimitExceeded, ServiceUnavailable.
    """
    work = _Unpacking(packed, source, target, bounds)
    try:
        await hop(None, work.begin)
        while await hop(None, work.step):
            tell(work.read_bytes, work.whole_bytes)
        await hop(None, work.publish)
    except BaseException as error:
        await to_the_end(hop(None, work.discard))
        if isinstance(error, OSError):
            raise _unusable(error) from error
        raise
    finally:
        await to_the_end(hop(None, work.close))


class _Unpacking:
    """One file that is being unpacked. Everything blocks, one call at a time; call close always.

    `read_bytes` of `whole_bytes` are read.
    """

    def __init__(self, packed: Packed, source: Path, target: Path, bounds: Bounds) -> None:
        self.read_bytes = 0
        self.whole_bytes = 0
        self._packed = packed
        self._bounds = bounds
        self._paths = source, target
        self._source: BinaryIO | None = None
        self._target: int | None = None
        self._unpacker: Unpacker | None = packed.unpacker()
        self._pending = b""
        self._members = 1
        self._made_bytes = 0
        self._looked_at_bytes = 0
        self._crc32 = 0
        self._most_by_ratio_bytes = 0

    def begin(self) -> None:
        """Open both files."""
        source, target = self._paths
        self._source = source.open("rb", buffering=0)
        end = os.fstat(self._source.fileno()).st_size if self._packed.end is None else self._packed.end
        self.whole_bytes = end - self._packed.begin
        self._source.seek(self._packed.begin)
        self._most_by_ratio_bytes = max(self._bounds.small_bytes, self._bounds.ratio * self.whole_bytes)
        target.unlink(missing_ok=True)
        self._target = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)

    def step(self) -> bool:
        """Unpack some more; False when there is no more."""
        read_before, made_before = self.read_bytes, self._made_bytes
        while self._made_bytes - made_before < _STEP_BYTES and self.read_bytes - read_before < _STEP_BYTES:
            if not (self._next_member() if self._unpacker is None else self._unpack(self._unpacker)):
                return False
        return True

    def publish(self) -> None:
        """Make sure that it is what it should be, and on the disk."""
        assert self._target is not None
        expected = (self._packed.size_bytes, self._packed.crc32)
        if self._packed.size_bytes is not None and expected != (self._made_bytes, self._crc32):
            raise self._damaged()
        os.ftruncate(self._target, self._made_bytes)
        os.fsync(self._target)
        folder = os.open(self._paths[1].parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def discard(self) -> None:
        """Remove the result."""
        self._paths[1].unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of both files."""
        if self._source is not None:
            self._source.close()
        if self._target is not None:
            os.close(self._target)
        self._source = self._target = None

    def _unpack(self, unpacker: Unpacker) -> bool:
        """The next piece of the current stream; False where the data ends with it."""
        if unpacker.needs_input and not self._pending:
            self._pending = self._read()
            if not self._pending:
                if isinstance(unpacker, _Stored):
                    return False
                raise Invalid(f"{_FAILED}: the {self._packed.kind} data ends early.")
        data, self._pending = self._pending, b""
        try:
            piece = unpacker.decompress(data, _PIECE_BYTES)
        except (zlib.error, lzma.LZMAError, zstd.ZstdError, OSError, ValueError, EOFError) as error:
            raise self._refusal(error) from error
        except MemoryError as error:
            raise Invalid(f"{_FAILED}: it takes more memory than it may have.") from error
        self._append(piece)
        if unpacker.eof:
            self._pending, self._unpacker = unpacker.unused_data, None
        return True

    def _next_member(self) -> bool:
        """Begin the next stream, behind padding if there is any; False if that was the end."""
        self._pending = self._pending or self._read()
        if not self._pending:
            return False
        self._pending = self._pending.lstrip(b"\0")
        if not self._pending:
            return True
        if len(self._pending) < len(self._packed.magic):
            self._pending += self._read()
        if not self._packed.has_members or not self._pending.startswith(self._packed.magic):
            raise Invalid(f"{_FAILED}: something else follows the {self._packed.kind} data.")
        self._members += 1
        if self._members > _MEMBERS + self._made_bytes // _MEMBER_BYTES:
            raise Invalid(f"{_FAILED}: the {self._packed.kind} data is made of too many small pieces.")
        self._unpacker = self._packed.unpacker()
        return True

    def _read(self) -> bytes:
        assert self._source is not None
        data = self._source.read(min(_READ_BYTES, self.whole_bytes - self.read_bytes)) or b""
        self.read_bytes += len(data)
        return data

    def _append(self, piece: bytes) -> None:
        made_bytes = self._made_bytes + len(piece)
        if made_bytes > self._bounds.size_bytes:
            raise LimitExceeded(f"{_FAILED}: it becomes larger than an image may be here.")
        if made_bytes > self._most_by_ratio_bytes:
            raise LimitExceeded(f"{_FAILED}: it grows to more than {self._bounds.ratio} times its size.")
        if self._packed.size_bytes is not None:
            if made_bytes > self._packed.size_bytes:
                raise self._damaged()
            self._crc32 = zlib.crc32(piece, self._crc32)
        self._write(piece)
        self._made_bytes = made_bytes
        if made_bytes - self._looked_at_bytes >= _LOOK_AFTER_BYTES:
            self._look()

    def _write(self, piece: bytes) -> None:
        assert self._target is not None
        try:
            for offset, data in data_pieces(memoryview(piece), self._made_bytes):
                while data:
                    count = os.pwrite(self._target, data, offset)
                    data, offset = data[count:], offset + count
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise self._no_room() from error
            raise

    def _look(self) -> None:
        assert self._target is not None
        numbers = os.fstatvfs(self._target)
        if numbers.f_bavail * numbers.f_frsize < self._bounds.keep_free_bytes:
            raise self._no_room()
        # "Not needed" starts writing out what is not on the disk yet, so that the end has not all of it to wait for.
        fresh_bytes = self._made_bytes - self._looked_at_bytes
        os.posix_fadvise(self._target, self._looked_at_bytes, fresh_bytes, os.POSIX_FADV_DONTNEED)
        self._looked_at_bytes = self._made_bytes

    def _refusal(self, error: Exception) -> Invalid:
        if "emory" in str(error):  # lzma's limit and zstd's, which have no class of their own
            return Invalid(f"{_FAILED}: it takes more memory than it may have.")
        return self._damaged()

    def _damaged(self) -> Invalid:
        return Invalid(f"{_FAILED}: the {self._packed.kind} data is damaged.")

    @staticmethod
    def _no_room() -> LimitExceeded:
        return LimitExceeded(f"{_FAILED}: there is no room for the result.")


def _unusable(error: OSError) -> ServiceUnavailable:
    _log.error("images cannot be decompressed here: %s", error)
    return ServiceUnavailable("Images cannot be decompressed here now.")
