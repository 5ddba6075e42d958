"""The image cache over HTTP (spec: cache, images-api §4). Nowhere is there a cache yet, and so every call says."""

from typing import NoReturn

from blick.http.request import Request
from blick.model.errors import NotFound


async def refuse(_request: Request) -> NoReturn:
    """Any method of /v2/cache…: 404"""
    raise NotFound("Caching via API is not supported at this site.")
