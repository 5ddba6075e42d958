"""Checks, while the bytes go by, that a disk image is what it is declared to be, and harmless.

Which format some bytes are, and whether they are safe, is decided by the field's own library
(oslo.utils, `imageutils.format_inspector`), one inspector per format. This module decides what to make of it,
and feeds the inspectors no more than they can learn from: all of them get the first MiB, in one piece, so that
the outcome never depends on how the body was cut. After that at most one is still curious: VHDX, whose
metadata lies further on, and stream-optimised VMDK, which ends in a footer. All others cost nothing more.
"""

import logging
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from blick.conf.settings import ImageFormatSettings
from blick.model.errors import UnsupportedMediaType
from blick.stream import parents

_LOG = logging.getLogger(__name__)

MIB: Final = 1 << 20

HEAD_BYTES: Final = MIB
"""What every inspector gets to see: VMDK descriptors, the longest of all headers, are cut there."""

_SMALL_HEAD_BYTES: Final = 64 << 10
"""Enough for every header but VMDK's and VHDX's; a short piece spares copying the long one ten times."""

END_BYTES: Final = 1536
"""Length of the VMDK footer, the only thing that is looked for at the end."""

_VIRTUAL_SIZE_MAX: Final = (1 << 63) - 1
"""The database keeps no larger one, and no such disk exists."""

