"""Objects of metadata definitions over HTTP (spec: metadefs-api §6)."""

from starlette.responses import Response

from blick.http.metadefs.body import body_of
from blick.http.metadefs.render import object_document
from blick.http.request import Request
from blick.http.responses import json_response, no_content
from blick.model import metadef_tag_query
from blick.model.metadef_input import parse_object
from blick.ops.metadefs import objects

# Without the slash at its beginning, as ever.
_SCHEMA = "v2/schemas/metadefs/objects"


async def index(request: Request) -> Response:
    """GET /v2/metadefs/namespaces/{namespace_name}/objects"""
    metadef_tag_query.check_objects(request.query)
    name = request.path_params["namespace_name"]
    namespace, found = await objects.list_objects(request.services, request.context, name)
    return json_response({"objects": [object_document(each, namespace.name) for each in found], "schema": _SCHEMA})


async def create(request: Request) -> Response:
    """POST /v2/metadefs/namespaces/{namespace_name}/objects"""
    item = parse_object(await body_of(request))
    name = request.path_params["namespace_name"]
    namespace, made = await objects.create(request.services, request.context, name, item)
    return json_response(object_document(made, namespace.name), 201)


async def show(request: Request) -> Response:
    """GET /v2/metadefs/namespaces/{namespace_name}/objects/{object_name}"""
    namespace, found = await objects.show(request.services, request.context, *_place(request))
    return json_response(object_document(found, namespace.name))


async def update(request: Request) -> Response:
    """PUT /v2/metadefs/namespaces/{namespace_name}/objects/{object_name}"""
    item = parse_object(await body_of(request))
    namespace, changed = await objects.update(request.services, request.context, *_place(request), item)
    return json_response(object_document(changed, namespace.name))


async def delete(request: Request) -> Response:
    """DELETE /v2/metadefs/namespaces/{namespace_name}/objects/{object_name}"""
    await objects.delete(request.services, request.context, *_place(request))
    return no_content()


async def delete_all(request: Request) -> Response:
    """DELETE /v2/metadefs/namespaces/{namespace_name}/objects"""
    await objects.delete_all(request.services, request.context, request.path_params["namespace_name"])
    return no_content()


def _place(request: Request) -> tuple[str, str]:
    return request.path_params["namespace_name"], request.path_params["object_name"]
