"""Namespaces of metadata definitions over HTTP (spec: metadefs-api §6, §7)."""

from typing import Any
from urllib.parse import quote

from starlette.responses import Response

from blick.http.metadefs.body import body_of
from blick.http.metadefs.render import NAMESPACES_PATH, namespace_document
from blick.http.request import Request
from blick.http.responses import json_response, no_content
from blick.model import metadef_input, metadef_query
from blick.model.metadef import Children
from blick.model.page import PageLimits, page_links
from blick.ops.metadefs import namespaces

# What a path may have as it is: the names of namespaces mostly look like OS::Compute::CPUPinning.
_UNQUOTED = ":!$&'()*+,;=@~"

_CHILDREN = ("resource_type_associations", "properties", "objects", "tags")


async def index(request: Request) -> Response:
    """GET /v2/metadefs/namespaces"""
    api = request.services.settings.api
    query = metadef_query.parse(request.query, PageLimits(api.limit_param_default, api.api_limit_max))
    page = await namespaces.list_namespaces(request.services, request.context, query)
    links = page_links(request.query, page.last_name, NAMESPACES_PATH)
    document: dict[str, Any] = {
        "namespaces": [
            namespace_document(namespace, Children(associations)) for namespace, associations in page.namespaces
        ]
    }
    if links.next is not None:
        document["next"] = links.next
    return json_response({**document, "schema": "/v2/schemas/metadefs/namespaces", "first": links.first})


async def create(request: Request) -> Response:
    """POST /v2/metadefs/namespaces"""
    body = await body_of(request)
    asked = metadef_input.parse_namespace(body)
    made = await namespaces.create(request.services, request.context, asked)
    headers = {"location": f"{request.base_url}{NAMESPACES_PATH}/{quote(made.name, safe=_UNQUOTED)}"}
    return json_response({**_empty_children(body), **namespace_document(made, asked.children)}, 201, headers)


def _empty_children(body: object) -> dict[str, Any]:
    """What the caller said that there is none of: the answer says it again."""
    given = body if isinstance(body, dict) else {}
    return {name: given[name] for name in _CHILDREN if name in given and not given[name]}


async def show(request: Request) -> Response:
    """GET /v2/metadefs/namespaces/{namespace_name}"""
    resource_type = metadef_query.parse_resource_type(request.query)
    name = request.path_params["namespace_name"]
    namespace, children = await namespaces.show(request.services, request.context, name, resource_type)
    return json_response(namespace_document(namespace, children))


async def update(request: Request) -> Response:
    """PUT /v2/metadefs/namespaces/{namespace_name}: what the body says of what lies in it is not looked at"""
    asked = metadef_input.parse_namespace(await body_of(request))
    name = request.path_params["namespace_name"]
    return json_response(namespace_document(await namespaces.replace(request.services, request.context, name, asked)))


async def delete(request: Request) -> Response:
    """DELETE /v2/metadefs/namespaces/{namespace_name}"""
    await namespaces.delete(request.services, request.context, request.path_params["namespace_name"])
    return no_content()
