"""The schema documents over HTTP (spec: images-api §19)."""

from starlette.responses import Response

from blick.http.request import Request
from blick.http.responses import json_response
from blick.model import schema


async def show(request: Request) -> Response:
    """GET /v2/schemas/{image,images,member,members,task,tasks}"""
    name = request.scope["path"].rpartition("/")[2]
    return json_response(schema.documents(request.services.image_schema)[name])
