"""One store's copy of an image, over HTTP (spec: images-api §17)."""

from typing import NoReturn

from blick.http.request import Request
from blick.model.errors import NotFound


async def refuse(_request: Request) -> NoReturn:
    """DELETE /v2/stores/{store_id}/{image_id}: 404, as where there is one store without a name"""
    raise NotFound("Deleting from one store is not supported at this site.")
