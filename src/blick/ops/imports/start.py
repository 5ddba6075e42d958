"""An import is asked for: everything that can be refused at once is, then one transaction promises it (spec: §1)."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from blick.conf.settings import Settings
from blick.db import imports, jobs
from blick.db.jobs import Job, NewJob
from blick.db.moment import Moment
from blick.model.context import RequestContext
from blick.model.errors import Conflict, Invalid
from blick.model.image import ACTIVE, Image
from blick.model.import_input import ImportRequest
from blick.model.import_job import COPY_IMAGE, GLANCE_DIRECT, GLANCE_DOWNLOAD, IMAGE_IMPORT, WEB_DOWNLOAD, ImportWork
from blick.model.job_caller import JobSecret, as_payload
from blick.model.quota import IMAGE_SIZE_TOTAL
from blick.model.task import PENDING, Task
from blick.model.uri_filter import shown
from blick.ops import access, quota
from blick.ops.imports.methods import glance_download, web_download
from blick.ops.services import Services
from blick.ops.store_status import READ_ONLY_TYPES
from blick.stores.base import ActsForCaller

_log = logging.getLogger(__name__)

_MOST_REQUEST_ID_CHARACTERS: Final = 64


async def require_startable(
    services: Services, context: RequestContext, image_id: str, request: ImportRequest
) -> Image:
    """The image, if the caller may have that done to it and its state allows it.

    Raises NotFound, Forbidden, Conflict, LimitExceeded.
    """
    access.require_writer(context)
    await quota.require(services, await quota.unified(services, context.project_id, IMAGE_SIZE_TOTAL))
    image = await access.load(services, context, image_id)
    _require_status(image, request.method)
    await services.policy.require_on_image(
        "copy_image" if request.method == COPY_IMAGE else "modify_image", context, image
    )
    if request.method != COPY_IMAGE:  # who may copy is the policy's to say; the copy is made in the service's name
        access.require_owner_in_database(context, image)
    return image


def _require_status(image: Image, method: str) -> None:
    wanted = imports.STARTS_FROM[method]
    if image.status != wanted:
        if image.status == ACTIVE:
            raise Conflict("Image is already active: only the import method copy-image takes such.")
        raise Conflict(f"Image needs to be in status {wanted} for the import method {method}, not {image.status}.")
    if image.disk_format is None or image.container_format is None:
        raise Conflict("Properties disk_format, container_format must be set before an import.")


async def start(services: Services, context: RequestContext, image: Image, request: ImportRequest) -> str | None:
    """Promise the import; gives the id of its task and job, None if there is nothing to do.

    `image` is what `require_startable` gave. Raises Invalid (the URI is refused; the store has the image), Conflict
    (unknown store; being imported already), NotFound.
    """
    stores = _targets(services, image, request)
    if not stores:
        return None
    arguments = dict(request.arguments)
    if request.method == WEB_DOWNLOAD:
        await web_download.require_allowed(services, arguments["uri"])
    if request.method == GLANCE_DOWNLOAD:
        arguments |= _remote(context, arguments)
    work = ImportWork(
        id=services.new_id(),
        image_id=image.id,
        method=request.method,
        stores=stores,
        all_stores_must_succeed=request.all_stores_must_succeed,
        arguments=arguments,
        caller=as_payload(context),
        are_named=services.settings.stores.multi_store,
        has_secret=JobSecret.of(context) is not None and needs_secret(services, request.method, stores),
    )
    await _promise(services, context, work, request.document)
    return work.id


def _targets(services: Services, image: Image, request: ImportRequest) -> tuple[str, ...]:
    if request.all_stores:
        wanted = _writable(services.settings)
    else:
        wanted = request.stores or (services.settings.stores.default_store,)
    for store_id in wanted:
        if not services.stores.is_known(store_id):
            raise Conflict(f"There is no store {store_id!r} here.")
        if store_id not in _writable(services.settings):
            raise Conflict(f"The store {store_id} takes no new data.")
    if request.method != COPY_IMAGE:
        return tuple(wanted)
    present = _present(services, image)
    if not request.all_stores and (doubles := present & set(wanted)):
        raise Invalid(f"Image is already present at store '{sorted(doubles)[0]}'")
    return tuple(store_id for store_id in wanted if store_id not in present)


def _present(services: Services, image: Image) -> set[str]:
    """The stores that have the image's data."""
    if not services.settings.stores.multi_store:
        return {services.settings.stores.default_store}
    return {str(place.metadata.get("store")) for place in services.stores.ordered(image.locations)}


