"""The body of POST /v2/images/{id}/import (spec: images-api §11.1)."""

from typing import Any

from blick.model.errors import Invalid


def method_name(document: Any) -> str:
    """The method that an import asks for. Raises Invalid where it names none."""
    method = document.get("method") if isinstance(document, dict) else None
    if method is None:
        raise Invalid("Import request requires a 'method' field.")
    name = method.get("name") if isinstance(method, dict) else None
    if not isinstance(name, str):
        raise Invalid("Import request requires a 'name' field.")
    return name
