"""Imports over HTTP: POST import and PUT stage of /v2/images/{image_id} (spec: images-api §10.3, §11.1)."""

from typing import NoReturn

from starlette.responses import Response

from blick.http.image_data import expected_bytes, require_octets
from blick.http.request import Request
from blick.http.responses import no_content
from blick.model import import_input
from blick.model.errors import Invalid, NotFound
from blick.model.import_job import GLANCE_DIRECT
from blick.ops.imports.enabled import enabled_methods
from blick.ops.stage import stage as stage_data


async def start(request: Request) -> NoReturn:
    """POST /v2/images/{image_id}/import: 400, whichever method it names"""
    raise Invalid(f"Unknown import method name '{import_input.method_name(await request.json())}'.")


async def stage(request: Request) -> Response:
    """PUT /v2/images/{image_id}/stage: 404 where nothing is imported from there, even before its media type counts"""
    services = request.services
    if GLANCE_DIRECT not in enabled_methods(services.settings):
        raise NotFound("'glance-direct' method is not available at this site.")
    require_octets(request.headers)
    announced = expected_bytes(request.headers)
    await stage_data(services, request.context, request.path_params["image_id"], request.body, announced)
    return no_content()
