"""From our options to oslo.config's."""

from collections.abc import Mapping
from typing import Any

from oslo_config import cfg, types

from blick.conf.options.option import Kind, Option

_PLAIN: Mapping[Kind, type[cfg.Opt]] = {
    "bool": cfg.BoolOpt,
    "list": cfg.ListOpt,
    "dict": cfg.DictOpt,
    "multi-str": cfg.MultiStrOpt,
    "port": cfg.PortOpt,
    "uri": cfg.URIOpt,
}


def oslo_option(option: Option, *, group: str | None = None) -> cfg.Opt:
    """An oslo.config option of the same name, type, bounds and default.

    Old names are told to oslo.config only if `group` is given: while loading, Blick resolves them itself.
    """
    arguments: dict[str, Any] = {
        "default": _default(option),
        "help": option.meaning + ".",
        "secret": option.secret,
        "mutable": option.reload,
    }
    if option.deprecated and group:
        arguments |= {"deprecated_for_removal": True, "deprecated_since": option.deprecated}
    if group:
        arguments["deprecated_opts"] = [cfg.DeprecatedOpt(name, group=old) for old, name in option.old_places(group)]
    return _made(option, arguments)


def _made(option: Option, arguments: dict[str, Any]) -> cfg.Opt:
    match option.kind:
        case "str":
            choices = option.choices or None
            return cfg.StrOpt(option.name, choices=choices, ignore_case=option.ignore_case, **arguments)
        case "int":
            low, high = _whole(option.minimum), _whole(option.maximum)
            return cfg.IntOpt(option.name, min=low, max=high, choices=option.choices or None, **arguments)
        case "float":
            return cfg.FloatOpt(option.name, min=option.minimum, max=option.maximum, **arguments)
        case "host":
            return cfg.HostAddressOpt(option.name, **arguments)
        case "bounded-list":
            return cfg.Opt(option.name, type=types.List(types.String(quotes=True), bounds=True), **arguments)
        case "bounded-ports":
            return cfg.Opt(option.name, type=types.List(types.Port(), bounds=True), **arguments)
        case kind:
            return _PLAIN[kind](option.name, **arguments)


def _whole(bound: float | None) -> int | None:
    return None if bound is None else int(bound)


def _default(option: Option) -> Any:
    if isinstance(option.default, tuple):
        return list(option.default)
    return dict(option.default) if isinstance(option.default, Mapping) else option.default
