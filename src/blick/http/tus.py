"""tus 1.0 on the wire: its headers, read and written (https://tus.io/protocols/resumable-upload)."""

import binascii
import re
from base64 import b64decode
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Final

from starlette.types import Scope

from blick.conf.settings import Settings
from blick.model.errors import Invalid, UnsupportedMediaType, VersionUnsupported
from blick.model.resumable_upload import (
    ALGORITHMS,
    FINAL,
    PARTIAL,
    WHOLE,
    Checksum,
    NewUpload,
    Piece,
    Progress,
    partials_of,
)

VERSION: Final = "1.0.0"
MEDIA_TYPE: Final = "application/offset+octet-stream"
EXTENSIONS: Final = (
    "creation",
    "creation-with-upload",
    "creation-defer-length",
    "termination",
    "checksum",
    "expiration",
    "concatenation",
)

# Scripts of other sites have to be allowed to send and to see these (CORS).
SENT: Final = (
    "Tus-Resumable", "Upload-Length", "Upload-Offset", "Upload-Metadata", "Upload-Defer-Length", "Upload-Concat",
    "Upload-Checksum", "X-HTTP-Method-Override", "X-Image-Meta-Store", "X-Request-ID",
)  # fmt: skip
SHOWN: Final = (
    "Location", "Tus-Resumable", "Tus-Version", "Tus-Extension", "Tus-Max-Size", "Tus-Checksum-Algorithm",
    "Upload-Length", "Upload-Offset", "Upload-Metadata", "Upload-Defer-Length", "Upload-Concat", "Upload-Expires",
)  # fmt: skip

_PATH = re.compile(r"(?:/v2(?:\.\d+)?)?/images/[^/]+/upload(?:/[^/]*)?")
_SLASHES = re.compile(r"/{2,}")
_MOST_DIGITS = 19
_MOST_BYTES = 2**63 - 1
# What databases keep of the client's own words.
_MOST_METADATA = 16 << 10
_MOST_CONCATENATION = 32 << 10


def is_upload(path: str) -> bool:
    """Does a request to that path speak tus?"""
    return _PATH.fullmatch(_SLASHES.sub("/", path)) is not None


def as_meant(scope: Scope) -> Scope:
    """The request with the method that its client would have used if it could."""
    meant = next((value for name, value in scope["headers"] if name == b"x-http-method-override"), None)
    return scope if meant is None else {**scope, "method": meant.decode("latin-1").strip().upper()}


def options(settings: Settings) -> dict[str, str]:
    """What the server can do."""
    return {
        "tus-version": VERSION,
        "tus-extension": ",".join(EXTENSIONS),
        "tus-max-size": _max_size(settings),
        "tus-checksum-algorithm": ",".join(ALGORITHMS),
    }


def every_answer(status: int, settings: Settings) -> list[tuple[bytes, bytes]]:
    """Headers of an answer of that status, good or bad."""
    headers = [(b"tus-resumable", VERSION.encode())]
    if status == 412:
        headers.append((b"tus-version", VERSION.encode()))
    if status == 413:
        headers.append((b"tus-max-size", _max_size(settings).encode()))
    return headers


def _max_size(settings: Settings) -> str:
    return str(min(settings.quotas.image_size_cap_bytes, _MOST_BYTES))


def require_version(headers: Mapping[str, str]) -> None:
    """Raises VersionUnsupported unless the client speaks ours."""
    if headers.get("tus-resumable", "").strip() != VERSION:
        raise VersionUnsupported(f"This service speaks tus {VERSION}: say so in the header Tus-Resumable.")


def is_piece(headers: Mapping[str, str]) -> bool:
    """Is the body a piece of an upload?"""
    return headers.get("content-type", "").partition(";")[0].strip().lower() == MEDIA_TYPE


def new_upload(headers: Mapping[str, str], *, multi_store: bool) -> NewUpload:
    """What a creation asks for. Raises Invalid."""
    metadata = headers.get("upload-metadata", "")
    said = _metadata(metadata)
    store = (headers.get("x-image-meta-store") or said.get("store") or None) if multi_store else None
    concatenation = headers.get("upload-concat", "").strip()
    if len(concatenation) > _MOST_CONCATENATION:
        raise Invalid("The header Upload-Concat is too long.")
    if concatenation.startswith(FINAL):
        if "upload-length" in headers or "upload-defer-length" in headers:
            raise Invalid("The length of a final upload is that of its parts, and is not to be told.")
        return NewUpload(FINAL, None, store, metadata, concatenation, partials_of(concatenation))
    if concatenation not in ("", PARTIAL):
        raise Invalid(f"Upload-Concat must be {PARTIAL}, or {FINAL} with the parts, not {concatenation!r:.80}.")
    kind = PARTIAL if concatenation else WHOLE
    return NewUpload(kind, _length_of_new(headers), store, metadata, concatenation)


