"""Builds everything, in this order: settings → engine → stores → services → application. Knows every room."""

import json
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from blick.conf.settings import CorsSettings, Settings
from blick.db.engine import Database, open_database
from blick.db.location_check import require_readable
from blick.db.upgrade import Patience, ensure_current, is_current
from blick.http import tus
from blick.http.app import App
from blick.http.middleware.compression import Compression
from blick.http.server.limits import ProtocolLimits
from blick.identity.base import Identity
from blick.identity.none import NoIdentity
from blick.identity.trusted_headers import TrustedHeaders
from blick.jobs.sealing import Sealer
from blick.model.errors import StartRefused
from blick.model.schema import SHIPPED_PROPERTIES, ImageSchema, image_schema
from blick.ops.imports.plugins.registry import plugins_of
from blick.ops.metadefs import files as metadef_files
from blick.ops.services import Services, epoch_ms, this_process, utc_now
from blick.ops.uploads_here import UploadsHere
from blick.policy import limits
from blick.policy.enforcer import Enforcer
from blick.policy.properties import PropertyProtections, load_protections
from blick.stores.registry import open_stores
from blick.stores.staging import Staging, staging_settings
from blick.stream.fetch import Fetcher, FetchOptions
from blick.stream.hop import hop, to_the_end
from blick.stream.threads import TransferThreads

_log = logging.getLogger(__name__)

# A database server that is silent for so long in the middle of a statement is not there any more.
ANSWER_WITHIN_S = 60
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
        await _close(self.services)


async def _close(services: Services) -> None:
    await services.fetcher.aclose()
    services.nodes.close()
    services.relay.close()
    await services.staging.aclose()
    await services.stores.aclose()
    if services.limits is not None:
        services.limits.close()
    services.threads.close()
    services.policy.close()
    services.database.close()


def prepare(settings: Settings) -> None:
    """What has to be right before any worker starts: reachable database at our revision, usable stores, policies and
    import plugins.

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
    plugins_of(settings)
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
    services = _services(settings, open_database(settings.database, ANSWER_WITHIN_S), before)
    identity, mounts = _identity(settings, services.database)
    app = App(services, identity, mounts)
    return Running(services, app, _with_cors(Compression(app) if settings.api.gzip else app, settings.cors))


@asynccontextmanager
async def services_of(settings: Settings) -> AsyncIterator[Services]:
    """What a command needs to work beside a service, or without one; closed afterwards.

    Raises StartRefused, also where the database is not at our revision: a command does not change that.
    """
    database = open_database(settings.database, ANSWER_WITHIN_S)
    try:
        if not await hop(None, is_current, database):
            raise StartRefused("The database is not at this release's revision. Start the service, or `blick db sync`.")
        await hop(None, require_readable, database)
        services = _services(settings, database)
    except BaseException:
        database.close()
        raise
    try:
        yield services
    finally:
        await to_the_end(_close(services))


def _services(settings: Settings, database: Database, before: Services | None = None) -> Services:
    policy = Enforcer(settings.policy)
    stores = open_stores(settings.stores)
    return Services(
        settings=settings,
        database=database,
        stores=stores,
        staging=Staging(staging_settings(settings.imports), stores),
        fetcher=_fetcher(settings),
        sealer=Sealer(settings),
        policy=policy,
        protections=_protections(settings, policy),
        image_schema=_image_schema(settings),
        threads=TransferThreads(),
        holder=this_process(),
        running_uploads=set() if before is None else before.running_uploads,
        running_jobs=set() if before is None else before.running_jobs,
        uploads_here=UploadsHere() if before is None else before.uploads_here,
        limits=limits.KeystoneLimits(settings.quotas.oslo_limit) if settings.quotas.use_keystone_limits else None,
    )


def _fetcher(settings: Settings) -> Fetcher:
    """What reads from addresses that users name; able to serve all jobs of this process at once."""
    fetch = settings.fetch
    options = FetchOptions(
        ca_file=str(fetch.ca_file) if fetch.ca_file is not None else None,
        verify=not fetch.insecure,
        proxies=fetch.proxies,
    )
    return Fetcher(settings.imports.uri_filter, options, threads=2 * settings.imports.max_workers)


def _with_cors(app: ASGIApp, cors: CorsSettings) -> ASGIApp:
    """Let pages of the allowed origins call the API; without any, browsers keep to the same origin.

    What resumable uploads need is allowed beside what the operator named.
    """
    if not cors.allowed_origin:
        return app
    methods = (*cors.allow_methods, *({"HEAD", "PATCH", "DELETE"} - set(cors.allow_methods)))
    return CORSMiddleware(
        app,
        allow_origins=cors.allowed_origin,
        allow_methods=methods,
        allow_headers=(*cors.allow_headers, *tus.SENT),
        allow_credentials=cors.allow_credentials,
        expose_headers=(*cors.expose_headers, *tus.SHOWN),
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
    """Give a new standalone service its first users, and what metadata definitions come with Blick.

    Clients are told where it is: `clouds.yaml`, `openrc`.
    Who removes the definitions later finds none after the next start, either.
    """
    from blick.identity.embedded.bootstrap import FirstUsers, bootstrap, has_users
    from blick.identity.embedded.client_files import write_client_files

    def publish(users: FirstUsers | None) -> None:
        write_client_files(data_dir, f"{url}/identity/v3", users)

    database = open_database(settings.database)
    try:
        if not has_users(database):
            metadef_files.load_shipped(database, utc_now)
        users = bootstrap(database, token_ttl_s=settings.identity.token_ttl_s, now_ms=epoch_ms(), publish=publish)
        if users is None:
            publish(None)
    except OSError as error:
        raise StartRefused(f"The data folder {data_dir} cannot be written: {error.strerror}.") from error
    finally:
        database.close()


def ready_identity(settings: Settings) -> None:
    """For a service with a configuration file: what its own identity needs before anybody can be let in, if it has one.

    Says how to make the first user where there is none. Raises ServiceUnavailable.
    """
    if settings.identity.kind != "standalone":
        return
    from blick.identity.embedded.bootstrap import make_ready

    database = open_database(settings.database)
    try:
        if not make_ready(database, token_ttl_s=settings.identity.token_ttl_s, now_ms=epoch_ms()):
            _log.warning(
                "nobody can log in yet: `blick project create`, then `blick user create NAME --project PROJECT "
                "--role admin`, each with --config-file"
            )
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
