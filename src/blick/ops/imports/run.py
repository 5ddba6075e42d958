"""An import, as a job: admit → fetch → plugins → stores → the end (spec: import-and-tasks §5).

Each step is noted together with its effect, so that whoever takes the job over goes on from there; one that was cut off
is done again. Whatever goes wrong is undone: the image waits for data again, or for another try with what is staged.
"""

import contextlib
import logging
from dataclasses import replace
from pathlib import Path
from typing import Final

from blick.db import imports, jobs, outbox
from blick.db.imports import Undoing
from blick.db.jobs import Job
from blick.jobs.kinds import Ending
from blick.model.errors import (
    BlickError,
    Conflict,
    DataNotFound,
    Forbidden,
    Gone,
    Invalid,
    LimitExceeded,
    ServiceUnavailable,
    SourceError,
    SourceUnavailable,
    StoreError,
    UnsupportedMediaType,
)
from blick.model.image import ImageLocation
from blick.model.import_job import (
    COPY_IMAGE,
    GLANCE_DIRECT,
    RESUMABLE_UPLOAD,
    SourceData,
)
from blick.model.quota import (
    IMAGE_COUNT_UPLOADING,
    IMAGE_SIZE_TOTAL,
    IMAGE_STAGE_TOTAL,
    Measure,
    Quota,
    Usage,
)
from blick.ops import quota, staging
from blick.ops.cleanup import CLAIM_MS, remove_bytes
from blick.ops.imports import data, fetch, legacy
from blick.ops.imports.current import CurrentImport
from blick.ops.imports.placing import Placing, StoreRefused
from blick.ops.imports.plugins.plugin import Plugin, PluginInput
from blick.ops.imports.start import moment
from blick.ops.services import Services
from blick.stores.base import HasLocalPath
from blick.stream.hop import hop, to_the_end

_log = logging.getLogger(__name__)

# The steps of a job; those of plugins have the plugin's number behind the colon.
ADMIT: Final = "admit"
FETCH: Final = "fetch"
PLUGINS: Final = "plugins:"
STORES: Final = "stores"

# What ends the import as a failure, with its own words. Anything else has the job tried again.
_REASONS = (
    Invalid, Conflict, Forbidden, LimitExceeded, UnsupportedMediaType, SourceError, StoreError, StoreRefused,
)  # fmt: skip


# Whose bytes their users would have to send again.
_SENT_TO_US = (GLANCE_DIRECT, RESUMABLE_UPLOAD)


async def run(services: Services, job: Job) -> None:
    """Do the job from the step at which it is. Raises Gone if it is somebody else's by now, ServiceUnavailable."""
    current = await CurrentImport.of(services, job)
    placing = Placing(current, STORES)
    try:
        await _steps(current, placing)
        await _succeed(current)
    except _REASONS as error:
        if isinstance(error, SourceUnavailable) and current.work.method in _SENT_TO_US:
            # It is here, and only cannot be read now: not to be lost for that.
            raise ServiceUnavailable(str(error)) from error
        _log.warning(
            "import of image %s failed (job %s, step %s): %s", current.work.image_id, job.id, current.step, error
        )
        await _undo(current, placing, error)
    except Gone as error:
        # Either the job is somebody else's, and nothing of this has an effect; or the image is.
        _log.info("import of image %s ends (job %s, step %s): %s", current.work.image_id, job.id, current.step, error)
        await _undo(current, placing, error)
    else:
        await _clean_up(current)
        _log.info("import of image %s is done", current.work.image_id)


async def cancel(services: Services, job: Job, ending: Ending) -> None:
    """End the job without doing it, and undo what was done; one that had nothing left to do has succeeded.

    Raises Gone, ServiceUnavailable.
    """
    current = await CurrentImport.of(services, job)
    placing = Placing(current, STORES)
    if current.is_settled:
        with contextlib.suppress(Gone):  # the image was deleted before that was said
            await _succeed(current)
            await _clean_up(current)
            return
    await _undo(current, placing, Conflict(ending.message), ending.outcome)


