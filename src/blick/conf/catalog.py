"""All options, by group; and which options a store of a given type has."""

from collections.abc import Mapping
from types import MappingProxyType

from blick.conf.options import (
    api,
    cache,
    database,
    identity,
    imports,
    key_manager,
    log,
    machine,
    messaging,
    policy,
    quota,
    replication,
    scrub,
    server,
    stores,
)
from blick.conf.options.option import Option

BACKEND_DEFAULTS = "backend_defaults"
RESERVED_PREFIX = "os_glance_"
# The two stores that multi-store mode adds by itself: data being uploaded for import, and scratch of conversions.
RESERVED_STORES = ("os_glance_staging_store", "os_glance_tasks_store")

_SUBJECTS = (
    server, api, quota, log, database, identity, policy, stores, imports, cache, scrub, replication, messaging,
    key_manager, machine,
)  # fmt: skip
_TYPE_NAMES = {"filesystem": "file", "vmware_datastore": "vmware", "vsphere": "vmware", "https": "http"}


def _merged() -> Mapping[str, tuple[Option, ...]]:
    groups: dict[str, tuple[Option, ...]] = {}
    for subject in _SUBJECTS:
        for group, options in subject.OPTIONS.items():
            groups[group] = groups.get(group, ()) + options
    return MappingProxyType(groups)


# Every option that stands in a group of a fixed name, except the stores' drivers' in [glance_store].
GROUPS: Mapping[str, tuple[Option, ...]] = _merged()


def store_type(name: str) -> str:
    """The short type of a store that an operator called `name`: `file` for `glance.store.filesystem.Store`.

    Schemes count as well: `swift+https` is swift, `vsphere` is vmware. What is not known comes back as it is.
    """
    short = name.removeprefix("glance.store.").removesuffix(".Store") if name.startswith("glance.store.") else name
    short = short.split("+", 1)[0]
    return _TYPE_NAMES.get(short, short)


def store_options(type_: str) -> tuple[Option, ...]:
    """The options of one store of that (short) type; only the common ones where the type is not known."""
    return stores.EVERY_STORE + stores.DRIVERS.get(type_, ())


def reserved_store_options(store_id: str) -> tuple[Option, ...]:
    """The two options of a reserved store; its folder has a default of its own."""
    return (
        Option("filesystem_store_datadir", "str", f"/var/lib/glance/{store_id}", "Directory of its files"),
        Option("filesystem_store_chunk_size", "int", 65536, "I/O block, bytes", minimum=1),
    )


def all_store_options() -> tuple[Option, ...]:
    """The options of every driver and those of every store: what [backend_defaults] may hold."""
    return stores.EVERY_STORE + driver_options()


def driver_options() -> tuple[Option, ...]:
    """The options of every driver: what [glance_store] may hold beside its own."""
    return tuple(option for options in stores.DRIVERS.values() for option in options)


def is_driver(type_: str) -> bool:
    """Are this type's options known?"""
    return type_ in stores.DRIVERS
