"""A configuration file with every option in it, commented out, and what each one means."""

from collections.abc import Iterator, Mapping
from typing import Any

from blick.conf.listing import groups
from blick.conf.options.option import Option

_HEAD = """\
# Every option of Blick with its default. Lists are comma separated, dictionaries are k:v,k:v.
# $name and ${group.name} stand for the values of other options; a plain dollar sign is $$.
# The environment variable OS_<GROUP>__<NAME> wins over what stands here.
# With enabled_backends, each store has a group named like its id, with the options of its driver;
# what all stores share stands in [backend_defaults].
"""
_KEEP = {"later": "Taken, and without effect in this version.", "no": "Taken, and without effect."}


def sample() -> str:
    """The text of that file."""
    return _HEAD + "".join(f"\n\n[{group}]\n" + "".join(map(_entry, options)) for group, options in groups())


def written(option: Option, value: Any) -> str:
    """A value as it stands in a file."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ",".join(f"{key}:{part}" for key, part in value.items())
    if isinstance(value, tuple):
        text = ",".join(map(str, value))
        return f"[{text}]" if option.kind in ("bounded-list", "bounded-ports") else text
    return str(value)


def _entry(option: Option) -> str:
    remarks = "\n".join(f"# {remark}" for remark in _remarks(option))
    unset = " <unset>" if option.default is None else ""
    return f"\n{remarks}\n#{option.name} ={unset} {written(option, option.default)}".rstrip() + "\n"


def _remarks(option: Option) -> Iterator[str]:
    yield f"{option.meaning}. ({option.kind}{_bounds(option)})"
    if option.choices:
        yield f"One of: {', '.join(map(str, option.choices))}."
    if option.old_names:
        yield f"Old names: {', '.join(option.old_names)}."
    if option.deprecated:
        yield f"Deprecated since {option.deprecated}."
    if option.keep in _KEEP:
        yield _KEEP[option.keep]
    if option.kind == "multi-str":
        yield "The line may be repeated."


def _bounds(option: Option) -> str:
    low = f", at least {option.minimum:.15g}" if option.minimum is not None else ""
    high = f", at most {option.maximum:.15g}" if option.maximum is not None else ""
    return low + high
