"""Which bytes of an object a request wants (RFC 9110 §14; spec: images-api §10.2)."""

import re

from blick.model.blob import ByteRange
from blick.model.errors import Invalid, RangeNotSatisfiable

_RANGE = re.compile(r"bytes\s*=\s*(.*)", re.IGNORECASE | re.DOTALL)
_ONE = re.compile(r"(\d*)\s*-\s*(\d*)", re.ASCII)
_CONTENT_RANGE = re.compile(r"bytes\s+(\d+)\s*-\s*(\d+)\s*/\s*(\*|\d+)", re.IGNORECASE | re.ASCII)
# Longer numbers can't be offsets of anything; refusing them keeps int() cheap.
_MOST_DIGITS = 20


def wanted(range_header: str | None, content_range_header: str | None, size_bytes: int) -> ByteRange | None:
    """The part asked for, clipped to the object; None for all of it.

    `Content-Range` in a request is an old custom of the field and counts where there is no `Range`. Raises Invalid
    for several ranges at once, RangeNotSatisfiable for what is malformed or lies outside the object.
    """
    if range_header is not None:
        return _from_range(range_header, size_bytes)
    if content_range_header is not None:
        return _from_content_range(content_range_header, size_bytes)
    return None


def _from_range(header: str, size_bytes: int) -> ByteRange:
    found = _RANGE.fullmatch(header.strip())
    if found is None:
        raise _unsatisfiable(header, size_bytes)
    if "," in found.group(1):
        raise Invalid("Requests with multiple ranges are not supported.")
    one = _ONE.fullmatch(found.group(1).strip())
    if one is None or max(len(one.group(1)), len(one.group(2))) > _MOST_DIGITS:
        raise _unsatisfiable(header, size_bytes)
    first, last = one.groups()
    if not first and not last:
        raise _unsatisfiable(header, size_bytes)
    if not first:
        return _suffix(int(last), header, size_bytes)
    start = int(first)
    end = size_bytes if not last else min(int(last) + 1, size_bytes)
    if start >= size_bytes or (last and int(last) < start):
        raise _unsatisfiable(header, size_bytes)
    return ByteRange(start, end - start)


def _suffix(count: int, header: str, size_bytes: int) -> ByteRange:
    """The last `count` bytes; all of them where that is more than there are, or zero (as the reference does)."""
    if size_bytes == 0:
        raise _unsatisfiable(header, size_bytes)
    length = size_bytes if count == 0 else min(count, size_bytes)
    return ByteRange(size_bytes - length, length)


def _from_content_range(header: str, size_bytes: int) -> ByteRange:
    found = _CONTENT_RANGE.fullmatch(header.strip())
    if found is None or max(len(part) for part in found.groups()) > _MOST_DIGITS:
        raise _unsatisfiable(header, size_bytes)
    start, last, total = int(found.group(1)), int(found.group(2)), found.group(3)
    if start > last or start >= size_bytes or (total == "*" and last >= size_bytes):
        raise _unsatisfiable(header, size_bytes)
    return ByteRange(start, min(last + 1, size_bytes) - start)


def _unsatisfiable(header: str, size_bytes: int) -> RangeNotSatisfiable:
    return RangeNotSatisfiable(f"The range {header!r} cannot be had of {size_bytes} bytes.", size_bytes)
