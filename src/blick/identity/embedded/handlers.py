"""What the handlers of the identity API share: reading the body, and who is asking."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from blick.identity.embedded.documents import Document
from blick.identity.embedded.links import Links
from blick.identity.embedded.service import EmbeddedIdentity, Session
from blick.model.errors import LimitExceeded

_MAX_BODY_BYTES = 64 * 1024


class Handlers:
    """Base of the groups of handlers."""

    def __init__(self, identity: EmbeddedIdentity, links: Links) -> None:
        self.identity = identity
        self.links = links

    async def caller(self, request: Request) -> Session:
        """Who sent X-Auth-Token. Raises Unauthenticated."""
        tokens = request.headers.getlist("x-auth-token")
        return await self.identity.validate(tokens[0] if len(tokens) == 1 else "")


async def read_body(request: Request) -> bytes:
    """The whole body. Raises LimitExceeded beyond 64 KiB, ClientDisconnect where it broke off."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            raise LimitExceeded(f"The request body is larger than {_MAX_BODY_BYTES} bytes.")
    return bytes(body)


def client_address(request: Request) -> str | None:
    """The peer's address; None where it has none."""
    return request.client.host if request.client else None


def answer(request: Request, document: Document, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """The document; for HEAD its headers only."""
    response = JSONResponse(document, status_code=status, headers={"Vary": "X-Auth-Token", **(headers or {})})
    if request.method == "HEAD":
        return Response(status_code=status, headers=dict(response.headers))
    return response
