"""What a trusted proxy says of the request that it passes on (RFC 7239, and the X-Forwarded headers before it).

Only with [oslo_middleware] enable_proxy_headers_parsing: these headers are anybody's to write.
"""

from starlette.types import Scope

_SCHEMES = frozenset({"http", "https"})


def as_client_saw_it(scope: Scope) -> Scope:
    """The scope with the scheme, host and path prefix that the client used; unchanged where no proxy speaks."""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    said = _forwarded(headers.get("forwarded", ""))
    scheme = said.get("proto") or _first(headers.get("x-forwarded-proto", ""))
    host = said.get("host") or _first(headers.get("x-forwarded-host", ""))
    prefix = _first(headers.get("x-forwarded-prefix", "")).rstrip("/")
    seen = dict(scope)
    if scheme.lower() in _SCHEMES:
        seen["scheme"] = scheme.lower()
    if host:
        others = [(name, value) for name, value in scope["headers"] if name != b"host"]
        seen["headers"] = [*others, (b"host", host.encode("latin-1"))]
    if prefix.startswith("/"):
        seen["root_path"] = prefix
    return seen


def _first(value: str) -> str:
    """Of a chain of proxies the one nearest to the client."""
    return value.partition(",")[0].strip()


def _forwarded(value: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in _first(value).split(";")]
    return {name.strip().lower(): text.strip().strip('"') for name, _, text in pairs}
