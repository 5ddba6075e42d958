"""Successful answers, in the shapes that clients have always got (spec: images-api §1.3)."""

import msgspec
from starlette.responses import Response

_NO_CONTENT_HEADERS = {"content-type": "text/html; charset=UTF-8", "content-length": "0"}


def json_response(document: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer, as the field's clients expect it: UTF-8, no charset in the content type."""
    return Response(msgspec.json.encode(document), status, headers, "application/json")


def no_content() -> Response:
    """204. Carries the content type that clients have always got."""
    return Response(status_code=204, headers=_NO_CONTENT_HEADERS)


def accepted() -> Response:
    """202: it will be done. Empty, with the content type that clients have always got."""
    return Response(status_code=202, headers=_NO_CONTENT_HEADERS)
