"""[keystone_authtoken], checked against itself."""

import subprocess
import sys
from typing import Any

import pytest

from blick.identity.keystone.memcached import Memcached, _address
from blick.identity.keystone.options import MemcachedOptions, MemcachedTls, keystone_options, memcached_options
from blick.identity.keystone.service import KeystoneIdentity
from blick.model.errors import StartRefused

ACCOUNT = {"auth_type": "password", "auth_url": "http://id/v3", "username": "glance", "password": "hidden"}


def test_defaults() -> None:
    options = keystone_options(ACCOUNT)
    assert (options.verify, options.certificate, options.interface) == (True, None, "internal")
    assert (options.token_cache_s, options.connect_retries, options.request_timeout_s) == (300, 3, 30)
    assert (options.service_token_roles, options.service_token_roles_required) == ({"service"}, True)
    assert (options.include_service_catalog, options.service_type) == (True, None)
    assert options.challenge_uri == "http://id/v3"
    assert "hidden" not in repr(options)


@pytest.mark.parametrize(
    ("given", "field", "expected"),
    [
        ({"cafile": "/ca.pem"}, "verify", "/ca.pem"),
        ({"cafile": "/ca.pem", "insecure": True}, "verify", False),
        ({"certfile": "/c.pem", "keyfile": "/k.pem"}, "certificate", ("/c.pem", "/k.pem")),
        ({"certfile": "/both.pem"}, "certificate", "/both.pem"),
        ({"www_authenticate_uri": "https://public/v3/"}, "challenge_uri", "https://public/v3"),
        ({"token_cache_time": -1}, "token_cache_s", 0),
        ({"http_connect_timeout": 5, "timeout": 7}, "request_timeout_s", 5),
        ({"timeout": 7}, "request_timeout_s", 7),
        ({"http_request_max_retries": 0}, "connect_retries", 0),
        ({"service_token_roles": ("Service", "nova")}, "service_token_roles", {"service", "nova"}),
    ],
)
def test_what_operators_set(given: dict[str, Any], field: str, expected: object) -> None:
    assert getattr(keystone_options({**ACCOUNT, **given}), field) == expected


def test_memcached() -> None:
    assert memcached_options(ACCOUNT) is None
    assert memcached_options({"memcached_servers": ("a:1",), "token_cache_time": -1}) is None
    options = memcached_options({"memcached_servers": ("a:1", "b"), "memcache_pool_maxsize": 3})
    assert options == MemcachedOptions(("a:1", "b"), connections=3)
    secured = {"memcached_servers": ("a",), "memcache_security_strategy": "ENCRYPT"}
    with pytest.raises(StartRefused, match="memcache_secret_key"):
        memcached_options(secured)
    options = memcached_options(secured | {"memcache_secret_key": "hidden", "memcache_tls_enabled": True})
    assert options is not None
    assert (options.strategy, options.tls) == ("ENCRYPT", MemcachedTls())
    assert "hidden" not in repr(options)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("cache.example.com", ("cache.example.com", 11211)),
        ("10.0.0.1:1234", ("10.0.0.1", 1234)),
        ("inet:10.0.0.1:1234", ("10.0.0.1", 1234)),
        ("[::1]:1234", ("::1", 1234)),
        ("inet6:[::1]:1234", ("::1", 1234)),
        ("inet6:[::1]", ("::1", 11211)),
        ("fd00::7", ("fd00::7", 11211)),
        ("unix:/run/memcached.sock", "/run/memcached.sock"),
        ("/run/memcached.sock", "/run/memcached.sock"),
    ],
)
def test_addresses_of_memcached(name: str, address: object) -> None:
    assert _address(name) == address


@pytest.mark.parametrize("name", ["host:port", ":11211", "[::1]:x", "host:"])
def test_no_address(name: str) -> None:
    if name == "host:":
        assert _address(name) == ("host", 11211)
    else:
        with pytest.raises(StartRefused, match="memcached_servers"):
            Memcached(MemcachedOptions((name,)))


def test_certificates_of_memcached_that_cannot_be_used() -> None:
    with pytest.raises(StartRefused, match="memcache_tls_"):
        Memcached(MemcachedOptions(("a",), tls=MemcachedTls(ca_file="/no/such/file")))
    with pytest.raises(StartRefused, match="memcache_tls_"):
        Memcached(MemcachedOptions(("a",), tls=MemcachedTls(ciphers="no-such-cipher")))


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({}, "auth_type is not set"),
        ({"auth_type": "carrier-pigeon"}, "carrier-pigeon"),
        ({"auth_type": "password", "username": "glance"}, "auth-url|auth_url"),
        (ACCOUNT | {"keyfile": "/k.pem"}, "certfile"),
        (ACCOUNT | {"memcached_servers": ("a",), "memcache_security_strategy": "MAC"}, "memcache_secret_key"),
    ],
)
def test_what_keystone_could_never_be_asked_with(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(StartRefused, match=reason):
        KeystoneIdentity(values)


@pytest.mark.parametrize(
    "values",
    [
        ACCOUNT,
        ACCOUNT | {"auth_type": "v3password", "user_domain_name": "Default", "system_scope": "all"},
        {"auth_type": "v3applicationcredential", "auth_url": "u", "application_credential_id": "i",
         "application_credential_secret": "s"},
        {"auth_type": "token", "auth_url": "u", "token": "t"},
        {"auth_type": "admin_token", "endpoint": "u", "token": "t"},
        {"auth_type": "none", "endpoint": "u"},
    ],
)  # fmt: skip
async def test_every_kind_of_account(values: dict[str, Any]) -> None:
    await KeystoneIdentity(values).aclose()


def lines_of(script: str) -> list[str]:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("package", ["keystoneauth1", "pymemcache"])
def test_a_package_that_is_not_installed(package: str) -> None:
    [said] = lines_of(
        f"""
import sys
sys.modules["{package}"] = None  # as if it were not there
from blick.model.errors import StartRefused
try:
    from blick.identity.keystone.service import KeystoneIdentity
    KeystoneIdentity({ACCOUNT!r} | {{"memcached_servers": ("a",)}})
except StartRefused as refusal:
    print(refusal)
"""
    )
    assert "pip install 'blick[keystone]'" in said


def test_whoever_does_not_ask_keystone_does_not_load_it() -> None:
    assert lines_of(
        "import sys, blick.boot; print({'keystoneauth1', 'requests', 'pymemcache'} & set(sys.modules))"
    ) == ["set()"]
