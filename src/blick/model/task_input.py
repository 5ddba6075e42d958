"""The body of POST /v2/tasks (spec: images-api §18)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from blick.model.errors import Invalid
from blick.model.json_schema import compile_schema
from blick.model.schema import TASK
from blick.model.text import refuse_unstorable
from blick.model.uri_filter import shown

_URIS: Final = ("import_from", "loc_url", "uri", "url")
_CHECKS: Final = {name: compile_schema(definition, name) for name, definition in TASK["properties"].items()}


@dataclass(frozen=True, slots=True)
class NewTask:
    """What a caller wants done. Whether `input` has what the type needs, the task itself finds out."""

    type: str
    input: Mapping[str, Any]


def without_secrets(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The input of a task of any type as people may see it: no URI in it has a user and password."""
    return {name: _without_secrets(name, value) for name, value in asked.items()}


def _without_secrets(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return without_secrets(value)
    if isinstance(value, list):
        return [_without_secrets(name, each) for each in value]
    return shown(value) if name in _URIS and isinstance(value, str) and "@" in value else value


def parse(body: object) -> NewTask:
    """Check a decoded JSON body; the attributes that the service sets itself are passed over. Raises `Invalid`."""
    for name in ("type", "input"):
        if not isinstance(body, dict) or name not in body:
            raise Invalid(f"Task '{name}' is required")
    assert isinstance(body, dict)
    for name, value in body.items():
        check = _CHECKS.get(name)
        complaint = f"{name!r:.80} is not expected" if check is None else check(value)
        if complaint is not None:
            raise Invalid(f"Provided object does not match schema 'task': {complaint}, in attribute {name!r:.80}.")
    refuse_unstorable(body, "A task")
    return NewTask(body["type"], body["input"] or {})
