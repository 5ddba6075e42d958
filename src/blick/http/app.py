"""From the socket's side inwards: what every request passes, in this order, before a handler sees it.

    request id → CORS → /healthcheck → mounted applications (identity) → version → who calls → route → handler

and outwards: every error becomes an answer here, and only here (spec: images-api §1).
"""

import logging
import re
import uuid
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import replace
from functools import partial
from importlib.metadata import version as package_version
from urllib.parse import unquote_to_bytes

import msgspec
from starlette.responses import Response
from starlette.routing import Match
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from blick.http import errors, tus
from blick.http.forwarded import as_client_saw_it
from blick.http.health import Health
from blick.http.openapi import openapi_document
from blick.http.request import Request, base_url
from blick.http.responses import json_response
from blick.http.route import Call, Route
from blick.http.routes import ROUTES
from blick.http.versions import Versions
from blick.identity.base import Identity, IdentityRequest
from blick.model.context import RequestContext
from blick.model.errors import (
    BlickError,
    BodyIncomplete,
    HeaderTooLong,
    Invalid,
    NotFound,
    PeerRefused,
    Unauthenticated,
)
from blick.ops.services import Services

_log = logging.getLogger(__name__)

# Who is calling, for the log lines of whatever runs on behalf of the request. Nothing decides by it.
CALLER: ContextVar[RequestContext | None] = ContextVar("caller", default=None)

_REQUEST_ID = b"x-openstack-request-id"
_VERBS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"})
_NO_RESOURCE = "The resource could not be found."
_SLASHES = re.compile(r"/{2,}")


class App:
    """The ASGI application of the Images API. `mounts` are applications of their own, by path prefix."""

    def __init__(self, services: Services, identity: Identity, mounts: Mapping[str, ASGIApp]) -> None:
        self._services = services
        self.identity = identity
        self._mounts = mounts
        settings = services.settings
        self._versions = Versions(settings.api.image_cache_dir is not None, settings.stores.multi_store)
        self._health = Health(settings.health, settings.server.bind_port, lambda: services.stores.trouble)
        self._routes = [(StarletteRoute(route.path, _never), route) for route in ROUTES]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One HTTP request. (The server's life cycle belongs to `boot`.)"""
        if self._services.settings.api.enable_proxy_headers_parsing:
            scope = as_client_saw_it(scope)
        speaks_tus = tus.is_upload(scope["path"])
        if speaks_tus:
            scope = tus.as_meant(scope)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        accept = headers.get("accept", "")
        tail = _Tail(send, partial(tus.every_answer, settings=self._services.settings) if speaks_tus else _nothing)
        try:
            response = await self._respond(scope, receive, tail, headers)
        except BlickError as error:
            if tail.started:
                raise
            response = self._error_response(error, scope, accept)
        except Exception:
            _log.exception("%s %s failed", scope["method"], scope["path"])
            if tail.started:
                raise
            response = errors.internal(accept)
        if response is not None:
            await response(scope, receive, tail)

    def _error_response(self, error: BlickError, scope: Scope, accept: str) -> Response:
        response = errors.from_error(error, accept)
        if isinstance(error, Unauthenticated):
            response.headers["www-authenticate"] = self.identity.challenge(self._base_url(scope))
        if response.status_code >= 500:
            _log.error("answered %d: %s", response.status_code, error)
        return response

    async def _respond(
        self, scope: Scope, receive: Receive, tail: "_Tail", headers: Mapping[str, str]
    ) -> Response | None:
        path = scope["path"]
        if scope["method"] == "OPTIONS":
            return Response(headers=tus.options(self._services.settings) if tus.is_upload(path) else None)
        if path == "/healthcheck" or path.startswith("/healthcheck/"):
            answer = self._health.answer(scope, headers.get("accept", ""))
            if answer is None:
                raise NotFound(_NO_RESOURCE)
            return answer
        if path == "/openapi.json":
            return self._openapi(scope)
        for prefix, app in self._mounts.items():
            if path == prefix or path.startswith(f"{prefix}/"):
                await app(scope, receive, tail)
                return None
        path = _SLASHES.sub("/", _readable(scope))
        if path == "/versions" or path.startswith("/versions/"):
            return self._version_document(scope, 200)
        rest = self._versions.rest_of(path, headers.get("accept", ""))
        if rest is None or path == "/":
            return self._version_document(scope, 300)
        if path != scope["path"]:
            scope = {**scope, "path": path}
        return await self._call(scope, receive, tail, headers, rest)

    async def _call(
        self, scope: Scope, receive: Receive, tail: "_Tail", headers: Mapping[str, str], rest: str
    ) -> Response:
        services = self._services
        request_id = _request_id(headers, services.settings.api.max_request_id_length)
        services.policy.refresh()
        context = await self._caller(scope, request_id)
        tail.request_id = context.request_id
        CALLER.set(context)
        if self._versions.accepts(scope["path"][1:]):
            return Response(
                status_code=302,
                headers={"location": f"{self._base_url(scope)}/v2/", "content-type": "text/plain; charset=utf8"},
            )
        matched = self._find(scope, rest)
        if isinstance(matched, Response):
            return matched
        call, path_params = matched
        inner = {**scope, "path": rest, "path_params": path_params}
        request = Request(inner, receive, tail, services, context)
        if not call.takes_body and request.has_body:
            raise Invalid("A body is not expected with this request.")
        try:
            return await call.handler(request)
        except BodyIncomplete as error:
            _log.info("%s %s: %s", scope["method"], scope["path"], error)
            raise

    async def _caller(self, scope: Scope, request_id: str) -> RequestContext:
        try:
            context = await self.identity.authenticate(_identity_request(scope, request_id))
        except Unauthenticated as error:
            if isinstance(error, PeerRefused) or not self._services.settings.api.allow_anonymous_access:
                raise
            return RequestContext(request_id, read_only=True)
        return replace(context, is_admin=context.is_admin or await self._services.policy.is_admin(context))

    def _find(self, scope: Scope, rest: str) -> tuple[Call, Mapping[str, str]] | Response:
        method = scope["method"]
        accept = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"accept"), "")
        probe = {"type": "http", "path": rest, "method": "GET", "root_path": ""}
        for matcher, route in self._routes:
            match, child = matcher.matches(probe)
            if match is not Match.NONE:
                call = route.calls.get(method)
                if call is None and route.is_known_to_others:
                    return _not_allowed(method, route, accept)
                if call is None:
                    break
                return call, child["path_params"]
        if method not in _VERBS:
            return errors.answer(501, "The server does not know this method.", accept)
        raise NotFound(_NO_RESOURCE)

    def _base_url(self, scope: Scope) -> str:
        return (self._services.settings.api.public_endpoint or base_url(scope)).rstrip("/")

    def _version_document(self, scope: Scope, status: int) -> Response:
        document = self._versions.document(self._base_url(scope))
        return Response(msgspec.json.encode(document), status, media_type="application/json")

    def _openapi(self, scope: Scope) -> Response:
        if scope["method"] not in ("GET", "HEAD"):
            return errors.answer(405, "", "", {"allow": "GET, HEAD"}, generic="This document can only be read.")
        document = openapi_document(
            self._services.image_schema,
            self._base_url(scope),
            package_version("blick"),
            asks_for_tokens=self._services.settings.identity.kind != "none",
        )
        return json_response(document)


