"""Uploads that can be taken up again, over HTTP: /v2/images/{image_id}/upload, as tus 1.0 has it."""

from dataclasses import replace

from starlette.responses import Response

from blick.http import tus
from blick.http.request import Request
from blick.http.stage_host import forwardable, passed_on
from blick.model.errors import NodeBroken
from blick.model.resumable_upload import OPEN
from blick.ops.resumable_uploads import append, create, finish, housekeeping, lookup


async def begin(request: Request) -> Response:
    """POST /v2/images/{image_id}/upload"""
    tus.require_version(request.headers)
    services, context, image_id = request.services, request.context, request.path_params["image_id"]
    new = tus.new_upload(request.headers, multi_store=services.settings.stores.multi_store)
    piece = tus.piece(request.headers, 0) if request.has_body and tus.is_piece(request.headers) else None
    if (answer := await _from_elsewhere(request, None)) is not None:
        return answer
    upload = await create.create(services, context, image_id, new)
    headers = {
        "location": _location(request, upload.id),
        "upload-expires": tus.moment(upload.expires_at_ms),
    }
    if upload.state != OPEN:
        await finish.outcome(services, upload)
    elif piece is not None:
        headers |= tus.told(await append.append(services, context, image_id, upload.id, piece, request.body))
    return Response(status_code=201, headers=headers)


async def show(request: Request) -> Response:
    """HEAD /v2/images/{image_id}/upload/{upload_id}"""
    tus.require_version(request.headers)
    image_id, upload_id = _names(request)
    if (answer := await _from_elsewhere(request, upload_id)) is not None:
        return answer
    progress = await append.progress(request.services, request.context, image_id, upload_id)
    return Response(headers=tus.described(progress))


async def add(request: Request) -> Response:
    """PATCH /v2/images/{image_id}/upload/{upload_id}"""
    tus.require_version(request.headers)
    piece = tus.piece(request.headers)
    image_id, upload_id = _names(request)
    if (answer := await _from_elsewhere(request, upload_id)) is not None:
        return answer
    progress = await append.append(request.services, request.context, image_id, upload_id, piece, request.body)
    return Response(status_code=204, headers=tus.told(progress))


async def terminate(request: Request) -> Response:
    """DELETE /v2/images/{image_id}/upload/{upload_id}"""
    tus.require_version(request.headers)
    image_id, upload_id = _names(request)
    if (answer := await _from_elsewhere(request, upload_id)) is not None:
        return answer
    await housekeeping.terminate(request.services, request.context, image_id, upload_id)
    return Response(status_code=204)


def _names(request: Request) -> tuple[str, str]:
    return request.path_params["image_id"], request.path_params["upload_id"]


def _location(request: Request, upload_id: str) -> str:
    return f"{request.base_url}/v2/images/{request.path_params['image_id']}/upload/{upload_id}"


async def _from_elsewhere(request: Request, upload_id: str | None) -> Response | None:
    """What the node says that has the upload's bytes, or the other uploads of the image; None: that is this one.

    Raises NotFound, Forbidden, NodeUnreachable, NodeBroken, BodyIncomplete.
    """
    image_id = request.path_params["image_id"]
    node = await lookup.node_of(request.services, image_id, upload_id)
    asked = forwardable(request)
    if node is None or asked.was_forwarded:
        return None
    # The node decides by itself; but who may not put data into the image is not to learn whether it answers.
    await lookup.image_for(request.services, request.context, image_id)
    headers = {**asked.request.headers, **tus.passed_on(request.headers)}
    body, size_bytes = (request.body, tus.size_bytes(request.headers)) if request.has_body else (None, 0)
    answer = await lookup.pass_on(request.services, node, replace(asked.request, headers=headers), body, size_bytes)
    if answer.status < 300 and answer.headers.get("tus-resumable") != tus.VERSION:
        raise NodeBroken(f"The node {node} gave no whole answer.")
    response = passed_on(answer)
    response.headers.update(tus.passed_back(answer.headers))
    if "location" in answer.headers:
        # As its client reaches it: the node knows it by another name.
        response.headers["location"] = _location(request, answer.headers["location"].rpartition("/")[2])
    return response
