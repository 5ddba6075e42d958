"""How an error becomes an answer: its status, and a body in the shape that the caller's Accept asks for.

The three shapes are the ones that the field's clients parse (spec: images-api §1.3).
"""

import html
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec
from starlette.responses import Response

from blick.model import errors

# Most specific class first is not needed: the table is asked along each class's own ancestry.
STATUS: Final[Mapping[type[errors.BlickError], int]] = MappingProxyType(
    {
        errors.Invalid: 400,
        errors.BodyIncomplete: 400,
        errors.Unauthenticated: 401,
        errors.PeerRefused: 401,
        errors.Forbidden: 403,
        errors.NotFound: 404,
        errors.Conflict: 409,
        errors.Gone: 410,
        errors.Locked: 423,
        errors.VersionUnsupported: 412,
        errors.ChecksumMismatch: 460,
        errors.LimitExceeded: 413,
        errors.UnsupportedMediaType: 415,
        errors.RangeNotSatisfiable: 416,
        errors.TooManyRequests: 429,
        errors.HeaderTooLong: 431,
        errors.ServiceUnavailable: 503,
        errors.SourceError: 502,
        errors.SourceMissing: 502,
        errors.SourceDenied: 502,
        errors.SourceUnavailable: 503,
        errors.SourceBroken: 502,
        errors.NodeUnreachable: 504,
        errors.NodeBroken: 502,
        errors.StoreError: 500,
        errors.DataNotFound: 404,
        errors.DataExists: 409,
        errors.StoreFull: 413,
        errors.StoreDenied: 503,
        errors.CallerRefused: 403,
        errors.DataInUse: 409,
        errors.StoreReadOnly: 410,
        errors.StoreUnavailable: 503,
        errors.RangeInvalid: 500,
        errors.RangeUnsupported: 400,
        errors.BlickError: 500,
    }
)

# Fixed here because Python renames some of them from release to release.
REASON: Final[Mapping[int, str]] = MappingProxyType(
    {
        300: "Multiple Choices",
        400: "Bad Request",
        401: "Unauthorized",
        403: "Forbidden",
        404: "Not Found",
        405: "Method Not Allowed",
        409: "Conflict",
        410: "Gone",
        412: "Precondition Failed",
        413: "Request Entity Too Large",
        415: "Unsupported Media Type",
        416: "Request Range Not Satisfiable",
        423: "Locked",
        429: "Too Many Requests",
        431: "Request Header Fields Too Large",
        460: "Checksum Mismatch",
        500: "Internal Server Error",
        501: "Not Implemented",
        502: "Bad Gateway",
        503: "Service Unavailable",
        504: "Gateway Timeout",
    }
)

# Answers of these kinds say something general first and then, as a detail, what it is here (spec: images-api §1.3).
_GENERIC: Final[Mapping[int, str]] = MappingProxyType(
    {
        415: "The request media type is not supported by this server.",
        416: "The Range requested is not available.",
    }
)

_INTERNAL = "The server has either erred or is incapable of performing the requested operation."


def status_of(error: errors.BlickError) -> int:
    """The HTTP status of that kind of error."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def from_error(error: errors.BlickError, accept: str) -> Response:
    """The answer to a request that ended in `error`."""
    status = status_of(error)
    response = answer(status, str(error), accept, generic=_GENERIC.get(status))
    if isinstance(error, errors.UnsupportedMediaType) and error.accept_patch:
        response.headers["accept-patch"] = ", ".join(error.accept_patch)
    if isinstance(error, errors.RangeNotSatisfiable) and error.size_bytes is not None:
        response.headers["content-range"] = f"bytes */{error.size_bytes}"
    if isinstance(error, errors.TooManyRequests):
        response.headers["retry-after"] = str(error.retry_after_s)
    return response


def internal(accept: str) -> Response:
    """The answer to a request that met a fault of ours; tells nothing of it."""
    return answer(500, _INTERNAL, accept)


def answer(
    status: int, text: str, accept: str, headers: Mapping[str, str] | None = None, *, generic: str | None = None
) -> Response:
    """An error answer in the shape that `accept` (the header's value, "" if absent) asks for.

    With a `generic` sentence `text` is its detail, and may be empty.
    """
    title = f"{status} {REASON[status]}"
    shape = _shape(accept)
    if shape == "json":
        message = " ".join(part for part in (generic, text) if part)
        body = msgspec.json.encode({"message": message, "code": title, "title": REASON[status]})
        return Response(body, status, headers, "application/json")
    if shape == "html":
        said = _html(text, generic)
        page = (
            f"<html>\n <head>\n  <title>{title}</title>\n </head>\n <body>\n  <h1>{title}</h1>\n"
            f"  {said}\n </body>\n</html>"
        )
        return Response(_utf8(page), status, headers, "text/html; charset=UTF-8")
    said = f"{text}\n\n   " if generic is None else f"{generic} \n\n {text}"
    return Response(_utf8(f"{title}\n\n{said}"), status, headers, "text/plain; charset=UTF-8")


def _html(text: str, generic: str | None) -> str:
    if generic is None:
        return f"{html.escape(text)}<br /><br />\n\n\n"
    return f"{html.escape(generic)}\n<br /><br />\n{html.escape(text)}"


def _utf8(text: str) -> bytes:
    # A caller's own invalid bytes may be quoted in the text; they must not break the answer.
    return text.encode("utf-8", "replace")


def _shape(accept: str) -> str:
    """`html`, `json` or `plain`: the better wanted of the first two, plain if neither is."""
    html_weight = json_weight = 0.0
    for entry in accept.split(","):
        media_type, _, parameters = entry.partition(";")
        weight = _weight(parameters)
        match media_type.strip().lower():
            case "text/html" | "text/*":
                html_weight = max(html_weight, weight)
            case "application/json" | "application/*":
                json_weight = max(json_weight, weight)
            case "*/*":
                # A client that takes anything gets what its parser knows: never JSON (spec: images-api §1.3).
                html_weight = max(html_weight, weight)
    if not html_weight and not json_weight:
        return "plain"
    return "json" if json_weight > html_weight or _first_is_json(accept, html_weight, json_weight) else "html"


def _first_is_json(accept: str, html_weight: float, json_weight: float) -> bool:
    """Both are wanted alike, and JSON is named outright while HTML is only meant by a wildcard."""
    return html_weight == json_weight and "application/json" in accept.lower() and "text/" not in accept.lower()


def _weight(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
