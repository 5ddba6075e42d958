"""Images over HTTP (spec: images-api §5–9, §12)."""

from collections.abc import Sequence
from typing import Any

from starlette.responses import Response

from blick.http.render import image_renderer
from blick.http.request import Request
from blick.http.responses import json_response, no_content
from blick.http.stage_host import forwardable, passed_on
from blick.model import image_input, image_patch, image_query
from blick.model.page import PageLimits, page_links
from blick.ops import images
from blick.ops.imports.enabled import enabled_methods


async def index(request: Request) -> Response:
    """GET /v2/images"""
    api = request.services.settings.api
    limits = PageLimits(api.limit_param_default, api.api_limit_max)
    query = image_query.parse(request.query, limits)
    page = await images.list_images(request.services, request.context, query)
    renderer = image_renderer(request.services, request.context)
    links = page_links(request.query, page.last_id, "/v2/images")
    document: dict[str, object] = {
        "images": [renderer.document(image) for image in page.images],
        "first": links.first,
        "schema": "/v2/schemas/images",
    }
    if links.next is not None:
        document["next"] = links.next
    return json_response(document)


async def create(request: Request) -> Response:
    """POST /v2/images"""
    new = image_input.parse(await request.json(), request.services.image_schema)
    image = await images.create(request.services, request.context, new)
    headers = {"location": f"{request.base_url}/v2/images/{image.id}"}
    settings = request.services.settings
    if methods := enabled_methods(settings):
        headers["openstack-image-import-methods"] = ",".join(methods)
    if settings.stores.multi_store:
        headers["openstack-image-store-ids"] = ",".join(request.services.stores.ids)
    document = image_renderer(request.services, request.context).document(image)
    if new.owner_given and new.owner == "":
        document["owner"] = ""
    return json_response(document, 201, headers)


async def show(request: Request) -> Response:
    """GET /v2/images/{image_id}"""
    image = await images.show(request.services, request.context, request.path_params["image_id"])
    return json_response(image_renderer(request.services, request.context).document(image))


async def update(request: Request) -> Response:
    """PATCH /v2/images/{image_id}"""
    version = image_patch.version_of(request.headers.get("content-type"))
    changes = image_patch.parse(version, await request.json(), request.services.image_schema)
    image = await images.change(request.services, request.context, request.path_params["image_id"], changes)
    document = image_renderer(request.services, request.context).document(image)
    _echo_validation_data(document, changes)
    return json_response(document)


def _echo_validation_data(document: dict[str, Any], changes: Sequence[image_patch.Change]) -> None:
    """A location that came with the request is shown with the validation data that it came with, this once."""
    values = [change.value for change in changes if change.name == "locations" and change.value is not None]
    given = [place for value in values for place in (value if isinstance(value, list) else [value])]
    for place in given:
        shown = next((one for one in document["locations"] if one["url"] == place["url"]), None)
        if shown is not None and "validation_data" in place:
            shown["validation_data"] = place["validation_data"]


async def delete(request: Request) -> Response:
    """DELETE /v2/images/{image_id}"""
    image_id = request.path_params["image_id"]
    answer = await images.delete(request.services, request.context, image_id, forwardable(request))
    return no_content() if answer is None else passed_on(answer)


async def deactivate(request: Request) -> Response:
    """POST /v2/images/{image_id}/actions/deactivate"""
    await images.deactivate(request.services, request.context, request.path_params["image_id"])
    return no_content()


async def reactivate(request: Request) -> Response:
    """POST /v2/images/{image_id}/actions/reactivate"""
    await images.reactivate(request.services, request.context, request.path_params["image_id"])
    return no_content()
