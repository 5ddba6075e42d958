"""The azure driver's options, read and checked; and what its URIs mean."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from blick.model.errors import StartRefused
from blick.stores.objects.backend import Place
from blick.stores.objects.options import ca_file, number, signed_url_ttl_s
from blick.stores.objects.parts import MIB

_SCHEME = "azure://"
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_CONTAINER = re.compile(r"[a-z0-9](?:-?[a-z0-9]){2,62}")


@dataclass(frozen=True, slots=True)
class AzureOptions:
    """What the operator said. One of `key` and `sas_token` is set; `endpoint` is the URL of the account."""

    account: str
    container: str
    endpoint: str
    key: str | None = field(repr=False)
    sas_token: str | None = field(repr=False)
    create_container: bool = False
    part_mib: int = 10
    part_threads: int = 10
    ca_file: str | None = None
    signed_url_ttl_s: int = 0

    @property
    def part_bytes(self) -> int:
        """How large the operator wants parts to be."""
        return self.part_mib * MIB


def read_options(store: str, options: Mapping[str, Any]) -> AzureOptions:
    """The options `azure_*` of one store. Raises StartRefused, naming the option and what is wrong with it."""
    account = _matching(store, options, "azure_store_account", _ACCOUNT)
    container = _matching(store, options, "azure_store_container", _CONTAINER)
    key = options.get("azure_store_key") or None
    sas_token = options.get("azure_store_sas_token") or None
    if (key is None) == (sas_token is None):
        raise StartRefused(f"Store {store}: set one of azure_store_key and azure_store_sas_token, not both.")
    ttl_s = signed_url_ttl_s(store, "azure_store_signed_url_ttl", options)
    if ttl_s and key is None:
        raise StartRefused(f"Store {store}: azure_store_signed_url_ttl needs azure_store_key, which signs.")
    return AzureOptions(
        account=account,
        container=container,
        endpoint=_endpoint(store, options, account),
        key=key,
        sas_token=None if sas_token is None else sas_token.removeprefix("?"),
        create_container=bool(options.get("azure_store_create_container_on_put")),
        part_mib=number(store, options, "azure_store_chunk_size", 10, 5),
        part_threads=number(store, options, "azure_store_thread_pools", 10, 1),
        ca_file=ca_file(store, "azure_store_cacert", options),
        signed_url_ttl_s=ttl_s,
    )


def uri_of(options: AzureOptions, key: str) -> str:
    """The URI of an object in the configured container."""
    return f"{_SCHEME}{options.account}/{options.container}/{key}"


def place_of(options: AzureOptions, uri: str) -> Place | None:
    """The object that `uri` means, if it is one of the configured account's."""
    if not uri.startswith(_SCHEME):
        return None
    names = uri.removeprefix(_SCHEME).split("/")
    if len(names) != 3 or names[0] != options.account or not all(names):
        return None
    return Place(names[1], names[2])


def _matching(store: str, options: Mapping[str, Any], name: str, form: re.Pattern[str]) -> str:
    value = str(options.get(name) or "")
    if not value:
        raise StartRefused(f"Store {store}: {name} is not set.")
    if not form.fullmatch(value):
        raise StartRefused(f"Store {store}: {name} is not a name that Azure allows.")
    return value


def _endpoint(store: str, options: Mapping[str, Any], account: str) -> str:
    endpoint = str(options.get("azure_store_endpoint") or f"https://{account}.blob.core.windows.net").rstrip("/")
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None or parts.query:
        raise StartRefused(f"Store {store}: azure_store_endpoint is not the plain http(s) URL of an account.")
    return endpoint
