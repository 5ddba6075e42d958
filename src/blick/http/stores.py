"""One store's copy of an image, over HTTP (spec: images-api §17)."""

from starlette.responses import Response

from blick.http.request import Request
from blick.http.responses import no_content
from blick.ops import locations


async def delete_copy(request: Request) -> Response:
    """DELETE /v2/stores/{store_id}/{image_id}"""
    store_id, image_id = request.path_params["store_id"], request.path_params["image_id"]
    await locations.remove_from_store(request.services, request.context, store_id, image_id)
    return no_content()
