"""Uploads that can be taken up again, over HTTP: /v2/images/{image_id}/upload, as tus 1.0 has it."""

from starlette.responses import Response

from blick.http import tus
from blick.http.request import Request
from blick.model.resumable_upload import OPEN, Progress
from blick.ops.resumable_uploads import append, create, finish, housekeeping


async def begin(request: Request) -> Response:
    """POST /v2/images/{image_id}/upload"""
    tus.require_version(request.headers)
    services, context, image_id = request.services, request.context, request.path_params["image_id"]
    new = tus.new_upload(request.headers, multi_store=services.settings.stores.multi_store)
    piece = tus.piece(request.headers, 0) if request.has_body and tus.is_piece(request.headers) else None
    upload = await create.create(services, context, image_id, new)
    headers = {
        "location": f"{request.base_url}/v2/images/{image_id}/upload/{upload.id}",
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
    progress = await append.progress(request.services, request.context, *_names(request))
    return Response(headers=tus.described(progress))


async def add(request: Request) -> Response:
    """PATCH /v2/images/{image_id}/upload/{upload_id}"""
    tus.require_version(request.headers)
    piece = tus.piece(request.headers)
    progress: Progress = await append.append(request.services, request.context, *_names(request), piece, request.body)
    return Response(status_code=204, headers=tus.told(progress))


async def terminate(request: Request) -> Response:
    """DELETE /v2/images/{image_id}/upload/{upload_id}"""
    tus.require_version(request.headers)
    await housekeeping.terminate(request.services, request.context, *_names(request))
    return Response(status_code=204)


def _names(request: Request) -> tuple[str, str]:
    return request.path_params["image_id"], request.path_params["upload_id"]