def _writable(settings: Settings) -> tuple[str, ...]:
    return tuple(store.id for store in settings.stores.stores if store.type not in READ_ONLY_TYPES)


def _remote(context: RequestContext, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Where the other region's service is. That there is none is told by the task (spec: §9)."""
    try:
        endpoint = glance_download.endpoint_of(
            context, arguments["glance_region"], arguments["glance_service_interface"]
        )
    except Invalid as error:
        return {"endpoint": None, "trouble": str(error)}
    return {"endpoint": endpoint}


def needs_secret(services: Services, method: str, stores: Iterable[str]) -> bool:
    """Has the job to act in the caller's name, to fetch data or to write it?"""
    if method == GLANCE_DOWNLOAD:
        return True
    opened = [services.stores.by_id(store_id) for store_id in stores if store_id in services.stores.ids]
    return any(isinstance(store, ActsForCaller) for store in opened)


async def _promise(services: Services, context: RequestContext, work: ImportWork, document: Mapping[str, Any]) -> None:
    secret = JobSecret.of(context) if work.has_secret else None
    job = NewJob(
        id=work.id,
        kind=IMAGE_IMPORT,
        payload=work.payload(),
        project_id=context.project_id or "",
        image_id=work.image_id,
        # What was staged on a disk is there and nowhere else.
        node=services.staging.node if work.method == GLANCE_DIRECT else "",
        priority=priority_of(work.method),
        secret=None if secret is None else services.sealer.seal(secret),
    )
    task = _task(services, context, work, document)
    await services.database.write(imports.begin, work, task, job, moment(services))
    where = job.node or "any node"
    _log.info(
        "image %s is to be imported into %s: job %s (%s), for %s",
        work.image_id,
        ", ".join(work.stores),
        work.id,
        work.method,
        where,
    )
    services.jobs_wanted.set()


def priority_of(method: str) -> int:
    """Somebody waits for new images; more copies of one that is there can wait."""
    return 20 if method == COPY_IMAGE else 10


def _task(services: Services, context: RequestContext, work: ImportWork, document: Mapping[str, Any]) -> Task:
    now = services.now()
    return Task(
        id=work.id,
        type=IMAGE_IMPORT,
        status=PENDING,
        owner=context.project_id or "",
        image_id=work.image_id,
        request_id=context.request_id[:_MOST_REQUEST_ID_CHARACTERS],
        user_id=context.user_id,
        created_at=now,
        updated_at=now,
        input={"image_id": work.image_id, "import_req": _shown(document), "backend": _backend(work)},
    )


def _backend(work: ImportWork) -> list[str | None]:
    return [store if work.are_named else None for store in work.stores]


def _shown(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """The request as tasks tell of it: without the password of a URI."""
    method = document["method"]
    uri = method.get("uri")
    return {**document, "method": {**method, "uri": shown(uri)}} if isinstance(uri, str) else document


async def again(services: Services, context: RequestContext, job: Job) -> str:
    """Try an import once more that ended without success; gives the id of its new task and job.

    Raises Conflict if it has not ended so, or the image does not allow it any more; NotFound, Invalid.
    """
    if job.kind != IMAGE_IMPORT or job.outcome not in (jobs.FAILURE, jobs.CANCELLED):
        raise Conflict("Only an import that failed, or was cancelled, can be tried again.")
    old = ImportWork.from_payload(job.payload)
    if old.has_secret:
        raise Conflict("This import acts in its caller's name: the caller has to ask for it again.")
    image = await access.load(services, context, old.image_id)
    _require_status(image, old.method)
    if old.method == WEB_DOWNLOAD:
        await web_download.require_allowed(services, old.arguments["uri"])
    work = replace(old, id=services.new_id(), stores=_left(services, image, old))
    if not work.stores:
        raise Conflict("There is nothing left to do.")
    document = {"method": {"name": old.method, **old.arguments}, "stores": list(work.stores)}
    await _promise(services, old.context(None), work, document)
    return work.id


def _left(services: Services, image: Image, work: ImportWork) -> tuple[str, ...]:
    if work.method != COPY_IMAGE:
        return work.stores
    present = _present(services, image)
    return tuple(store_id for store_id in work.stores if store_id not in present)


def moment(services: Services) -> Moment:
    """Now, and when a task that ends now is forgotten."""
    now = services.now()
    return Moment(now, now + timedelta(hours=services.settings.imports.task_time_to_live_h))
