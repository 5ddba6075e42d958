"""Requests that another node has to serve, because its disk has the image's staged data: passed on, and their answers
back (spec: import-and-tasks §7).
"""

from typing import Final
from urllib.parse import quote

import msgspec
from starlette.responses import Response

from blick.http.request import Request
from blick.identity.trusted_headers import HEADERS as IDENTITY_HEADERS
from blick.ops.forwarding import Forwardable
from blick.stream.nodes import NodeAnswer, NodeRequest

_FORWARDED: Final = "x-blick-forwarded"
_TOKENS: Final = ("x-auth-token", "x-storage-token", "x-service-token")
_ASKED: Final = ("accept", "accept-language", "x-image-meta-store")
_ANSWERED: Final = ("content-type", "retry-after", "www-authenticate", "x-openstack-request-id")


def forwardable(request: Request, document: object = None) -> Forwardable:
    """The request as another node would get it; `document` is its JSON body, which has been read already."""
    trusted = request.services.settings.identity.kind == "trusted-headers"
    names = (*_ASKED, *(sorted(IDENTITY_HEADERS) if trusted else _TOKENS))
    headers = {name: request.headers[name] for name in names if name in request.headers}
    headers |= {"x-openstack-request-id": request.context.request_id, _FORWARDED: "1"}
    body = b""
    if document is not None:
        headers["content-type"] = "application/json"
        body = msgspec.json.encode(document)
    path = f"/v2{quote(request.scope['path'])}"
    return Forwardable(
        NodeRequest(request.scope["method"], path, headers, body), was_forwarded=_FORWARDED in request.headers
    )


def passed_on(answer: NodeAnswer) -> Response:
    """The other node's answer, as the caller gets it."""
    headers = {name: answer.headers[name] for name in _ANSWERED if name in answer.headers}
    return Response(answer.body, answer.status, headers)
