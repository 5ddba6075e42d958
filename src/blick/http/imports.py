"""Imports over HTTP: POST import and PUT stage of /v2/images/{image_id} (spec: images-api §10.3, §11.1)."""

from typing import Final

from starlette.responses import Response

from blick.http.image_data import expected_bytes, require_octets
from blick.http.request import Request
from blick.http.responses import accepted, no_content
from blick.http.stage_host import forwardable, passed_on
from blick.model import import_input
from blick.model.errors import NotFound
from blick.model.import_job import GLANCE_DIRECT
from blick.ops import forwarding
from blick.ops.imports import start as starting
from blick.ops.imports.enabled import enabled_methods
from blick.ops.stage import stage as stage_data

# The task keeps the body, whatever else stands in it, and whoever lists an image's tasks gets all of them.
MOST_BODY_BYTES: Final = 32 << 10


async def start(request: Request) -> Response:
    """POST /v2/images/{image_id}/import"""
    services, context = request.services, request.context
    document = await request.json(MOST_BODY_BYTES)
    wanted = import_input.parse(
        document,
        request.headers.get("x-image-meta-store") or None,
        enabled_methods(services.settings),
        multi_store=services.settings.stores.multi_store,
    )
    image = await starting.require_startable(services, context, request.path_params["image_id"], wanted)
    if wanted.method == GLANCE_DIRECT:
        answer = await forwarding.to_stage_host(services, image, forwardable(request, document))
        if answer is not None:
            return passed_on(answer)
    await starting.start(services, context, image, wanted)
    return accepted()


async def stage(request: Request) -> Response:
    """PUT /v2/images/{image_id}/stage: 404 where nothing is imported from there, even before its media type counts"""
    services = request.services
    if GLANCE_DIRECT not in enabled_methods(services.settings):
        raise NotFound("'glance-direct' method is not available at this site.")
    require_octets(request.headers)
    announced = expected_bytes(request.headers)
    await stage_data(services, request.context, request.path_params["image_id"], request.body, announced)
    return no_content()
