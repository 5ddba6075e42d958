"""Metadata definitions for tests: one of everything."""

from typing import Any

NAMESPACES = "/v2/metadefs/namespaces"


def definition(**more: Any) -> dict[str, Any]:
    """What a property may be."""
    return {"title": "A property", "type": "string", **more}


def whole(name: str = "ns", **more: Any) -> dict[str, Any]:
    """A namespace's body with one of everything in it."""
    return {
        "namespace": name,
        "resource_type_associations": [{"name": "rt", "prefix": "x_"}],
        "properties": {"p": definition()},
        "objects": [{"name": "o", "required": ["q"], "properties": {"q": definition(type="integer")}}],
        "tags": [{"name": "t"}],
        **more,
    }
