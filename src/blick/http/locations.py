"""Locations over HTTP: POST and GET of /v2/images/{image_id}/locations (spec: images-api §15.2, §15.3)."""

from starlette.responses import Response

from blick.http.request import Request
from blick.http.responses import accepted, json_response
from blick.model import location
from blick.ops import locations


async def create(request: Request) -> Response:
    """POST /v2/images/{image_id}/locations"""
    new = location.parse(await request.json())
    await locations.register(request.services, request.context, request.path_params["image_id"], new)
    return accepted()


async def index(request: Request) -> Response:
    """GET /v2/images/{image_id}/locations"""
    found = await locations.list_locations(request.services, request.context, request.path_params["image_id"])
    return json_response([{"url": place.uri, "metadata": dict(place.metadata)} for place in found])
