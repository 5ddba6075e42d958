"""The plugins that the operator chose, found by entry point (group `blick.import_plugins`)."""

import logging
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from blick.conf.settings import Settings
from blick.model.errors import StartRefused
from blick.ops.imports.plugins.plugin import Plugin

_log = logging.getLogger(__name__)

_GROUP = "blick.import_plugins"


def plugins_of(settings: Settings) -> Sequence[Plugin]:
    """The plugins in the operator's order, each once. Raises StartRefused where one is missing or is none."""
    return _load(tuple(dict.fromkeys(settings.imports.plugins)))


@cache  # asking what is installed takes 10 ms, and the answer never changes while a process runs
def _load(names: tuple[str, ...]) -> tuple[Plugin, ...]:
    if not names:
        return ()
    offered = _offered()
    return tuple(_load_one(name, offered) for name in names)


def _offered() -> Mapping[str, EntryPoint]:
    offered: dict[str, EntryPoint] = {}
    for entry in entry_points(group=_GROUP):
        known = offered.setdefault(entry.name, entry)
        if known.value != entry.value:
            raise StartRefused(
                f"Two packages offer an import plugin {entry.name!r}: {known.value} and {entry.value}. Remove one."
            )
    return offered


def _load_one(name: str, offered: Mapping[str, EntryPoint]) -> Plugin:
    entry = offered.get(name)
    if entry is None:
        known = ", ".join(sorted(offered)) or "none"
        raise StartRefused(
            f"[image_import_opts] image_import_plugins: there is no plugin {name!r} (there is: {known})."
        )
    try:
        plugin = entry.load()
    except (ImportError, AttributeError) as error:
        raise StartRefused(f"The import plugin {name!r} ({entry.value}) cannot be loaded: {error}") from error
    if not isinstance(plugin, Plugin):
        raise StartRefused(f"The import plugin {name!r} ({entry.value}) lacks name, changes_data or run.")
    if plugin.name != name:
        raise StartRefused(f"The import plugin {name!r} ({entry.value}) calls itself {plugin.name!r}.")
    _log.debug("import plugin %s is %s", name, entry.value)
    return plugin
