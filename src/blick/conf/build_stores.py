"""Which stores there are: enabled_backends with a group per store, or the one group [glance_store]."""

from collections.abc import Mapping
from typing import Any

from blick.conf.build_imports import uri_filter
from blick.conf.catalog import (
    BACKEND_DEFAULTS,
    RESERVED_PREFIX,
    RESERVED_STORES,
    all_store_options,
    is_driver,
    reserved_store_options,
    store_options,
    store_type,
)
from blick.conf.reading import Reading
from blick.conf.settings import StoreSettings, StoresSettings

_FOLDER, _FOLDERS = "filesystem_store_datadir", "filesystem_store_datadirs"


def stores_settings(reading: Reading) -> StoresSettings:
    """All stores, in the order in which the operator named them."""
    backends: Mapping[str, str] = reading.get("DEFAULT", "enabled_backends") or {}
    return _multi_store(reading, backends) if backends else _single_store(reading)


def _multi_store(reading: Reading, backends: Mapping[str, str]) -> StoresSettings:
    stores = tuple(_backend(reading, store_id, type_) for store_id, type_ in backends.items())
    default = reading.text("glance_store", "default_backend")
    if default is None:
        reading.wrong("glance_store", "default_backend", "is needed with enabled_backends.")
    elif default not in backends:
        reading.wrong("glance_store", "default_backend", "names no store of enabled_backends.")
    for store_id in RESERVED_STORES:
        reading.add({store_id: reserved_store_options(store_id)})
    return StoresSettings(default_store=default or "", stores=stores, multi_store=True)


def _backend(reading: Reading, store_id: str, type_: str) -> StoreSettings:
    kind = store_type(type_)
    if store_id.startswith(RESERVED_PREFIX):
        reading.wrong("DEFAULT", "enabled_backends", f"{store_id}: ids that start with {RESERVED_PREFIX} are reserved.")
    if not is_driver(kind):
        reading.warn("DEFAULT", "enabled_backends", f"the options of a store of type {kind} are not known here.")
    reading.add({store_id: store_options(kind), BACKEND_DEFAULTS: all_store_options()})
    options = {option.name: _with_fallback(reading, store_id, option.name) for option in store_options(kind)}
    if not is_driver(kind):
        options |= reading.leftovers(store_id)
    description, weight = options.pop("store_description"), options.pop("weight")
    _one_folder(reading, store_id, options)
    _shared_options(reading, kind, options)
    if kind == "cinder":
        options["uri_names_store"] = True  # its locations tell whether stores have ids
    return StoreSettings(id=store_id, type=kind, options=options, description=description, weight=weight)


def _with_fallback(reading: Reading, store_id: str, name: str) -> Any:
    shared = reading.get(BACKEND_DEFAULTS, name)
    if reading.is_set(store_id, name) or not reading.is_set(BACKEND_DEFAULTS, name):
        return reading.get(store_id, name)
    return shared


def _single_store(reading: Reading) -> StoresSettings:
    kinds = tuple(dict.fromkeys(store_type(name) for name in reading.get("glance_store", "stores")))
    default = store_type(reading.get("glance_store", "default_store"))
    if default not in kinds:
        reading.wrong("glance_store", "default_store", "names no driver of the option stores.")
    stores = []
    for kind in kinds:
        if not is_driver(kind):
            reading.warn("glance_store", "stores", f"the options of a store of type {kind} are not known here.")
        own = tuple(option for option in store_options(kind) if option.name not in ("store_description", "weight"))
        reading.add({"glance_store": own})
        options = _values(reading, "glance_store", own)
        _one_folder(reading, "glance_store", options)
        _shared_options(reading, kind, options)
        stores.append(StoreSettings(id=kind, type=kind, options=options))
    return StoresSettings(default_store=default, stores=tuple(stores))


def _values(reading: Reading, group: str, options: tuple[Any, ...]) -> dict[str, Any]:
    return {option.name: reading.get(group, option.name) for option in options}


def _one_folder(reading: Reading, group: str, options: dict[str, Any]) -> None:
    """The file driver takes one folder or several; the default of the one must not count beside the several."""
    if not options.get(_FOLDERS):
        return
    if any(reading.is_set(where, _FOLDER) for where in (group, BACKEND_DEFAULTS)):
        reading.wrong(group, _FOLDERS, f"excludes {_FOLDER}.")
    options[_FOLDER] = None


def _shared_options(reading: Reading, kind: str, options: dict[str, Any]) -> None:
    """What a driver needs to know of options that are not a store's own."""
    if kind == "http":
        options["uri_filter"] = uri_filter(reading)
