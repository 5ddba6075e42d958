"""[paste_deploy] and [keystone_authtoken]: who vouches for callers."""

import configparser
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from blick.conf.options.identity import AUTH_PLUGIN, RARE_AUTH_PLUGIN
from blick.conf.options.option import Option
from blick.conf.reading import Reading
from blick.conf.settings import IdentitySettings

Kind = Literal["standalone", "none", "keystone", "trusted-headers"]

# What the parts of a flavor choose. No part that says who vouches means that nobody does.
_KINDS: Mapping[str, Kind] = {
    "keystone": "keystone",
    "trusted-headers": "trusted-headers",
    "trusted-auth": "trusted-headers",
    "standalone": "standalone",
}
_OTHER_PARTS = frozenset({"none", "caching", "cachemanagement", ""})
# The same, as the filters of a paste file's pipeline.
_AUTH_TYPE = Option("auth_type", "str", None, "Kind of credentials", old_names=("auth_plugin",))
_FILTER_PARTS = {
    "authtoken": "keystone",
    "unauthenticated-context": "none",
    "cache": "caching",
    "cachemanage": "cachemanagement",
}


def identity_settings(reading: Reading, finder: Callable[[str], Path]) -> IdentitySettings:
    """The identity that [paste_deploy] chooses; `finder` finds the paste file that it may name."""
    flavor = reading.text("paste_deploy", "flavor") or ""
    parts = _pipeline_parts(reading, finder, flavor) or tuple(part.strip() for part in flavor.split("+"))
    kinds = {_KINDS[part] for part in parts if part in _KINDS}
    unknown = [part for part in parts if part not in _KINDS and part not in _OTHER_PARTS]
    if unknown:
        choices = "keystone, trusted-headers and none, each with +caching or +cachemanagement"
        reading.wrong("paste_deploy", "flavor", f"knows no {unknown[0]}; there are {choices}.")
    if len(kinds) > 1:
        reading.wrong("paste_deploy", "flavor", "names more than one way to know callers.")
    kind: Kind = sorted(kinds)[0] if kinds else "none"
    authtoken = _keystone_authtoken(reading)
    if kind == "keystone":
        _doubts(reading, authtoken)
    if "caching" in parts or "cachemanagement" in parts:
        reading.not_yet("paste_deploy", "flavor", "the image cache does not work in this version.")
    return IdentitySettings(
        kind=kind,
        token_ttl_s=reading.get("blick", "token_ttl"),
        keystone_authtoken=authtoken if kind == "keystone" else {},
        trusted_proxies=reading.networks("blick", "trusted_proxies"),
    )


def _pipeline_parts(reading: Reading, finder: Callable[[str], Path], flavor: str) -> tuple[str, ...]:
    """The parts that the named paste file's pipeline of that flavor has; empty where it says nothing we know."""
    named = reading.text("paste_deploy", "config_file")
    if named is None:
        return ()
    paste = configparser.RawConfigParser(strict=False)
    try:
        paste.read_string(finder(named).read_text("utf-8"))
    except (OSError, ValueError, configparser.Error):
        reading.warn("paste_deploy", "config_file", "cannot be read; the flavor alone counts.")
        return ()
    section = f"pipeline:glance-api-{flavor}" if flavor else "pipeline:glance-api"
    filters = paste.get(section, "pipeline", fallback="").split()
    parts = [_FILTER_PARTS[name] for name in filters if name in _FILTER_PARTS]
    if "context" in filters and "authtoken" not in filters:  # it believes headers, whoever wrote them
        parts.append("trusted-headers")
    return tuple(parts)


def _keystone_authtoken(reading: Reading) -> Mapping[str, Any]:
    """Every option of the group that has a value, with those of the group that its auth_section names."""
    values = {
        option.name: reading.get("keystone_authtoken", option.name)
        for option in reading.options_of("keystone_authtoken")
    }
    section = values.get("auth_section")
    if section and section != "keystone_authtoken":
        options = (*AUTH_PLUGIN, *RARE_AUTH_PLUGIN, _AUTH_TYPE)
        reading.add({section: options})
        shared = {option.name: reading.get(section, option.name) for option in options}
        values |= {name: value for name, value in shared.items() if value is not None}
    return {name: value for name, value in values.items() if value is not None}


def _doubts(reading: Reading, authtoken: Mapping[str, Any]) -> None:
    """What a Keystone can be asked with, but perhaps not as it is meant."""
    group = "keystone_authtoken"
    if not authtoken.get("www_authenticate_uri"):
        reading.warn(group, "www_authenticate_uri", "is not set; clients without a token are told auth_url instead.")
    if authtoken.get("memcache_sasl_enabled"):
        reading.warn(group, "memcache_sasl_enabled", "has no effect; protect memcached by TLS and by its network.")
    if str(authtoken.get("auth_version", "3")).removeprefix("v").split(".")[0] != "3":
        reading.warn(group, "auth_version", "has no effect; Blick speaks version 3 of the Identity API.")
