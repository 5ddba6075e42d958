"""One request, as the handlers see it: who calls, what is asked, and the body on demand."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from starlette.types import Receive, Scope, Send

from blick.model.context import RequestContext
from blick.model.errors import BodyIncomplete, Invalid, LimitExceeded
from blick.ops.services import Services
from blick.stream.body import RequestBody, request_body

MAX_JSON_DEPTH = 64


class Request:
    """Made by the app for each request, after the caller is known. Not shared between tasks."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, services: Services, context: RequestContext) -> None:
        self.scope = scope
        self.receive = receive
        self.send = send
        self.services = services
        self.context = context

    @property
    def path_params(self) -> Mapping[str, str]:
        """What the route's placeholders stand for, percent-decoded."""
        params: Mapping[str, str] = self.scope["path_params"]
        return params

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """Header values by lower-case name; of a repeated header the last."""
        return {name.decode("latin-1"): value.decode("latin-1") for name, value in self.scope["headers"]}

    @cached_property
    def query(self) -> tuple[tuple[str, str], ...]:
        """Query parameters in order, decoded, repeats kept. Raises Invalid where they are not UTF-8."""
        pairs = []
        for part in self.scope["query_string"].split(b"&"):
            if part:
                name, _, value = part.replace(b"+", b" ").partition(b"=")
                pairs.append((_text(name), _text(value)))
        return tuple(pairs)

    @property
    def has_body(self) -> bool:
        """Does the client announce a body (spec: images-api §1.4)?"""
        if self.headers.get("content-length", "0").strip() not in ("", "0"):
            return True
        return self.scope["method"] in ("POST", "PUT", "PATCH") and "transfer-encoding" in self.headers

    @property
    def base_url(self) -> str:
        """Scheme and host as the client named them, without a trailing slash."""
        return base_url(self.scope)

    @property
    def body(self) -> RequestBody:
        """The body's bytes, to be read once: straight from the socket where the server can hand it over."""
        return request_body(self.scope, self.receive)

    async def json(self, most_bytes: int | None = None) -> Any:
        """The body as JSON: an object or an array. Raises Invalid, or LimitExceeded over the size limit.

        `most_bytes` is for bodies that are kept as they came: a limit below that of all.
        """
        limit_bytes = self.services.settings.api.json_body_max_bytes
        raw = await self._read_all(limit_bytes if most_bytes is None else min(most_bytes, limit_bytes))
        if not raw:
            raise Invalid("The request has no body, but it needs one.")
        _check_depth(raw)
        try:
            # Duplicate keys: the last one counts, as everywhere in the field.
            document = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Invalid(f"Malformed JSON in request body: {error}") from error
        if not isinstance(document, dict | list):
            raise Invalid("The request body must be a JSON object or array.")
        return document

    async def _read_all(self, limit_bytes: int) -> bytes:
        parts: list[bytes] = []
        count = 0
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise BodyIncomplete("The request body broke off.")
            part = message.get("body", b"")
            count += len(part)
            if count > limit_bytes:
                raise LimitExceeded(f"The request body is larger than {limit_bytes} bytes.")
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)


def base_url(scope: Scope) -> str:
    """Scheme, host and path prefix of a request, as links name them: the scheme's own port is left out."""
    scheme = str(scope.get("scheme", "http"))
    host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
    if not host:
        name, port = scope.get("server") or ("localhost", None)
        host = f"{name}:{port}" if port else str(name)
    usual = {"http": ":80", "https": ":443"}.get(scheme, ":")
    return f"{scheme}://{host.removesuffix(usual)}{scope.get('root_path', '')}"


def _text(raw: bytes) -> str:
    try:
        return unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError as error:
        raise Invalid("The query string is not valid UTF-8.") from error


def _check_depth(raw: bytes) -> None:
    """Refuse what is nested too deeply, before any parser recurses into it. Brackets in strings count for nothing."""
    if raw.count(b"[") + raw.count(b"{") <= MAX_JSON_DEPTH:
        return
    depth = 0
    in_string = escaped = False
    for byte in raw:
        if in_string:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_string = False
        elif byte == 0x22:
            in_string = True
        elif byte in b"[{":
            depth += 1
            if depth > MAX_JSON_DEPTH:
                raise Invalid(f"The request body is nested more than {MAX_JSON_DEPTH} levels deep.")
        elif byte in b"]}":
            depth -= 1