async def _steps(current: CurrentImport, placing: Placing) -> None:
    if current.step == "" and current.work.new_image is not None:
        await legacy.create(current, ADMIT)
    if current.step in ("", ADMIT):
        await _admit(current)
    while not current.is_settled:
        if current.step == FETCH:
            await fetch.fetch(current, _after_fetching(current))
        elif not await fetch.is_there(current):
            # Another node has it, or had; what can be fetched again is.
            await current.advance(FETCH, replace(current.state, source=None))
            continue
        if current.step.startswith(PLUGINS):
            await _run_plugins(current)
        await placing.place()


async def _succeed(current: CurrentImport) -> None:
    copied_bytes = current.state.source.size_bytes * len(current.state.done) if current.state.source else 0
    await current.services.database.write(
        imports.succeed, current.job, current.work, copied_bytes, moment(current.services)
    )


async def _admit(current: CurrentImport) -> None:
    """Begin the work; where the bytes are there already, fetching is over with that."""
    source = await fetch.found(current)
    state = replace(current.state, source=source)
    step = FETCH if source is None else _after_fetching(current)
    limits, added = await _limits(current, source)
    await current.services.database.write(
        imports.admit, current.job, current.work, step, limits, added, moment(current.services), state.json()
    )
    current.step, current.state = step, state


def _after_fetching(current: CurrentImport) -> str:
    return f"{PLUGINS}0" if _has_plugins(current) else STORES


async def _limits(current: CurrentImport, source: SourceData | None) -> tuple[Quota | None, Usage]:
    """The limits that the import has to keep, and what it adds to what the image counts as then (spec: security §4)."""
    services, project_id = current.services, current.context.project_id
    added = {Measure.STORED: source.size_bytes if source is not None else 0}
    if current.work.method == RESUMABLE_UPLOAD:
        return await quota.unified(services, project_id, IMAGE_SIZE_TOTAL, IMAGE_COUNT_UPLOADING), added
    if current.work.method == GLANCE_DIRECT:
        return await quota.unified(services, project_id, IMAGE_SIZE_TOTAL), added
    return await quota.unified(services, project_id, IMAGE_STAGE_TOTAL, IMAGE_COUNT_UPLOADING), {}


async def _run_plugins(current: CurrentImport) -> None:
    """Those that the operator chose, from the one on that was not done yet."""
    plugins = current.plugins
    done = int(current.step.removeprefix(PLUGINS))
    for number, plugin in enumerate(plugins[done:], done):
        last = number + 1 == len(plugins)
        await _run_plugin(current, plugin, STORES if last else f"{PLUGINS}{number + 1}")
    if done >= len(plugins):  # the operator has chosen fewer meanwhile
        await current.advance(STORES, current.state)


def _has_plugins(current: CurrentImport) -> bool:
    """Copies and plain uploads are stored as they are."""
    is_import = current.work.method not in (COPY_IMAGE, RESUMABLE_UPLOAD)
    return is_import and bool(current.plugins)


async def _run_plugin(current: CurrentImport, plugin: Plugin, next_step: str) -> None:
    services, image = current.services, await current.image()
    source = current.state.source
    assert source is not None
    given = PluginInput(
        image=image,
        caller=current.context,
        file=await _local_file(current, source),
        result_file=staging.scratch_file(services, image.id, plugin.name),
    )
    async with current.telling(f"plugin {plugin.name}") as tell:
        result = await plugin.run(services, given, tell)
    if result.has_new_data:
        location = services.staging.scratch_location(given.result_file.name)
        source = SourceData(location, await data.size_of(services, location))
    await current.advance(next_step, replace(current.state, source=source), result.values, result.properties)


