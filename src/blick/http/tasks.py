"""Tasks over HTTP (spec: images-api §11.2, §18)."""

from datetime import datetime
from typing import Any, Final

from starlette.responses import Response

from blick.http import errors
from blick.http.render import task_document, task_line
from blick.http.request import Request
from blick.http.responses import json_response
from blick.model import task_input, task_query
from blick.model.page import PageLimits, page_links
from blick.model.task import Task
from blick.ops import tasks
from blick.ops.imports import by_task

# What every database has room for in the column that keeps the input.
_MOST_BODY_BYTES: Final = 48 << 10
_NEVER_DELETED: Final = (
    "This operation is currently not permitted on Glance Tasks. They are auto deleted after reaching the time based on "
    "their expires_at property."
)


async def index(request: Request) -> Response:
    """GET /v2/tasks"""
    api = request.services.settings.api
    query = task_query.parse(request.query, PageLimits(api.limit_param_default, api.api_limit_max))
    page = await tasks.list_tasks(request.services, request.context, query)
    links = page_links(request.query, page.last_id, "/v2/tasks")
    document: dict[str, object] = {
        "tasks": [task_line(task) for task in page.tasks],
        "first": links.first,
        "schema": "/v2/schemas/tasks",
    }
    if links.next is not None:
        document["next"] = links.next
    return json_response(document)


async def create(request: Request) -> Response:
    """POST /v2/tasks"""
    new = task_input.parse(await request.json(_MOST_BODY_BYTES))
    task = await by_task.start(request.services, request.context, new)
    return json_response(task_document(task), 201, {"location": f"{request.base_url}/v2/tasks/{task.id}"})


async def show(request: Request) -> Response:
    """GET /v2/tasks/{task_id}"""
    task = await tasks.show(request.services, request.context, request.path_params["task_id"])
    return json_response(task_document(task))


async def delete(request: Request) -> Response:
    """DELETE /v2/tasks/{task_id}: 405, whether there is such a task or not"""
    await tasks.require_access(request.services, request.context)
    return errors.answer(405, "", request.headers.get("accept", ""), {"allow": "GET"}, generic=_NEVER_DELETED)


async def of_image(request: Request) -> Response:
    """GET /v2/images/{image_id}/tasks"""
    found = await tasks.list_of_image(request.services, request.context, request.path_params["image_id"])
    return json_response({"tasks": [_of_image(task) for task in found]})


def _of_image(task: Task) -> dict[str, Any]:
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
