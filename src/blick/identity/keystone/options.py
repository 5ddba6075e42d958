"""The options of [keystone_authtoken], checked against each other (spec: config)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from blick.model.errors import StartRefused

Strategy = Literal["None", "MAC", "ENCRYPT"]
_STRATEGIES: Mapping[str, Strategy] = {"NONE": "None", "MAC": "MAC", "ENCRYPT": "ENCRYPT"}

# Without a bound of the operator's, a silent Keystone would keep a request for ever.
_REQUEST_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class KeystoneOptions:
    """Where Keystone is, who we are to it, and how its answers are used."""

    auth_type: str
    auth: Mapping[str, Any] = field(repr=False)  # what the plugin of that type may ask for, by option name
    challenge_uri: str = ""
    interface: str = "internal"
    region_name: str | None = None
    verify: bool | str = True  # a CA bundle's path, or whether certificates are checked at all
    certificate: str | tuple[str, str] | None = None
    request_timeout_s: float = _REQUEST_TIMEOUT_S
    connect_retries: int = 3
    include_service_catalog: bool = True
    service_token_roles: frozenset[str] = frozenset({"service"})
    service_token_roles_required: bool = True
    service_type: str | None = None
    token_cache_s: int = 300  # 0: none


@dataclass(frozen=True, slots=True)
class MemcachedOptions:
    """Where tokens that were found good are remembered for other processes, and how they are kept safe there."""

    servers: tuple[str, ...]
    strategy: Strategy = "None"
    secret: str = field(default="", repr=False)
    connections: int = 10  # to each server
    socket_timeout_s: float = 3
    connection_wait_s: float = 10
    idle_s: float = 60
    dead_retry_s: float = 300
    tls: "MemcachedTls | None" = None


@dataclass(frozen=True, slots=True)
class MemcachedTls:
    """TLS to memcached; paths of PEM files."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    ciphers: str | None = None


def keystone_options(values: Mapping[str, Any]) -> KeystoneOptions:
    """From the options that have a value, by name. Raises StartRefused where Keystone could never be asked."""
    auth_type = values.get("auth_type")
    if not auth_type:
        raise StartRefused("[keystone_authtoken] auth_type is not set; Blick needs an account to ask Keystone with.")
    usual = KeystoneOptions("", {})
    return KeystoneOptions(
        auth_type=auth_type,
        auth=values,
        challenge_uri=(values.get("www_authenticate_uri") or values.get("auth_url") or "").rstrip("/"),
        interface=values.get("interface") or usual.interface,
        region_name=values.get("region_name"),
        verify=not values.get("insecure") and (values.get("cafile") or True),
        certificate=_certificate(values),
        request_timeout_s=values.get("http_connect_timeout") or values.get("timeout") or usual.request_timeout_s,
        connect_retries=max(0, values.get("http_request_max_retries", usual.connect_retries)),
        include_service_catalog=values.get("include_service_catalog", usual.include_service_catalog),
        service_token_roles=frozenset(role.lower() for role in values.get("service_token_roles", ("service",))),
        service_token_roles_required=values.get("service_token_roles_required", usual.service_token_roles_required),
        service_type=values.get("service_type") or None,
        token_cache_s=max(0, values.get("token_cache_time", usual.token_cache_s)),
    )


def memcached_options(values: Mapping[str, Any]) -> MemcachedOptions | None:
    """None where no server is named, or nothing may be remembered. Raises StartRefused where a secret is missing."""
    servers = tuple(server for server in values.get("memcached_servers") or () if server)
    if not servers or values.get("token_cache_time", 1) <= 0:
        return None
    strategy = _STRATEGIES[values.get("memcache_security_strategy", "None").upper()]
    secret = values.get("memcache_secret_key") or ""
    if strategy != "None" and not secret:
        raise StartRefused(f"[keystone_authtoken] memcache_security_strategy {strategy} needs a memcache_secret_key.")
    usual = MemcachedOptions(servers)
    return MemcachedOptions(
        servers,
        strategy=strategy,
        secret=secret,
        connections=max(1, values.get("memcache_pool_maxsize", usual.connections)),
        socket_timeout_s=values.get("memcache_pool_socket_timeout", usual.socket_timeout_s),
        connection_wait_s=values.get("memcache_pool_conn_get_timeout", usual.connection_wait_s),
        idle_s=values.get("memcache_pool_unused_timeout", usual.idle_s),
        dead_retry_s=values.get("memcache_pool_dead_retry", usual.dead_retry_s),
        tls=_tls(values),
    )


def _certificate(values: Mapping[str, Any]) -> str | tuple[str, str] | None:
    certificate, key = values.get("certfile"), values.get("keyfile")
    if key and not certificate:
        raise StartRefused("[keystone_authtoken] keyfile is set, but no certfile.")
    return (certificate, key) if certificate and key else certificate


def _tls(values: Mapping[str, Any]) -> MemcachedTls | None:
    if not values.get("memcache_tls_enabled"):
        return None
    return MemcachedTls(
        values.get("memcache_tls_cafile"),
        values.get("memcache_tls_certfile"),
        values.get("memcache_tls_keyfile"),
        values.get("memcache_tls_allowed_ciphers"),
    )