async def _local_file(current: CurrentImport, source: SourceData) -> Path:
    """The data as a file of this machine: where it lies, or a copy of it."""
    services = current.services
    store = data.store_of(services, source)
    if isinstance(store, HasLocalPath):
        return store.local_path(source.location)
    path = staging.scratch_file(services, current.work.image_id, "source")
    file = await hop(None, path.open, "wb")
    try:
        async for piece in data.pieces(services, source):
            await hop(None, file.write, piece)
    finally:
        await to_the_end(hop(None, file.close))
    return path


async def _undo(current: CurrentImport, placing: Placing, error: BlickError, outcome: str = jobs.FAILURE) -> None:
    """Leave the image as it was before, or with what is staged for another try; remove what went into stores.

    Raises Gone if the job is somebody else's, ServiceUnavailable: then it is all done again.
    """
    services, work = current.services, current.work
    keeps_staged = await _keeps_staged(current, error)
    undoing = Undoing(
        message=str(error),
        outcome=outcome,
        failed=_failed(current, error),
        places=tuple(ImageLocation(uri, {}) for uri in current.state.done.values()) if _drops(current) else (),
        leftovers=_leftovers(current, placing),
        keeps_staged=keeps_staged,
        stage_host=services.staging.node,
        state=replace(current.state, error=_kind(error)).json(),
    )
    until_ms = services.now_ms() + CLAIM_MS
    entries = await services.database.write(imports.fail, current.job, work, undoing, until_ms, moment(services))
    for entry in entries:
        await remove_bytes(services, entry, current.context)
    await _clean_up(current, keeps_staged=keeps_staged)
    _log.info(
        "import of image %s is undone (job %s)%s",
        work.image_id,
        work.id,
        ": what is staged stays, for another import" if keeps_staged else "",
    )


def _drops(current: CurrentImport) -> bool:
    """What is in some stores stays where not all of them were needed, and the image is active by it."""
    return current.work.all_stores_must_succeed or not current.state.done


def _failed(current: CurrentImport, error: BlickError) -> tuple[str, ...]:
    """The stores that the list of failures names in the end (spec: import-and-tasks §6, §12)."""
    work = current.work
    if isinstance(error, StoreRefused) and work.method in (GLANCE_DIRECT, COPY_IMAGE):
        return (error.store_id, *current.state.failed)
    return tuple(set(work.stores) - (current.state.done.keys() if not _drops(current) else set()))


def _leftovers(current: CurrentImport, placing: Placing) -> tuple[ImageLocation, ...]:
    """What may be in stores that no record names: by this attempt, or by one before that was cut off."""
    doubts = set(placing.in_doubt)
    if current.is_resumed and current.step == STORES:
        doubts |= set(current.work.stores) - current.state.done.keys() - set(current.state.failed)
    return tuple(outbox.leftovers(current.work.image_id, store_id) for store_id in sorted(doubts))


async def _keeps_staged(current: CurrentImport, error: BlickError) -> bool:
    """A store's failure is no fault of the data: it is not to be sent again."""
    if current.work.method != GLANCE_DIRECT or not isinstance(error, StoreRefused):
        return False
    if not current.work.all_stores_must_succeed:
        return False
    try:
        return await staging.find(current.services, current.work.image_id) is not None
    except StoreError:
        return False


def _kind(error: BlickError) -> str:
    return type(error.reason if isinstance(error, StoreRefused) else error).__name__


async def _clean_up(current: CurrentImport, *, keeps_staged: bool = False) -> None:
    """Remove staged data and scratch files; what does not go now goes with the sweep."""
    services, work = current.services, current.work
    if work.method == RESUMABLE_UPLOAD:
        await _remove_source(current)
    elif work.method != COPY_IMAGE and not keeps_staged:
        await staging.discard(services, work.image_id)
    await staging.remove_scratch(services, work.image_id)


async def _remove_source(current: CurrentImport) -> None:
    source = current.state.source
    if source is None:
        return
    try:
        await staging.store_of(current.services, source.location).delete(source.location)
    except DataNotFound:
        return
    except StoreError as error:
        _log.warning("uploaded data of image %s cannot be removed yet: %s", current.work.image_id, error)
