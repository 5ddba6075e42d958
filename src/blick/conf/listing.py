"""The options as other tools want them: oslo-config-generator asks for (group, options) through entry points."""

from collections.abc import Iterator

from oslo_config import cfg

from blick.conf.catalog import (
    BACKEND_DEFAULTS,
    GROUPS,
    RESERVED_STORES,
    all_store_options,
    driver_options,
    reserved_store_options,
)
from blick.conf.options.option import Option
from blick.conf.oslo_options import oslo_option


def groups() -> Iterator[tuple[str, tuple[Option, ...]]]:
    """Every group with its options, as an operator may write them."""
    for group, options in GROUPS.items():
        yield group, options + driver_options() if group == "glance_store" else options
    yield BACKEND_DEFAULTS, all_store_options()
    for store_id in RESERVED_STORES:
        yield store_id, reserved_store_options(store_id)


def list_options() -> list[tuple[str, list[cfg.Opt]]]:
    """All options, for oslo-config-generator and oslo-config-validator."""
    return [(group, [oslo_option(option, group=group) for option in options]) for group, options in groups()]


def list_manage_options() -> list[tuple[str, list[cfg.Opt]]]:
    """Options of commands that only need the database."""
    return _only(frozenset({"DEFAULT", "database"}))


def list_cache_options() -> list[tuple[str, list[cfg.Opt]]]:
    """Options of the commands around the image cache."""
    return _only(frozenset({"DEFAULT", "oslo_policy", "os_brick", "glance_store"}))


def list_scrubber_options() -> list[tuple[str, list[cfg.Opt]]]:
    """Options of the scrubber."""
    return _only(frozenset({"DEFAULT", "database", "oslo_concurrency", "oslo_policy", "os_brick", "glance_store"}))


def _only(names: frozenset[str]) -> list[tuple[str, list[cfg.Opt]]]:
    return [(group, options) for group, options in list_options() if group in names]