def _length_of_new(headers: Mapping[str, str]) -> int | None:
    deferred = headers.get("upload-defer-length")
    if deferred is not None and deferred.strip() != "1":
        raise Invalid("Upload-Defer-Length must be 1 where it is given.")
    length_bytes = _number(headers, "upload-length")
    if (length_bytes is None) == (deferred is None):
        raise Invalid("Either Upload-Length or Upload-Defer-Length has to be given, and not both.")
    return length_bytes


def _metadata(text: str) -> dict[str, str]:
    """The pairs, values decoded as far as they are text. Raises Invalid."""
    if len(text) > _MOST_METADATA:
        raise Invalid("The header Upload-Metadata is too long.")
    found: dict[str, str] = {}
    for pair in text.split(",") if text.strip() else ():
        key, _, value = pair.strip().partition(" ")
        if not key or key in found:
            raise Invalid("Upload-Metadata must have keys, each once.")
        found[key] = _decoded(value.strip(), "Upload-Metadata").decode("utf-8", "replace")
    return found


def piece(headers: Mapping[str, str], offset_bytes: int | None = None) -> Piece:
    """What is added; `offset_bytes` None: the client says where. Raises Invalid, UnsupportedMediaType."""
    if not is_piece(headers):
        raise UnsupportedMediaType(f"The request body must be of type {MEDIA_TYPE}.")
    total_bytes = None
    if offset_bytes is None:
        offset_bytes = _number(headers, "upload-offset")
        total_bytes = _number(headers, "upload-length")
        if offset_bytes is None:
            raise Invalid("The header Upload-Offset is missing.")
    return Piece(offset_bytes, size_bytes(headers), total_bytes, _checksum(headers.get("upload-checksum")))


def _checksum(text: str | None) -> Checksum | None:
    if text is None:
        return None
    algorithm, _, encoded = text.strip().partition(" ")
    if algorithm not in ALGORITHMS:
        raise Invalid(f"Upload-Checksum must be by one of {', '.join(ALGORITHMS)}, not by {algorithm!r:.80}.")
    digest = _decoded(encoded.strip(), "Upload-Checksum")
    if not digest:
        raise Invalid("Upload-Checksum has no checksum.")
    return Checksum(algorithm, digest)


def _decoded(text: str, header: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid(f"The header {header} has a value that is not Base64.") from error


def _number(headers: Mapping[str, str], name: str) -> int | None:
    value = headers.get(name)
    if value is None:
        return None
    text = value.strip()
    if not text.isascii() or not text.isdecimal() or len(text) > _MOST_DIGITS or int(text) > _MOST_BYTES:
        raise Invalid(f"The header {name} must be a number of bytes, not {value!r:.80}.")
    return int(text)


def size_bytes(headers: Mapping[str, str]) -> int | None:
    """How long the body is; None: as long as it goes on. Raises Invalid."""
    return None if "transfer-encoding" in headers else _number(headers, "content-length") or 0


def passed_on(headers: Mapping[str, str]) -> dict[str, str]:
    """What another node has to know of a request to it."""
    return {name: headers[name] for name in (*map(str.lower, SENT), "content-type") if name in headers}


def passed_back(headers: Mapping[str, str]) -> dict[str, str]:
    """What a client has to know of another node's answer; what every answer has is not among it."""
    names = {"cache-control", *map(str.lower, SHOWN)} - {"tus-resumable", "tus-version", "tus-max-size"}
    return {name: headers[name] for name in names if name in headers}


def told(progress: Progress) -> dict[str, str]:
    """How far an upload is, in the answer to a piece."""
    return {"upload-offset": str(progress.offset_bytes), "upload-expires": moment(progress.expires_at_ms)}


def described(progress: Progress) -> dict[str, str]:
    """All of an upload, in the answer to a question."""
    headers = {**told(progress), "cache-control": "no-store"}
    if progress.length_bytes is None:
        headers["upload-defer-length"] = "1"
    else:
        headers["upload-length"] = str(progress.length_bytes)
    if progress.upload.client_metadata:
        headers["upload-metadata"] = progress.upload.client_metadata
    if progress.upload.concatenation:
        headers["upload-concat"] = progress.upload.concatenation
    return headers


def moment(epoch_ms: int) -> str:
    """A time as HTTP writes it."""
    return format_datetime(datetime.fromtimestamp(epoch_ms // 1000, UTC), usegmt=True)
