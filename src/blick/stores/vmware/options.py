"""Options of the vmware store, checked, and the places that its URIs name."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from blick.model.errors import StartRefused

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,150}")
"""What the name of an object may be: nothing that a datastore path, a URL or a search pattern reads as its own."""

FIRST_CHARACTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
_HOST = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?")
_SCHEME = "vsphere"


@dataclass(frozen=True, slots=True)
class Datastore:
    """A datastore by its datacenter's inventory path and its own name, as in URLs."""

    datacenter: str
    name: str


@dataclass(frozen=True, slots=True)
class Place:
    """A file in the image folder of a datastore, whether or not it is there."""

    datastore: Datastore
    folder: str
    name: str

    @property
    def path(self) -> str:
        """As the file manager of a vSphere wants it."""
        return f"[{self.datastore.name}] {self.folder}/{self.name}"

    @property
    def resource(self) -> str:
        """Path and query of its URL."""
        store = {"dcPath": self.datastore.datacenter, "dsName": self.datastore.name}
        return f"/folder/{quote(self.folder)}/{quote(self.name)}?{urlencode(store, quote_via=quote)}"

    def beside(self, name: str) -> "Place":
        """Another file in the same folder."""
        return replace(self, name=name)


@dataclass(frozen=True, slots=True)
class VmwareOptions:
    """`weights` are the configured datastores, in their order. `host` is as written: with a port, or for port 443."""

    host: str
    user_name: str
    password: str = field(repr=False)
    retries: int
    longest_pause_s: float
    folder: str
    weights: Mapping[Datastore, int]
    ca_file: str | None
    verify: bool

    @property
    def address(self) -> tuple[str, int]:
        """Where to connect to."""
        parts = urlsplit(f"//{self.host}")
        return parts.hostname or "", parts.port or 443

    def place(self, datastore: Datastore, name: str) -> Place:
        """The file of that name."""
        return Place(datastore, self.folder, name)

    def uri_of(self, place: Place) -> str:
        """What is recorded for an object."""
        return f"{_SCHEME}://{self.host}{place.resource}"

    def place_of(self, uri: str) -> Place | None:
        """The place that a URI names; None for what is not in an image folder of this vSphere.

        Any of its datastores will do: one that takes no new images any more still has the old ones.
        """
        try:
            parts = urlsplit(uri)
            store = dict(parse_qsl(parts.query))
        except ValueError:
            return None
        prefix = f"/folder/{self.folder}/"
        path = unquote(parts.path)
        here = parts.scheme == _SCHEME and parts.netloc.lower() == self.host.lower() and path.startswith(prefix)
        name = path.removeprefix(prefix)
        if not here or not is_key(name) or not store.get("dcPath") or not store.get("dsName"):
            return None
        return self.place(Datastore(store["dcPath"].strip("/"), store["dsName"]), name)


def is_key(name: str) -> bool:
    """Whether an object may have this name."""
    return _KEY.fullmatch(name) is not None


def read_options(store: str, options: Mapping[str, Any]) -> VmwareOptions:
    """The options of a store. Raises StartRefused naming the one that is missing or makes no sense."""
    for name in ("vmware_server_host", "vmware_server_username", "vmware_server_password", "vmware_datastores"):
        if not options.get(name):
            raise StartRefused(f"Store {store}: {name} is not set.")
    host = str(options["vmware_server_host"])
    if not _HOST.fullmatch(host):
        raise StartRefused(f"Store {store}: vmware_server_host is not a host name or an address: {host!r}.")
    folder = str(options.get("vmware_store_image_dir") or "/openstack_glance").strip("/")
    if not folder or any(part in ("", ".", "..") for part in folder.split("/")):
        raise StartRefused(f"Store {store}: vmware_store_image_dir is not a folder in a datastore: {folder!r}.")
    ca_file = options.get("vmware_ca_file") or None
    return VmwareOptions(
        host=host,
        user_name=str(options["vmware_server_username"]),
        password=str(options["vmware_server_password"]),
        retries=int(options.get("vmware_api_retry_count", 10)),
        longest_pause_s=float(options.get("vmware_task_poll_interval", 5)),
        folder=folder,
        weights=_weights(store, options["vmware_datastores"]),
        ca_file=ca_file,
        verify=ca_file is not None or not options.get("vmware_insecure", False),
    )


def _weights(store: str, entries: list[str]) -> Mapping[Datastore, int]:
    weights: dict[Datastore, int] = {}
    for entry in entries:
        datacenter, _, rest = entry.strip().partition(":")
        name, _, weight = rest.partition(":")
        datastore = Datastore(datacenter.strip().strip("/"), name.strip())
        if not datastore.datacenter or not datastore.name or not re.fullmatch(r"\s*\d*\s*", weight):
            raise StartRefused(f"Store {store}: vmware_datastores wants datacenter:datastore[:weight], not {entry!r}.")
        if datastore in weights:
            raise StartRefused(f"Store {store}: vmware_datastores names {entry!r} twice.")
        weights[datastore] = int(weight.strip() or 0)
    return weights
