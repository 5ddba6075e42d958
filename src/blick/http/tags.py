"""Single tags over HTTP (spec: images-api §14)."""

from starlette.responses import Response

from blick.http.request import Request
from blick.http.responses import no_content
from blick.ops import tags


async def add(request: Request) -> Response:
    """PUT /v2/images/{image_id}/tags/{tag}"""
    image_id, tag = request.path_params["image_id"], request.path_params["tag"]
    await tags.add(request.services, request.context, image_id, tag)
    return no_content()


async def remove(request: Request) -> Response:
    """DELETE /v2/images/{image_id}/tags/{tag}"""
    image_id, tag = request.path_params["image_id"], request.path_params["tag"]
    await tags.remove(request.services, request.context, image_id, tag)
    return no_content()
