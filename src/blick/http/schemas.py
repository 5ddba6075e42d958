"""The schema documents over HTTP (spec: images-api §19, metadefs-api §4)."""

from starlette.responses import Response

from blick.http.request import Request
from blick.http.responses import json_response
from blick.model import metadef_schema, schema


async def show(request: Request) -> Response:
    """GET /v2/schemas/{image,images,member,members,task,tasks}"""
    name = request.scope["path"].rpartition("/")[2]
    return json_response(schema.documents(request.services.image_schema)[name])


async def show_metadef(request: Request) -> Response:
    """GET /v2/schemas/metadefs/{namespace,object,property,resource_type,tag, and lists of them}"""
    name = request.scope["path"].rpartition("/")[2]
    return json_response(metadef_schema.DOCUMENTS[name])
