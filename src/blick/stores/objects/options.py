"""Options that stores of several types have under names of their own, read and checked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from blick.model.errors import StartRefused

LONGEST_URL_TTL_S = 7 * 24 * 3600  # what the signatures of Amazon and Google allow


def ca_file(store: str, option: str, options: Mapping[str, Any]) -> str | None:
    """The file that `option` names, None if it names none. Raises StartRefused if it is not there."""
    return readable_file(store, option, options.get(option) or None)


def readable_file(store: str, option: str, path: str | None) -> str | None:
    """`path`. Raises StartRefused if there is no such file."""
    if path is not None and not Path(path).is_file():
        raise StartRefused(f"Store {store}: {option}: there is no file {path}.")
    return path


def signed_url_ttl_s(store: str, option: str, options: Mapping[str, Any]) -> int:
    """For how long URLs work that downloads are sent to; 0: they are not. Raises StartRefused."""
    seconds = number(store, options, option, 0, 0)
    if seconds > LONGEST_URL_TTL_S:
        raise StartRefused(f"Store {store}: {option}: signed URLs work for {LONGEST_URL_TTL_S} seconds at most.")
    return seconds


def number(store: str, options: Mapping[str, Any], name: str, default: int, least: int) -> int:
    """A whole number of at least `least`. Raises StartRefused."""
    value = options.get(name)
    chosen = default if value is None else int(value)
    if chosen < least:
        raise StartRefused(f"Store {store}: {name} must be {least} or more.")
    return chosen
