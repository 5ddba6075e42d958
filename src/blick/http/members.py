"""Members of shared images over HTTP (spec: images-api §13)."""

from starlette.responses import Response

from blick.http.render import member_document, members_document
from blick.http.request import Request
from blick.http.responses import json_response
from blick.model import member_input
from blick.ops import members


async def index(request: Request) -> Response:
    """GET /v2/images/{image_id}/members"""
    found = await members.list_members(request.services, request.context, request.path_params["image_id"])
    return json_response(members_document(found))


async def create(request: Request) -> Response:
    """POST /v2/images/{image_id}/members: 200, not 201"""
    member_id = member_input.parse_member(await request.json())
    image_id = request.path_params["image_id"]
    return json_response(member_document(await members.add(request.services, request.context, image_id, member_id)))


async def show(request: Request) -> Response:
    """GET /v2/images/{image_id}/members/{member_id}"""
    image_id, member_id = request.path_params["image_id"], request.path_params["member_id"]
    return json_response(member_document(await members.show(request.services, request.context, image_id, member_id)))


async def update(request: Request) -> Response:
    """PUT /v2/images/{image_id}/members/{member_id}"""
    status = member_input.parse_status(await request.json())
    image_id, member_id = request.path_params["image_id"], request.path_params["member_id"]
    changed = await members.set_status(request.services, request.context, image_id, member_id, status)
    return json_response(member_document(changed))


async def delete(request: Request) -> Response:
    """DELETE /v2/images/{image_id}/members/{member_id}"""
    image_id, member_id = request.path_params["image_id"], request.path_params["member_id"]
    await members.remove(request.services, request.context, image_id, member_id)
    return Response(status_code=204)
