"""Tasks over HTTP (spec: images-api §11.2)."""

from datetime import datetime
from typing import Any, NoReturn

from starlette.responses import Response

from blick.http.request import Request
from blick.http.responses import json_response
from blick.model.errors import NotFound
from blick.model.task import Task
from blick.ops import tasks


async def of_image(request: Request) -> Response:
    """GET /v2/images/{image_id}/tasks"""
    found = await tasks.list_of_image(request.services, request.context, request.path_params["image_id"])
    return json_response({"tasks": [_document(task) for task in found]})


async def refuse(_request: Request) -> NoReturn:
    """Any method of /v2/tasks…: 404. Tasks are shown with the image that they work on."""
    raise NotFound("The tasks API is not available at this site.")


def _document(task: Task) -> dict[str, Any]:
    return {
        "id": task.id,
        "type": task.type,
        "status": task.status,
        "owner": task.owner,
        "expires_at": _moment(task.expires_at),
        "created_at": _moment(task.created_at),
        "updated_at": _moment(task.updated_at),
        "deleted_at": None,
        "deleted": False,
        "image_id": task.image_id,
        "request_id": task.request_id,
        "user_id": task.user_id,
        "input": task.input,
        "result": task.result,
        "message": task.message,
    }


def _moment(moment: datetime | None) -> str | None:
    """With microseconds and without a Z, unlike everywhere else in the API: this is how clients know this list."""
    return None if moment is None else moment.isoformat(timespec="microseconds")
