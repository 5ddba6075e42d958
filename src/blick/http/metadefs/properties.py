"""Properties of metadata definitions over HTTP (spec: metadefs-api §6)."""

from starlette.responses import Response

from blick.http.metadefs.body import body_of
from blick.http.metadefs.render import property_document, property_map
from blick.http.request import Request
from blick.http.responses import json_response, no_content
from blick.model.metadef_input import parse_property
from blick.ops.metadefs import properties


async def index(request: Request) -> Response:
    """GET /v2/metadefs/namespaces/{namespace_name}/properties"""
    name = request.path_params["namespace_name"]
    found = await properties.list_properties(request.services, request.context, name)
    return json_response({"properties": property_map(found)})


async def create(request: Request) -> Response:
    """POST /v2/metadefs/namespaces/{namespace_name}/properties"""
    item = parse_property(await body_of(request))
    name = request.path_params["namespace_name"]
    return json_response(property_document(await properties.create(request.services, request.context, name, item)), 201)


async def show(request: Request) -> Response:
    """GET /v2/metadefs/namespaces/{namespace_name}/properties/{property_name}"""
    resource_type = dict(reversed(request.query)).get("resource_type")
    found = await properties.show(request.services, request.context, *_place(request), resource_type or None)
    return json_response(property_document(found))


async def update(request: Request) -> Response:
    """PUT /v2/metadefs/namespaces/{namespace_name}/properties/{property_name}"""
    item = parse_property(await body_of(request))
    return json_response(
        property_document(await properties.update(request.services, request.context, *_place(request), item))
    )


async def delete(request: Request) -> Response:
    """DELETE /v2/metadefs/namespaces/{namespace_name}/properties/{property_name}"""
    await properties.delete(request.services, request.context, *_place(request))
    return no_content()


async def delete_all(request: Request) -> Response:
    """DELETE /v2/metadefs/namespaces/{namespace_name}/properties"""
    await properties.delete_all(request.services, request.context, request.path_params["namespace_name"])
    return no_content()


def _place(request: Request) -> tuple[str, str]:
    return request.path_params["namespace_name"], request.path_params["property_name"]
