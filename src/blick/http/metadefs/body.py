"""Bodies of requests about metadata definitions (spec: metadefs-api §5)."""

from blick.http.request import Request
from blick.model.errors import Invalid


async def body_of(request: Request) -> object:
    """The decoded body. Raises Invalid, or LimitExceeded over the size limit."""
    if not request.has_body:
        raise Invalid("Body expected in request.")
    return await request.json()
