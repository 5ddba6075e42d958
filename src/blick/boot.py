"""Builds everything, in this order: settings → engine → stores → services → application. Knows every room."""

import asyncio
import contextlib
import ctypes
import json
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from blick.conf.log import set_up_logging
from blick.conf.settings import CorsSettings, Settings
from blick.db.engine import Database, open_database
from blick.db.location_check import require_readable
from blick.db.upgrade import Patience, ensure_current
from blick.http.app import CALLER, App
from blick.http.middleware.compression import Compression
from blick.http.server.limits import ProtocolLimits
from blick.identity.base import Identity
from blick.identity.none import NoIdentity
from blick.identity.trusted_headers import TrustedHeaders
from blick.jobs.queue import JobQueue
from blick.jobs.worker import Handler, Worker
from blick.model.errors import ServiceUnavailable, StartRefused
from blick.model.schema import SHIPPED_PROPERTIES, ImageSchema, image_schema
from blick.model.task import LOCATION_IMPORT
from blick.ops import cleanup, location_import
from blick.ops.services import Services, epoch_ms, is_dead, this_process
from blick.policy import limits
from blick.policy.enforcer import Enforcer
from blick.policy.properties import PropertyProtections, load_protections
from blick.stores.registry import open_stores
from blick.stream.hop import hop
from blick.stream.threads import TransferThreads

_log = logging.getLogger(__name__)

# How long cancelled requests may take to clean up behind themselves when the service stops.
LAST_WORDS_S = 10
KEY_CHECK_S = 3600.0
# A database server that is silent for so long in the middle of a statement is not there any more.
ANSWER_WITHIN_S = 60
_M_ARENA_MAX = -8  # from malloc.h
# The old option's 0 means no time-out; a week bounds even that.
_FOREVER_S = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Running:
    """What a process holds while it serves; given back with `aclose`."""

    services: Services
    app: App
    asgi: ASGIApp  # the app, with what the configuration puts around it

    async def aclose(self) -> None:
        """Close stores, threads and connections."""
        await self.app.identity.aclose()
        await self.services.stores.aclose()
        if self.services.limits is not None:
            self.services.limits.close()
        self.services.threads.close()
        self.services.policy.close()
        self.services.database.close()


def prepare(settings: Settings) -> None:
    """What has to be right before any worker starts: reachable database at our revision, usable stores and policies.

    Raises StartRefused with a text for the operator.
    """
    require_safe_listener(settings)
    if settings.quotas.use_keystone_limits:
        limits.require_installed()
    _require_usable_account(settings)
    database = open_database(settings.database)
    try:
        ensure_current(database, Patience(settings.database.max_retries, settings.database.retry_interval_s))
        require_readable(database)
    finally:
        database.close()
    policy = Enforcer(settings.policy)
    _protections(settings, policy)
    policy.close()
    _image_schema(settings)
    open_stores(settings.stores)


def _protections(settings: Settings, policy: Enforcer) -> PropertyProtections | None:
    file = settings.policy.property_protection_file
    if file is None:
        return None
    return load_protections(file, settings.policy.property_protection_rule_format, policy)


def _require_usable_account(settings: Settings) -> None:
    """What Keystone is to be asked with must make sense before any worker starts; nothing is asked yet."""
    if settings.identity.kind == "keystone":
        from blick.identity.keystone.service import KeystoneIdentity

        KeystoneIdentity(settings.identity.keystone_authtoken)


def start(settings: Settings, before: Services | None = None) -> Running:
    """Build the application of one process. Raises StartRefused.

    `before` are the services that a reload replaces: work that goes on with them is this process's still.
    """
    database = open_database(settings.database, ANSWER_WITHIN_S)
    policy = Enforcer(settings.policy)
    services = Services(
        settings=settings,
        database=database,
        stores=open_stores(settings.stores),
        policy=policy,
        protections=_protections(settings, policy),
        image_schema=_image_schema(settings),
        threads=TransferThreads(),
        holder=this_process(),
        running_uploads=set() if before is None else before.running_uploads,
        running_jobs=set() if before is None else before.running_jobs,
        limits=limits.KeystoneLimits(settings.quotas.oslo_limit) if settings.quotas.use_keystone_limits else None,
    )
    identity, mounts = _identity(settings, database)
    app = App(services, identity, mounts)
    return Running(services, app, _with_cors(Compression(app) if settings.api.gzip else app, settings.cors))


def _with_cors(app: ASGIApp, cors: CorsSettings) -> ASGIApp:
    """Let pages of the allowed origins call the API; without any, browsers keep to the same origin."""
    if not cors.allowed_origin:
        return app
    return CORSMiddleware(
        app,
        allow_origins=cors.allowed_origin,
        allow_methods=cors.allow_methods,
        allow_headers=cors.allow_headers,
        allow_credentials=cors.allow_credentials,
        expose_headers=cors.expose_headers,
        max_age=cors.max_age_s,
    )


def _identity(settings: Settings, database: Database) -> tuple[Identity, Mapping[str, ASGIApp]]:
    """Who vouches for callers, and the applications that come with it. One line per kind."""
    match settings.identity.kind:
        case "none":
            return NoIdentity(), {}
        case "trusted-headers":
            return TrustedHeaders(settings.identity.trusted_proxies), {}
        case "standalone":
            # Loads password hashing and cryptography, which only this kind needs.
            from blick.identity.embedded.routes import identity_app
            from blick.identity.embedded.service import EmbeddedIdentity

            identity = EmbeddedIdentity(database, token_ttl_s=settings.identity.token_ttl_s)
            return identity, {"/identity": identity_app(identity, public_endpoint=settings.api.public_endpoint)}
        case "keystone":
            # Loads keystoneauth and an HTTP client, which only this kind needs.
            from blick.identity.keystone.service import KeystoneIdentity

            return KeystoneIdentity(settings.identity.keystone_authtoken), {}


