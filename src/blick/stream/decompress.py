"""Compressed data, unpacked piece by piece, with a bound to everything that comes out, is kept or is waited for."""

import errno
import logging
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from blick.model.errors import Invalid, LimitExceeded, ServiceUnavailable
from blick.stream.holes import data_pieces
from blick.stream.hop import hop, to_the_end
from blick.stream.packed import FAILED, UNPACKING_ERRORS, Packed, Unpacker

_log = logging.getLogger(__name__)

_MIB = 1 << 20

_READ_BYTES = 64 << 10
_STEP_BYTES = 4 * _MIB
"""How much one step unpacks, or reads: a few tenths of a second with the slowest method, which a cancellation waits."""
_PIECE_BYTES = _MIB
_LOOK_AFTER_BYTES = 32 * _MIB
"""How much is written between two looks at the disk, and before the kernel is asked to begin writing it out."""

# Every member costs time of its own, however little is in it. Real ones hold 64 KiB or more, except for a few.
_MEMBERS = 1000
_MEMBER_BYTES = 4 << 10


@dataclass(frozen=True, slots=True)
class Bounds:
    """How large the result may get, how many times its size packed data may grow, and what of the disk stays free."""

    size_bytes: int
    ratio: int
    small_bytes: int
    keep_free_bytes: int


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
                if self._packed.is_stored:
                    return False
                raise Invalid(f"{FAILED}: the {self._packed.kind} data ends early.")
        data, self._pending = self._pending, b""
        try:
            piece = unpacker.decompress(data, _PIECE_BYTES)
        except UNPACKING_ERRORS as error:
            raise self._refusal(error) from error
        except MemoryError as error:
            raise Invalid(f"{FAILED}: it takes more memory than it may have.") from error
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
            raise Invalid(f"{FAILED}: something else follows the {self._packed.kind} data.")
        self._members += 1
        if self._members > _MEMBERS + self._made_bytes // _MEMBER_BYTES:
            raise Invalid(f"{FAILED}: the {self._packed.kind} data is made of too many small pieces.")
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
            raise LimitExceeded(f"{FAILED}: it becomes larger than an image may be here.")
        if made_bytes > self._most_by_ratio_bytes:
            raise LimitExceeded(f"{FAILED}: it grows to more than {self._bounds.ratio} times its size.")
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
            return Invalid(f"{FAILED}: it takes more memory than it may have.")
        return self._damaged()

    def _damaged(self) -> Invalid:
        return Invalid(f"{FAILED}: the {self._packed.kind} data is damaged.")

    @staticmethod
    def _no_room() -> LimitExceeded:
        return LimitExceeded(f"{FAILED}: there is no room for the result.")


def _unusable(error: OSError) -> ServiceUnavailable:
    _log.error("images cannot be decompressed here: %s", error)
    return ServiceUnavailable("Images cannot be decompressed here now.")
