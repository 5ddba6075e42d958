"""The life of one worker process: the application that the server runs, its housekeeping, its reloads and its end."""

import asyncio
import contextlib
import ctypes
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from starlette.types import Receive, Scope, Send

from blick.boot import Running, start
from blick.conf.log import set_up_logging
from blick.conf.settings import Settings
from blick.http.app import CALLER
from blick.jobs.kinds import JobKind
from blick.jobs.queue import JobQueue, Shares
from blick.jobs.worker import Worker
from blick.model.errors import ServiceUnavailable, StartRefused
from blick.model.import_job import IMAGE_IMPORT, IMAGE_UPLOAD
from blick.model.task import LOCATION_IMPORT
from blick.ops import cleanup, location_import, staging_sweep, stores
from blick.ops.imports import run as imports
from blick.ops.resumable_uploads import housekeeping as resumable_uploads
from blick.ops.services import Services, is_dead
from blick.stream.hop import hop

_log = logging.getLogger(__name__)

# How long cancelled requests may take to clean up behind themselves when the service stops.
LAST_WORDS_S = 10
KEY_CHECK_S = 3600.0
# One place in so many is not for projects that use more than their share already.
_PLACES_TO_ONE_KEPT = 8
_M_ARENA_MAX = -8  # from malloc.h


class WorkerApp:
    """The ASGI application that the server runs: life cycle here, requests in `App`. One per worker process.

    Picklable before it runs, because worker processes are spawned. `reread` gives the settings as they are now, for a
    process that reloads itself on SIGHUP; None where others decide about its life.
    """

    def __init__(self, settings: Settings, reread: Callable[[], Settings] | None = None) -> None:
        self._settings = settings
        self._reread = reread
        self._serving: _Serving | None = None
        self._reloading = asyncio.Lock()
        self._stopping = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the life cycle's two messages."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http" and self._serving is not None:
            await self._serving.answer(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        hold_one_heap()
        set_up_logging(self._settings.log, current_context=CALLER.get)
        _end_with_parent()
        try:
            self._serving = _Serving(start(self._settings))
        except StartRefused as error:
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        if self._reread is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._do, self._reload)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._stopping = True
        # Requests that the server has cancelled are still giving back what they held.
        await self._serving.end(LAST_WORDS_S)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LAST_WORDS_S)
        await send({"type": "lifespan.shutdown.complete"})

    def _do(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = asyncio.get_running_loop().create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("reloading failed; what serves goes on serving", exc_info=error)

    async def _reload(self) -> None:
        """Serve with the settings of now; what is under way ends with those that it began with."""
        assert self._reread is not None
        assert self._serving is not None
        async with self._reloading:
            try:
                settings = await hop(None, self._reread)
                if self._stopping:
                    return
                running = start(settings, self._serving.running.services)
            except StartRefused as error:
                _log.error("not reloaded: %s", error)
                return
            set_up_logging(settings.log, current_context=CALLER.get)
            before, self._serving = self._serving, _Serving(running)
            self._do(before.end)
        _log.info("reloaded; address, certificate and connection limits change with a restart only")


class _Serving:
    """A running application with its requests and its housekeeping, from now until `end`."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self._requests: set[asyncio.Task[Any]] = set()
        self._background = Background(running.services, does_jobs=running.services.settings.jobs.in_api)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request."""
        task = asyncio.current_task()
        assert task is not None
        self._requests.add(task)
        try:
            await self.running.asgi(scope, receive, send)
        finally:
            self._requests.discard(task)

    async def end(self, patience_s: float | None = None) -> None:
        """Wait for the requests, at most so long; then end the housekeeping and give back everything."""
        if self._requests:
            await asyncio.wait(self._requests, timeout=patience_s)
        await self._background.end()
        await self.running.aclose()


class Background:
    """The jobs and the housekeeping of one process, from now until `end`."""

    def __init__(self, services: Services, *, does_jobs: bool) -> None:
        self._tasks = _housekeeping(services)
        if does_jobs:
            self._tasks.append(asyncio.create_task(job_worker(services).run(), name="jobs"))

    async def end(self) -> None:
        """Give back the jobs that are under way, and stop."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task


def _end_with_parent() -> None:
    """A worker whose supervisor was killed ends at once: whoever starts the service anew needs the port.

    Nothing needs to be put in order first: the successor does that, as after any crash.
    """
    parent = multiprocessing.parent_process()
    if parent is not None:
        loop = asyncio.get_running_loop()
        loop.add_reader(parent.sentinel, os.kill, os.getpid(), signal.SIGKILL)


def job_worker(services: Services) -> Worker:
    """Does the jobs of every kind that there is."""
    wanted, places = services.settings.jobs, services.settings.imports.max_workers
    queue = JobQueue(
        database=services.database,
        holder=services.holder,
        is_dead=is_dead,
        now_ms=services.now_ms,
        new_token=services.new_token,
        held=services.running_jobs,
        node=services.settings.imports.node_url,
        shares=Shares(per_project=wanted.per_project, by_kind=wanted.limits, kept=places // _PLACES_TO_ONE_KEPT),
    )
    importing = JobKind(run=partial(imports.run, services), cancel=partial(imports.cancel, services))
    kinds: dict[str, JobKind] = {
        IMAGE_IMPORT: importing,
        IMAGE_UPLOAD: importing,
        LOCATION_IMPORT: JobKind(
            run=partial(location_import.run, services), cancel=partial(location_import.cancel, services)
        ),
    }
    return Worker(queue, kinds, places, services.jobs_wanted)


def _housekeeping(services: Services) -> list[asyncio.Task[None]]:
    """Leases, left-overs, deletions, staged data, stores and keys: tasks that run until they are cancelled."""
    tasks = [
        asyncio.create_task(cleanup.renew_forever(services), name="leases"),
        asyncio.create_task(cleanup.run_forever(services), name="housekeeping"),
        asyncio.create_task(cleanup.delete_forever(services), name="deletions"),
        asyncio.create_task(staging_sweep.run_forever(services), name="staged data"),
        asyncio.create_task(resumable_uploads.run_forever(services), name="resumable uploads"),
        asyncio.create_task(stores.look_after_forever(services), name="stores"),
    ]
    if services.settings.identity.kind == "standalone":
        tasks.append(asyncio.create_task(_renew_signing_keys(services), name="signing keys"))
    return tasks


async def _renew_signing_keys(services: Services) -> None:
    """A service that runs for months gets new keys as well; until cancelled."""
    from blick.identity.embedded.bootstrap import renew_signing_key

    token_ttl_s = services.settings.identity.token_ttl_s
    while True:
        await asyncio.sleep(KEY_CHECK_S)
        try:
            await hop(None, renew_signing_key, services.database, token_ttl_s=token_ttl_s, now_ms=services.now_ms())
        except ServiceUnavailable as error:
            _log.warning("the keys that sign tokens will be looked at again: %s", error)


def hold_one_heap() -> None:
    """Let all threads share one heap of the C library.

    By default each thread may get one of its own, and what a transfer freed stays there: 8 MiB a worker after a few
    uploads. Threads here hash, copy and wait; they hardly allocate.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:  # glibc; other libraries have one heap anyway
        set_option(_M_ARENA_MAX, 1)
