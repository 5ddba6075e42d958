"""Tags of metadata definitions over HTTP (spec: metadefs-api §6)."""

from typing import Final

from starlette.responses import Response

from blick.http.metadefs.body import body_of
from blick.http.metadefs.render import tag_document
from blick.http.request import Request
from blick.http.responses import json_response, no_content
from blick.model import metadef_tag_query
from blick.model.metadef_input import parse_tag, parse_tags, tag_of_path
from blick.ops.metadefs import tags

# What the header X-Openstack-Append may say for yes; everything else is no.
_YES: Final = frozenset({"1", "t", "true", "on", "y", "yes"})


async def index(request: Request) -> Response:
    """GET /v2/metadefs/namespaces/{namespace_name}/tags"""
    query = metadef_tag_query.parse_tags(request.query)
    name = request.path_params["namespace_name"]
    found = await tags.list_tags(request.services, request.context, name, query)
    return json_response({"tags": [{"name": each.name} for each in found]})


async def create_many(request: Request) -> Response:
    """POST /v2/metadefs/namespaces/{namespace_name}/tags"""
    items = parse_tags(await body_of(request))
    append = request.headers.get("x-openstack-append", "").strip().lower() in _YES
    name = request.path_params["namespace_name"]
    await tags.create_many(request.services, request.context, name, items, append=append)
    return json_response({"tags": [{"name": each.name} for each in items]}, 201)


async def create(request: Request) -> Response:
    """POST /v2/metadefs/namespaces/{namespace_name}/tags/{tag_name}"""
    namespace_name, name = _place(request)
    made = await tags.create(request.services, request.context, namespace_name, tag_of_path(name))
    return json_response(tag_document(made), 201)


async def show(request: Request) -> Response:
    """GET /v2/metadefs/namespaces/{namespace_name}/tags/{tag_name}"""
    return json_response(tag_document(await tags.show(request.services, request.context, *_place(request))))


async def update(request: Request) -> Response:
    """PUT /v2/metadefs/namespaces/{namespace_name}/tags/{tag_name}"""
    item = parse_tag(await body_of(request))
    return json_response(tag_document(await tags.update(request.services, request.context, *_place(request), item)))


async def delete(request: Request) -> Response:
    """DELETE /v2/metadefs/namespaces/{namespace_name}/tags/{tag_name}"""
    await tags.delete(request.services, request.context, *_place(request))
    return no_content()


async def delete_all(request: Request) -> Response:
    """DELETE /v2/metadefs/namespaces/{namespace_name}/tags"""
    await tags.delete_all(request.services, request.context, request.path_params["namespace_name"])
    return no_content()


def _place(request: Request) -> tuple[str, str]:
    return request.path_params["namespace_name"], request.path_params["tag_name"]