_PARSER_ERRORS: Final = (
    struct.error,
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What parsers throw at bytes they did not expect. The library's own errors are added where they are caught."""

_RAW_TOO: Final = frozenset({"gpt", "iso"})
"""What the disk of a machine, or a CD, is byte for byte: nothing to wonder at."""

_BOOT_IMAGES: Final = frozenset({"aki", "ari"})
"""Kernels and memory disks: some begin with what looks like a partition table and is none."""


@dataclass(frozen=True, slots=True)
class _Match:
    """An inspector that recognises the content; `broken` when it stumbled over what followed the mark."""

    inspector: Any
    broken: bool = False


class Inspection:
    """The content check of one image.

    Give all bytes in order to `feed`, from one thread at a time, then call `finish` once. Either raises
    `UnsupportedMediaType` as soon as the content is known to be refused; the object is useless then.
    Only container format bare is looked into; for others everything passes.
    """

    def __init__(self, disk_format: str, container_format: str, settings: ImageFormatSettings) -> None:
        self._declared = disk_format
        self._settings = settings
        self._active = container_format == "bare"
        self._head: bytearray | None = bytearray() if self._active else None
        self._content: Any = None
        self._content_broken = False
        self._curious = False
        self._tail: bytes | None = None

    @property
    def is_settled(self) -> bool:
        """Is there nothing more to learn? Then the rest of the bytes need not be fed."""
        return self._head is None and not self._curious

    @property
    def wants_only_end(self) -> bool:
        """Does nothing count any more but the last `END_BYTES` bytes? Then those between need not be fed."""
        return self._curious and self._tail is not None

    @property
    def content(self) -> str | None:
        """The format that was found, whatever was declared; "raw" where none was. None before that is known (the
        first MiB, or `finish`), and where nothing is looked at.
        """
        return None if self._content is None else str(self._content.NAME)

    def feed(self, chunk: memoryview) -> None:
        """Look at the next piece of the body, of any length; pieces of about 1 MiB are the cheapest.

        The piece is not kept. Raises `UnsupportedMediaType`.
        """
        if self._head is not None:
            self._fill_head(chunk)
        elif self._curious:
            self._feed_content(chunk)

    def finish(self, size_bytes: int) -> int | None:
        """Conclude after the last of `size_bytes` bytes; gives the size of the disk inside, if it is known.

        Bodies under a MiB are judged only now, which hostile text can stretch to 100 ms, and the first one in a
        process loads the library: call it in a thread. Raises `UnsupportedMediaType`.
        """
        if not self._active or size_bytes == 0:
            return None
        if self._head is not None:
            self._judge_head(self._head)
        if self._curious:
            self._finish_content()
        if self._declared == "raw" and self._content is not None:
            return size_bytes
        return self._virtual_size(size_bytes)

    # The first MiB

    def _fill_head(self, chunk: memoryview) -> None:
        assert self._head is not None
        room = HEAD_BYTES - len(self._head)
        self._head += chunk[:room]
        if len(self._head) == HEAD_BYTES:
            self._judge_head(self._head)
            if self._curious and len(chunk) > room:
                self._feed_content(chunk[room:])

    def _judge_head(self, head: bytearray) -> None:
        """Find out what the content is and whether that fits. Needs the first MiB, or all if there is less."""
        self._head = None
        matches = _matches(bytes(head))
        if sorted(matches) == ["gpt", "iso"]:  # a hybrid: a CD image that can be put on a stick as it is
            del matches["gpt"]
        complaint = self._mismatch(matches)
        if complaint is not None:
            if self._settings.require_image_format_match:
                raise UnsupportedMediaType(complaint)
            _LOG.warning("Content accepted although it does not match: %s", complaint)
        elif self._declared == "raw" and not _RAW_TOO.issuperset(matches):
            _LOG.warning("Content accepted as raw although it is of format %s", next(iter(matches)))
        if complaint is None or len(matches) == 1:
            self._accept(matches, head)

    def _mismatch(self, matches: dict[str, _Match]) -> str | None:
        if len(matches) > 1:
            return f"Image content looks like several formats at once: {', '.join(sorted(matches))}."
        content = next(iter(matches), "raw")
        if self._declared in ("raw", content):
            return None
        if content == "raw" and self._declared not in _known_formats():
            return None  # a format that nobody can recognise, and content that nobody recognises
        if content == "gpt" and self._declared in _BOOT_IMAGES:
            return None
        return f"Image content does not match disk_format: declared {self._declared}, found {content}."

    def _accept(self, matches: dict[str, _Match], head: bytearray) -> None:
        """The content fits; check its safety now, or watch on if the inspector has not seen all it needs."""
        match = next(iter(matches.values()), None) or _Match(_inspector("raw"))
        self._content = match.inspector
        self._require_no_parent(parents.told_by_head(self._content.NAME, bytes(head)))
        if match.broken and self._declared == self._content.NAME:
            self._give_up()
        if match.broken or self._content.complete or self._content.NAME not in ("vhdx", "vmdk"):
            self._check_safety()
            return
        self._curious = True
        if self._waits_for_footer():
            self._start_tail()

    # What comes behind it

    def _feed_content(self, chunk: memoryview) -> None:
        if self._tail is not None:
            self._keep_tail(chunk)
            return
        self._eat(chunk)
        if self._content.complete:
            self._curious = False
            self._check_safety()
        elif self._waits_for_footer():
            self._start_tail()

    def _eat(self, chunk: memoryview | bytes) -> None:
        """Let the inspector look. It copies what it wants to keep, so a view does as well as bytes."""
        try:
            self._content.eat_chunk(chunk)
        except _errors() as error:
            _LOG.info("Content of format %s cannot be read: %s", self._content, error)
            self._give_up()

    def _give_up(self) -> None:
        """The content has the mark of a format, but not its structure."""
        self._content_broken = True
        self._curious = False
        if self._settings.require_image_format_match:
            raise UnsupportedMediaType(f"Image content looks like {self._content} but cannot be read as that.")

    def _waits_for_footer(self) -> bool:
        """True when a VMDK inspector lacks nothing but the end of the file."""
        content = self._content
        return bool(
            content.NAME == "vmdk"
            and content.has_region("footer")
            and content.has_region("descriptor")
            and content.region("descriptor").complete
        )

    def _start_tail(self) -> None:
        """From here on only the end counts; the descriptor can be judged without it."""
        try:
            self._content.check_descriptor()
        except _errors() as error:
            raise self._unsafe(error) from error
        self._tail = b""

    def _keep_tail(self, chunk: memoryview) -> None:
        if len(chunk) >= END_BYTES:
            self._tail = bytes(chunk[-END_BYTES:])
        else:
            self._tail = ((self._tail or b"") + bytes(chunk))[-END_BYTES:]

    def _finish_content(self) -> None:
        if self._tail:
            # The inspector keeps the last bytes of all it was shown; those before came with the head.
            self._eat(self._tail)
        self._check_safety()

    # Verdicts

    def _check_safety(self) -> None:
        content = self._content
        try:
            content.finish()
            self._require_no_parent(parents.told_by_metadata(content))
            content.safety_check()
        except _library().SafetyCheckFailed as error:
            failed = set(error.failures) - self._tolerated()
            if failed:
                raise self._unsafe(error) from error
            _LOG.warning("Content accepted although a safety check failed: %s", error)
        except _errors() as error:
            raise self._unsafe(error) from error

    def _tolerated(self) -> set[str]:
        if self._content.NAME != "gpt":
            return set()
        return {*self._settings.gpt_safety_checks_nonfatal, *(["mbr"] if self._declared in _BOOT_IMAGES else [])}

    def _virtual_size(self, size_bytes: int) -> int | None:
        """The size in the header; of formats that only wrap bytes, how many those are."""
        content = self._content
        if content is None or self._declared != content.NAME or self._content_broken:
            return None
        try:
            virtual_size = int(content.virtual_size)
            if content.NAME in ("gpt", "luks"):  # these count what they were shown
                virtual_size += size_bytes - int(content.actual_size)
        except _errors() as error:
            _LOG.info("Content of format %s cannot be read: %s", content, error)
            self._give_up()
            return None
        if not 0 <= virtual_size <= _VIRTUAL_SIZE_MAX:
            raise UnsupportedMediaType("Image failed safety checks: its header names an impossible size.")
        return virtual_size

    def _require_no_parent(self, complaint: str | None) -> None:
        if complaint is not None:
            _LOG.warning("Content of format %s refused: %s", self._content, complaint)
            raise UnsupportedMediaType(f"Image failed safety checks: {complaint}")

    def _unsafe(self, error: Exception) -> UnsupportedMediaType:
        _LOG.warning("Content of format %s refused: %s", self._content, error)
        return UnsupportedMediaType(f"Image failed safety checks: {_reason(error)}")


def inspect_file(file: Path, inspection: Inspection, go_on: Callable[[], bool] = lambda: True) -> int | None:
    """Feed a whole file to `inspection`, as far as that is curious, and conclude; gives what `finish` gives.

    Blocks, usually for one MiB; a hostile VHDX makes it read up to the end, which `go_on`, asked between two MiB, may
    keep it from: InterruptedError then. Raises UnsupportedMediaType, OSError.
    """
    buffer = bytearray(MIB)
    with file.open("rb", buffering=0) as source, memoryview(buffer) as view:
        size_bytes = os.fstat(source.fileno()).st_size
        while not inspection.is_settled and (count := source.readinto(buffer)):
            if not go_on():
                raise InterruptedError
            inspection.feed(view[:count])
            if inspection.wants_only_end:
                source.seek(max(source.tell(), size_bytes - END_BYTES))
    return inspection.finish(size_bytes)


def _library() -> ModuleType:
    # Imported on first use: it takes 9 MiB, which a worker that receives no images need not spend.
    from oslo_utils.imageutils import format_inspector

    return format_inspector


def _errors() -> tuple[type[Exception], ...]:
    library = _library()
    return (library.ImageFormatError, library.SafetyViolation, library.SafetyCheckFailed, *_PARSER_ERRORS)


def _reason(error: Exception) -> str:
    """What the library says against the content; what a parser stumbled over is no business of the caller."""
    library = _library()
    if isinstance(error, library.SafetyCheckFailed):
        return "; ".join(str(failure) for failure in error.failures.values())
    if isinstance(error, library.ImageFormatError | library.SafetyViolation):
        return str(error)
    return "its header cannot be read."


def _known_formats() -> frozenset[str]:
    return frozenset(_library().ALL_FORMATS)


def _inspector(name: str) -> Any:
    return _library().ALL_FORMATS[name]()


def _matches(head: bytes) -> dict[str, _Match]:
    """The inspectors, by name, that recognise an image by its first MiB (or by all of it, if there is less)."""
    found = {}
    for name in sorted(_known_formats() - {"raw"}):
        inspector = _inspector(name)
        understood = _show(inspector, head)
        if _recognises(inspector, head):
            found[name] = _Match(inspector, broken=not understood)
    return found


def _show(inspector: Any, head: bytes) -> bool:
    """Let the inspector look at the head; false when it cannot make sense of it."""
    # A VMDK descriptor is read once, at the first piece, so that has to be the whole head.
    ends = (HEAD_BYTES,) if inspector.NAME == "vmdk" else (_SMALL_HEAD_BYTES, 4 * _SMALL_HEAD_BYTES, HEAD_BYTES)
    start = 0
    try:
        for end in ends:
            if start < len(head) and (start == 0 or not inspector.complete):
                inspector.eat_chunk(head[start:end])
            start = end
    except _errors() as error:
        _LOG.debug("Inspector %s gave up: %s", inspector.NAME, error)
        return False
    return True


def _recognises(inspector: Any, head: bytes) -> bool:
    try:
        return bool(inspector.format_match)
    except AttributeError:
        # The VMDK inspector cannot say for text that turns into something else: it is a descriptor if it
        # names its type, and its safety check then refuses it.
        return b'createtype="' in head.lower()