class _Tail:
    """The way out: knows whether an answer has begun, adds the request's id, and what `also` has for its status."""

    def __init__(self, send: Send, also: Callable[[int], list[tuple[bytes, bytes]]]) -> None:
        self._send = send
        self._also = also
        self.started = False
        self.request_id: str | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            added = self._also(message["status"])
            headers = list(message.get("headers", ()))
            # An answer that is another node's has its own.
            if self.request_id is not None and not any(name == _REQUEST_ID for name, _ in headers):
                added.append((_REQUEST_ID, self.request_id.encode("latin-1")))
            message = {**message, "headers": [*headers, *added]}
        await self._send(message)


def _nothing(_status: int) -> list[tuple[bytes, bytes]]:
    return []


def _not_allowed(method: str, route: Route, accept: str) -> Response:
    generic = f"The method {method} is not allowed for this resource."
    return errors.answer(405, "", accept, {"allow": ", ".join(route.calls)}, generic=generic)


def _identity_request(scope: Scope, request_id: str) -> IdentityRequest:
    client = scope.get("client")
    return IdentityRequest(
        headers=scope["headers"],
        method=scope["method"],
        path=scope["path"],
        peer=client[0] if client else None,
        request_id=request_id,
    )


def _request_id(headers: Mapping[str, str], longest: int) -> str:
    given = headers.get("x-openstack-request-id", "")
    if not given:
        return f"req-{uuid.uuid4()}"
    if longest and len(given) > longest:
        raise HeaderTooLong(f"Request ID length must not exceed {longest} characters.")
    return given if given.startswith("req-") else f"req-{given}"


def _readable(scope: Scope) -> str:
    """The path, percent-decoded. Raises Invalid where it is no text: servers differ in what they make of that."""
    path: str = scope["path"]
    if not path.isascii():
        raw = scope.get("raw_path") or path.encode("utf-8", "surrogateescape")
        try:
            unquote_to_bytes(raw).decode("utf-8")
        except UnicodeDecodeError as error:
            raise Invalid("The path is not valid UTF-8.") from error
    if "\x00" in path:
        raise Invalid("The path contains the character NUL.")
    return path


async def _never(_request: object) -> Response:
    raise AssertionError("routes are matched here, not called")
