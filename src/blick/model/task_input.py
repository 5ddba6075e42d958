"""The body of POST /v2/tasks (spec: images-api §18)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from blick.model.errors import Invalid
from blick.model.json_schema import compile_schema
from blick.model.schema import TASK
from blick.model.text import refuse_unstorable

_CHECKS: Final = {name: compile_schema(definition, name) for name, definition in TASK["properties"].items()}


@dataclass(frozen=True, slots=True)
class NewTask:
    """What a caller wants done. Whether `input` has what the type needs, the task itself finds out."""

    type: str
    input: Mapping[str, Any]


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
