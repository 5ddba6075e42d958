"""Resource types, and namespaces' associations with them, over HTTP (spec: metadefs-api §6)."""

from starlette.responses import Response

from blick.http.metadefs.body import body_of
from blick.http.metadefs.render import association_document, resource_type_document
from blick.http.request import Request
from blick.http.responses import json_response, no_content
from blick.model import metadef_input
from blick.ops.metadefs import resource_types


async def index(request: Request) -> Response:
    """GET /v2/metadefs/resource_types"""
    found = await resource_types.list_types(request.services, request.context)
    return json_response({"resource_types": [resource_type_document(each) for each in found]})


async def of_namespace(request: Request) -> Response:
    """GET /v2/metadefs/namespaces/{namespace_name}/resource_types"""
    name = request.path_params["namespace_name"]
    found = await resource_types.list_associations(request.services, request.context, name)
    return json_response({"resource_type_associations": [association_document(each) for each in found]})


async def associate(request: Request) -> Response:
    """POST /v2/metadefs/namespaces/{namespace_name}/resource_types"""
    new = metadef_input.parse_association(await body_of(request))
    name = request.path_params["namespace_name"]
    made = await resource_types.associate(request.services, request.context, name, new)
    return json_response(association_document(made), 201)


async def dissociate(request: Request) -> Response:
    """DELETE /v2/metadefs/namespaces/{namespace_name}/resource_types/{name}"""
    name, resource_type = request.path_params["namespace_name"], request.path_params["name"]
    await resource_types.dissociate(request.services, request.context, name, resource_type)
    return no_content()
