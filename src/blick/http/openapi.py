"""The OpenAPI 3.1 document of the API, made from the route table and the shapes of bodies."""

import re
from collections.abc import Mapping
from typing import Any, Final

from blick.http.route import Call
from blick.http.routes import ROUTES
from blick.http.shapes import OCTETS, Shape, component, components, media_types, parameters, request_headers
from blick.model.schema import ImageSchema

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_TEXT: Shape = {"type": "string"}
_TOKEN: Final = "token"  # noqa: S105 - the name of a scheme
_SENT_WITH_DATA: tuple[Shape, ...] = (
    {"name": "X-OpenStack-Image-Size", "in": "header", "schema": {"type": "integer", "minimum": 0}},
    {"name": "X-Image-Meta-Store", "in": "header", "schema": _TEXT},
)
_ASKED_WITH_DATA: tuple[Shape, ...] = ({"name": "Range", "in": "header", "schema": _TEXT},)
_OF_A_MEMBER: Shape = {"image_id": "$response.body#/image_id", "member_id": "$response.body#/member_id"}
_REQUEST_ID: Shape = {"description": "Names the request in logs", "schema": _TEXT}
_DATA_HEADERS: Mapping[str, Shape] = {
    "Content-MD5": {"description": "MD5 of the whole image, hexadecimal", "schema": _TEXT},
    "Content-Length": {"schema": {"type": "integer"}},
    "Content-Range": {"description": "Which part it is, with 206", "schema": _TEXT},
}


_UPLOAD_HEADERS: Mapping[str, Shape] = {
    "Tus-Resumable": {"description": "The version of tus that is spoken", "schema": _TEXT},
    "Upload-Offset": {"description": "How many bytes are there for good", "schema": {"type": "integer"}},
    "Upload-Expires": {"description": "Until when the upload is kept if nothing comes", "schema": _TEXT},
}


def openapi_document(schema: ImageSchema, base_url: str, version: str, *, asks_for_tokens: bool) -> dict[str, Any]:
    """The whole document, ready to be written as JSON. `base_url` has no trailing slash.

    `asks_for_tokens`: does a call need one, or is anybody served?
    """
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths[f"/v2{route.path}"] = {
            method.lower(): _operation(method, route.path, call) for method, call in route.calls.items()
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Blick", "summary": "Images API v2", "version": version},
        "servers": [{"url": base_url}],
        "security": [{_TOKEN: []}] if asks_for_tokens else [],
        "paths": {**_UNVERSIONED, **paths},
        "components": {
            "schemas": components(schema),
            "securitySchemes": {_TOKEN: {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}},
            "responses": {"refusal": _refusal()},
        },
    }


def _operation(method: str, path: str, call: Call) -> dict[str, Any]:
    asked = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in _PLACEHOLDER.findall(path)
    ]
    asked += [dict(each) for each in (parameters(call.query) if call.query else ())]
    asked += [dict(each) for each in (request_headers(call.headers) if call.headers else ())]
    if call.sends == "data":
        asked += [dict(each) for each in _SENT_WITH_DATA]
    if call.gives == "data":
        asked += [dict(each) for each in _ASKED_WITH_DATA]
    described: dict[str, Any] = {
        "operationId": _name(method, path),
        "summary": call.about,
        "parameters": asked,
        "responses": _responses(call),
    }
    if call.rules:
        described["x-policy-rules"] = list(call.rules)
    if call.sends is not None:
        described["requestBody"] = {"required": True, "content": media_types(call.sends)}
    return described


def _name(method: str, path: str) -> str:
    return "_".join([method.lower(), *re.findall(r"\w+", path)])


def _responses(call: Call) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status in call.answers:
        if status < 400:
            responses[str(status)] = _success(call, status) | _links(call)
    responses["4XX"] = {"$ref": "#/components/responses/refusal"}
    responses["503"] = {"$ref": "#/components/responses/refusal"}
    return responses


def _success(call: Call, status: int) -> dict[str, Any]:
    headers: dict[str, Shape] = {"X-OpenStack-Request-Id": _REQUEST_ID}
    if status == 201:
        headers["Location"] = {"description": "Where it is", "schema": _TEXT}
    if call.headers in ("new_upload", "upload", "piece"):
        headers |= _UPLOAD_HEADERS
    if status == 204 or call.gives is None:
        return {"description": "Done", "headers": headers}
    if call.gives == "data":
        return {
            "description": "The data" if status == 200 else "The part that was asked for",
            "headers": {**headers, **_DATA_HEADERS},
            "content": {OCTETS: {"schema": {"type": "string", "format": "binary"}}},
        }
    return {"description": "As asked", "headers": headers, "content": media_types(call.gives)}


def _links(call: Call) -> dict[str, Any]:
    """What can be done with what this call has made, and with what else it answers of it."""
    noun = {"new_image": "image", "new_member": "member"}.get(call.sends or "")
    if noun is None:
        return {}
    known = {"image": {"image_id": "$response.body#/id"}, "member": _OF_A_MEMBER}[noun]
    return {
        "links": {
            _name(method, route.path): {"operationId": _name(method, route.path), "parameters": known}
            for route in ROUTES
            for method in route.calls
            if set(_PLACEHOLDER.findall(route.path)) == known.keys()
        }
    }


def _refusal() -> dict[str, Any]:
    """Why not, in the shape that Accept asks for: plain text without one."""
    return {
        "description": "Why not",
        "content": {
            "text/plain": {"schema": _TEXT},
            "text/html": {"schema": _TEXT},
            "application/json": {"schema": component("error")},
        },
    }


def _for_everyone(about: str, status: str, content: Mapping[str, Any]) -> dict[str, Any]:
    answer = {status: {"description": about, "content": content}}
    return {"get": {"summary": about, "security": [], "parameters": [], "responses": answer}}


_VERSIONS: Mapping[str, Any] = {"application/json": {"schema": component("versions")}}
_UNVERSIONED: Mapping[str, Any] = {
    "/": _for_everyone("Which versions there are", "300", _VERSIONS),
    "/versions": _for_everyone("Which versions there are", "200", _VERSIONS),
    "/healthcheck": _for_everyone(
        "Whether the service is to be asked at all",
        "200",
        {
            "text/plain": {"schema": _TEXT},
            "text/html": {"schema": _TEXT},
            "application/json": {"schema": {"type": "object"}},
        },
    ),
    "/openapi.json": _for_everyone("This document", "200", {"application/json": {"schema": {"type": "object"}}}),
}
