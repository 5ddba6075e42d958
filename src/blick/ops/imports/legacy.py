"""The old task type `import`: an image is made and filled from a URL in one go (spec: import-and-tasks §11.3).

It is an import like others, but that its job makes the image first, and removes it again if anything fails.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from blick.db import legacy_imports
from blick.db.jobs import NewJob
from blick.model import image_input
from blick.model.context import RequestContext
from blick.model.errors import Conflict, Invalid
from blick.model.image_input import NewImage
from blick.model.import_job import IMAGE_IMPORT, WEB_DOWNLOAD, ImportWork
from blick.model.job_caller import JobSecret, as_payload
from blick.model.location import WEB_SCHEMES, scheme_of
from blick.model.schema import ImageSchema
from blick.model.task import LEGACY_IMPORT, Task
from blick.model.task_input import NewTask
from blick.model.uri_filter import shown
from blick.ops import images, tasks
from blick.ops.imports.current import CurrentImport
from blick.ops.imports.methods import web_download
from blick.ops.imports.start import moment, needs_secret, priority_of
from blick.ops.services import Services

_log = logging.getLogger(__name__)

_KEYS: Final = ("import_from", "import_from_format", "image_properties")
_USUAL_CONTAINER: Final = "bare"


async def start(services: Services, context: RequestContext, task: Task) -> Task:
    """Promise what `task` asks for; gives it as it is shown, without the password of a URL.

    Raises Invalid if its URL is missing, or may not be fetched.
    """
    asked = task.input or {}
    uri = asked.get("import_from")
    if not isinstance(uri, str):
        raise Invalid(f"Invalid location: {uri}")
    if scheme_of(uri) == "file":
        raise Invalid("File based imports are not allowed. Please use a non-local source of image data.")
    if scheme_of(uri) not in WEB_SCHEMES:
        raise Invalid("The given uri is not valid. Please specify a valid uri of the schemes http and https.")
    await web_download.require_allowed(services, uri)
    stores = (services.settings.stores.default_store,)
    secret = JobSecret.of(context) if needs_secret(services, WEB_DOWNLOAD, stores) else None
    work = ImportWork(
        id=task.id,
        image_id=services.new_id(),
        method=WEB_DOWNLOAD,
        stores=stores,
        arguments={"uri": uri},
        caller=as_payload(context),
        has_secret=secret is not None,
        new_image=asked,
    )
    job = NewJob(
        id=work.id,
        kind=IMAGE_IMPORT,
        payload=work.payload(),
        project_id=context.project_id or "",
        image_id=work.image_id,
        priority=priority_of(work.method),
        secret=None if secret is None else services.sealer.seal(secret),
    )
    told = replace(task, input={**asked, "import_from": shown(uri)}) if "@" in uri else task
    await services.database.write(legacy_imports.begin, told, job, moment(services))
    _log.info("a new image %s is to be made by an import: job %s", work.image_id, work.id)
    services.jobs_wanted.set()
    return told


async def again(services: Services, old: ImportWork) -> str:
    """Do once more, in the first caller's name, what came to nothing; gives the id of the new task and job.

    Raises Conflict if that takes what only the caller has, Invalid if the URL may not be fetched any more.
    """
    if old.has_secret:
        raise Conflict("This import acts in its caller's name: the caller has to ask for it again.")
    context = old.context(None)
    new = NewTask(LEGACY_IMPORT, old.new_image or {})
    return (await start(services, context, tasks.record(services, context, new))).id


async def create(current: CurrentImport, next_step: str) -> None:
    """Make the image that the import is to fill, with its caller's rights and quotas.

    Raises Invalid, Forbidden, LimitExceeded with the reason for the task; Gone.
    """
    services, work = current.services, current.work
    new = replace(_new_image(work.new_image or {}, services.image_schema), id=work.image_id)
    image, limits = await images.plan(services, current.context, new)
    await services.database.write(legacy_imports.create, current.job, work, image, limits, next_step, moment(services))
    current.step = next_step


def _new_image(asked: Mapping[str, Any], schema: ImageSchema) -> NewImage:
    """What `image_properties` says, as the body of POST /v2/images would; the format of the source is the image's."""
    for key in _KEYS:
        if key not in asked:
            raise Invalid(f"Input does not contain '{key}' field")
    given, source_format = asked["image_properties"], asked["import_from_format"]
    if not isinstance(given, dict):
        raise Invalid("'image_properties' must be a JSON object.")
    if "id" in given:
        raise Invalid("The id of an image that a task makes cannot be chosen.")
    formats = {"disk_format": source_format, "container_format": _USUAL_CONTAINER}
    new = image_input.parse({**formats, **given}, schema)
    if new.disk_format is None or new.container_format is None:
        raise Invalid("Properties disk_format, container_format must be set before an import.")
    return new
