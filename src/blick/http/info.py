"""What a site offers, over HTTP (spec: images-api §16)."""

from starlette.responses import Response

from blick.http.request import Request
from blick.http.responses import json_response
from blick.ops import quota, stores
from blick.ops.imports.enabled import enabled_methods


async def import_methods(request: Request) -> Response:
    """GET /v2/info/import"""
    methods = enabled_methods(request.services.settings)
    document = {"description": "Import methods available.", "type": "array", "value": methods}
    return json_response({"import-methods": document})


async def list_stores(request: Request) -> Response:
    """GET /v2/info/stores"""
    found = stores.list_stores(request.services)
    return json_response({"stores": [_store(store) for store in found]})


async def list_stores_in_detail(request: Request) -> Response:
    """GET /v2/info/stores/detail"""
    found = await stores.list_stores_in_detail(request.services, request.context)
    return json_response({"stores": [_detailed(store) for store in found]})


async def usage(request: Request) -> Response:
    """GET /v2/info/usage"""
    shown = await quota.show_usage(request.services, request.context)
    return json_response({"usage": {each.name: {"limit": each.limit, "usage": each.usage} for each in shown}})


def _store(store: stores.StoreInfo) -> dict[str, object]:
    """Truth is the string "true", and what is false is left out: clients compare with that."""
    document: dict[str, object] = {"id": store.id}
    if store.description is not None:
        document["description"] = store.description
    if store.is_default:
        document["default"] = "true"
    if store.is_read_only:
        document["read-only"] = "true"
    return document


def _detailed(store: stores.StoreInfo) -> dict[str, object]:
    return {**_store(store), "type": store.type, "weight": store.weight, "properties": dict(store.properties)}
