"""What another region's image service says of an image, as far as an import takes it over (spec: import-and-tasks §9).

It comes from a server of somebody else's: every value is looked at before it is used.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from blick.model.errors import Forbidden, Invalid, SourceBroken, SourceError
from blick.model.image import ACTIVE
from blick.model.image_input import check_property_name, refuse_untouchable
from blick.model.import_job import Expected
from blick.model.schema import IMAGE_STATUSES, ImageSchema
from blick.model.text import refuse_unstorable

_MOST_BYTES: Final = 2**63 - 1
_MD5_DIGITS: Final = 32
_FORMATS: Final = ("disk_format", "container_format")


@dataclass(frozen=True, slots=True)
class RemoteImage:
    """An active image. `values` are its formats, `properties` what the operator wants copied.

    `expected` is what its data has to be; the size is always known.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    expected: Expected = field(default_factory=Expected)


def parse(document: Any, image_id: str, schema: ImageSchema, prefixes: Iterable[str]) -> RemoteImage:
    """Read the decoded record of `image_id`. Copied are properties whose names start with one of `prefixes`.

    Raises SourceBroken (malformed), SourceError (not active; formats that are not known here), Invalid (a property that
    cannot be kept here).
    """
    if not isinstance(document, dict) or str(document.get("id")).lower() != image_id.lower():
        raise SourceBroken("The other image service does not answer with a record of the image.")
    status = document.get("status")
    if status != ACTIVE:
        shown = status if status in IMAGE_STATUSES else "of unknown status"
        raise SourceError(f"The image is {shown} there, not active.")
    return RemoteImage(_formats(document, schema), _properties(document, schema, tuple(prefixes)), _expected(document))


def _formats(document: Mapping[str, Any], schema: ImageSchema) -> dict[str, Any]:
    values = {}
    for name in _FORMATS:
        value = document.get(name)
        if not isinstance(value, str):
            raise SourceBroken(f"The other image service tells no {name} of the image.")
        try:
            schema.check(name, value)
        except Invalid as error:
            raise SourceError(f"The image has a {name} there that is not known here.") from error
        values[name] = value
    return values


def _properties(document: Mapping[str, Any], schema: ImageSchema, prefixes: tuple[str, ...]) -> dict[str, str]:
    properties = {}
    for name, value in document.items():
        if not name.startswith(prefixes) or schema.is_base(name) or value is None:
            continue
        try:
            refuse_untouchable(name, schema)
        except Forbidden:
            continue  # os_glance_…, the other service's own bookkeeping
        check_property_name(name)
        schema.check(name, value)
        refuse_unstorable([name, value], "A property of the image there")
        properties[name] = value
    return properties


def _expected(document: Mapping[str, Any]) -> Expected:
    size = document.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MOST_BYTES:
        raise SourceBroken("The other image service does not tell the size of the image.")
    checksum, algorithm, value = (document.get(name) for name in ("checksum", "os_hash_algo", "os_hash_value"))
    digits = _digits(algorithm)
    return Expected(
        size_bytes=size,
        checksum=_hex(checksum, _MD5_DIGITS, "checksum"),
        os_hash_algo=algorithm if digits and value is not None else None,
        os_hash_value=_hex(value, digits, "os_hash_value") if digits else None,
    )


def _hex(value: Any, digits: int, name: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) != digits or re.fullmatch(r"[0-9a-fA-F]+", value) is None:
        raise SourceBroken(f"The other image service tells a malformed {name} of the image.")
    return value.lower()


def _digits(algorithm: Any) -> int:
    """How many hexadecimal digits a hash of that kind has; 0: it is not known here, or of no fixed length."""
    if not isinstance(algorithm, str) or algorithm not in hashlib.algorithms_guaranteed:
        return 0
    return 2 * hashlib.new(algorithm, usedforsecurity=False).digest_size