def first_start(settings: Settings, data_dir: Path, url: str) -> None:
    """Give a new standalone service its first users, and tell clients where it is: `clouds.yaml`, `openrc`."""
    from blick.identity.embedded.bootstrap import FirstUsers, bootstrap
    from blick.identity.embedded.client_files import write_client_files

    def publish(users: FirstUsers | None) -> None:
        write_client_files(data_dir, f"{url}/identity/v3", users)

    database = open_database(settings.database)
    try:
        users = bootstrap(database, token_ttl_s=settings.identity.token_ttl_s, now_ms=epoch_ms(), publish=publish)
        if users is None:
            publish(None)
    except OSError as error:
        raise StartRefused(f"The data folder {data_dir} cannot be written: {error.strerror}.") from error
    finally:
        database.close()


def _image_schema(settings: Settings) -> ImageSchema:
    declaration: Mapping[str, Any] = SHIPPED_PROPERTIES
    file = settings.api.schema_image_file
    if file is not None and file.exists():
        try:
            declaration = json.loads(file.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise StartRefused(f"{file}: {error}") from error
    formats = settings.image_format
    return image_schema(formats.disk_formats, formats.container_formats, declaration)


def require_safe_listener(settings: Settings) -> None:
    """What an identity cannot protect beyond this machine stays on it, unless someone insists. Raises StartRefused."""
    server, identity = settings.server, settings.identity
    if is_loopback(server.bind_host):
        return
    host = server.bind_host
    match identity.kind:
        case "standalone" if server.cert_file is None and not server.insecure:
            raise StartRefused(
                f"Refusing to listen on {host} without TLS: passwords and tokens would travel in the clear. "
                "Give --cert-file and --key-file, or insist with --insecure."
            )
        case "none" if not server.insecure:
            raise StartRefused(
                f"Refusing to listen on {host} with no identity: whoever reaches it would be an administrator. "
                "Choose an identity with [paste_deploy] flavor, listen on 127.0.0.1, or insist with --insecure."
            )
        case "none":
            _log.warning("listening on %s with no identity: whoever reaches this address is an administrator", host)
        case "trusted-headers" if not identity.trusted_proxies:
            raise StartRefused(
                f"Refusing to listen on {host} with trusted headers: anybody could write them. Name the addresses of "
                "the authenticating proxy with [blick] trusted_proxies, or listen on 127.0.0.1."
            )


def protocol_limits(settings: Settings) -> ProtocolLimits:
    """What a client may cost, as the options say."""
    server = settings.server
    usual = ProtocolLimits()
    return replace(
        usual,
        header_line_bytes=server.max_header_line,
        head_bytes=max(usual.head_bytes, 2 * server.max_header_line),
        keep_alive_s=usual.keep_alive_s if server.http_keepalive else 0,
        body_idle_s=server.client_socket_timeout_s or _FOREVER_S,
        stall_s=server.client_socket_timeout_s or _FOREVER_S,
    )


def is_loopback(host: str) -> bool:
    """Can only this machine reach that address?"""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


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
        self._tasks: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, or the life cycle's two messages."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http" and self._serving is not None:
            await self._serving.answer(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        _hold_one_heap()
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
        # Requests that the server has cancelled are still giving back what they held.
        await self._serving.end(LAST_WORDS_S)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LAST_WORDS_S)
        await send({"type": "lifespan.shutdown.complete"})

    def _do(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = asyncio.get_running_loop().create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload(self) -> None:
        """Serve with the settings of now; what is under way ends with those that it began with."""
        assert self._reread is not None
        assert self._serving is not None
        async with self._reloading:
            try:
                settings = await hop(None, self._reread)
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
        self._housekeeping = _housekeeping(running.services)

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
        for task in self._housekeeping:
            task.cancel()
        for task in self._housekeeping:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await self.running.aclose()


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
    queue = JobQueue(
        database=services.database,
        holder=services.holder,
        is_dead=is_dead,
        now_ms=services.now_ms,
        new_token=services.new_token,
        held=services.running_jobs,
    )
    handlers: dict[str, Handler] = {LOCATION_IMPORT: partial(location_import.run, services)}
    return Worker(queue, handlers, services.settings.imports.max_workers, services.jobs_wanted)


def _housekeeping(services: Services) -> list[asyncio.Task[None]]:
    """Jobs, leases, left-overs, deletions and keys: tasks that run until they are cancelled."""
    tasks = [
        asyncio.create_task(job_worker(services).run(), name="jobs"),
        asyncio.create_task(cleanup.renew_forever(services), name="leases"),
        asyncio.create_task(cleanup.run_forever(services), name="housekeeping"),
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


def _hold_one_heap() -> None:
    """Let all threads share one heap of the C library.

    By default each thread may get one of its own, and what a transfer freed stays there: 8 MiB a worker after a few
    uploads. Threads here hash, copy and wait; they hardly allocate.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:  # glibc; other libraries have one heap anyway
        set_option(_M_ARENA_MAX, 1)
