"""The body of POST /v2/images/{id}/import (spec: images-api §11.1)."""

import re
import uuid
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from blick.model.errors import Invalid
from blick.model.import_job import COPY_IMAGE, GLANCE_DIRECT, GLANCE_DOWNLOAD, WEB_DOWNLOAD
from blick.model.location import HEX_DIGITS
from blick.model.text import refuse_unstorable

RESERVED_PREFIX: Final = "os_glance_"
_MOST_URI_CHARACTERS = 4096
_MOST_NAME_CHARACTERS = 255
_MOST_BYTES = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ImportRequest:
    """What an import asks for. `stores` None: it names none (then all of them, or the default one).

    `arguments` are the method's own, checked. `document` is the body as it came, for the task that tells of it.
    """

    method: str
    arguments: Mapping[str, Any]
    stores: tuple[str, ...] | None
    all_stores: bool
    all_stores_must_succeed: bool
    document: Mapping[str, Any]


def parse(document: Any, header_store: str | None, enabled: Collection[str], *, multi_store: bool) -> ImportRequest:
    """Check the decoded body; what else it holds is ignored. `header_store` is what x-image-meta-store names.

    Raises Invalid: no method, one that is not `enabled`, contradictions, arguments missing or of the wrong kind.
    """
    name = method_name(document)
    if name not in enabled:
        raise Invalid(f"Unknown import method name '{name}'.")
    all_stores = _flag(document, "all_stores", default=False)
    must_succeed = _flag(document, "all_stores_must_succeed", default=True)
    if not must_succeed and not multi_store:
        raise Invalid("All_stores_must_succeed can only be set with enabled_backends")
    stores = _stores(document, header_store if multi_store else None, all_stores, multi_store=multi_store)
    arguments = _ARGUMENTS[name](document["method"])
    return ImportRequest(name, arguments, stores, all_stores, must_succeed, document)


def method_name(document: Any) -> str:
    """The method that an import asks for. Raises Invalid where it names none."""
    method = document.get("method") if isinstance(document, dict) else None
    if method is None:
        raise Invalid("Import request requires a 'method' field.")
    name = method.get("name") if isinstance(method, dict) else None
    if not isinstance(name, str):
        raise Invalid("Import request requires a 'name' field.")
    return name


def _flag(document: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = document.get(name, default)
    if not isinstance(value, bool):
        raise Invalid(f"'{name}' must be boolean value only.")
    return value


def _stores(
    document: Mapping[str, Any], header_store: str | None, all_stores: bool, *, multi_store: bool
) -> tuple[str, ...] | None:
    named = document.get("stores")
    if named is not None and (not isinstance(named, list) or not all(isinstance(each, str) for each in named)):
        raise Invalid("'stores' must be a list of ids of stores.")
    if all_stores and (named or header_store is not None):
        raise Invalid("All_stores parameter can't be used with x-image-meta-store header or 'stores' parameter.")
    if named is not None and header_store is not None:
        raise Invalid("Stores parameter and x-image-meta-store header can't be both specified.")
    if named == []:
        raise Invalid("'stores' must name at least one store.")
    if not multi_store:
        return None  # there is one, without a name
    found = tuple(dict.fromkeys(named or ([] if header_store is None else [header_store])))
    if any(store.startswith(RESERVED_PREFIX) for store in found):
        raise Invalid("Stores whose ids start with os_glance_ are not for images.")
    return found or None


def _nothing(_method: Mapping[str, Any]) -> dict[str, Any]:
    return {}


def _web_download(method: Mapping[str, Any]) -> dict[str, Any]:
    uri = method.get("uri")
    if not isinstance(uri, str) or not 0 < len(uri) <= _MOST_URI_CHARACTERS:
        raise Invalid("Import method 'web-download' requires a 'uri'.")
    refuse_unstorable(uri, "The uri of an import")
    return {"uri": uri, **_expected(method)}


def _expected(method: Mapping[str, Any]) -> dict[str, Any]:
    """What the data has to be, as far as the caller says: size (bytes), checksum (MD5), os_hash_algo, os_hash_value."""
    size, checksum = method.get("size"), method.get("checksum")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= _MOST_BYTES):
        raise Invalid("'size' must be a number of bytes.")
    if checksum is not None and not _is_hex(checksum, HEX_DIGITS["md5"]):
        raise Invalid("'checksum' must be an MD5 of 32 hexadecimal digits.")
    algorithm, value = method.get("os_hash_algo"), method.get("os_hash_value")
    if (algorithm is None) != (value is None):
        raise Invalid("'os_hash_algo' and 'os_hash_value' go together.")
    if algorithm is not None and (algorithm not in HEX_DIGITS or not _is_hex(value, HEX_DIGITS[algorithm])):
        raise Invalid(f"'os_hash_algo' must be one of {', '.join(HEX_DIGITS)}, 'os_hash_value' its hexadecimal digits.")
    given = {
        "size": size,
        "checksum": checksum.lower() if checksum else None,
        "os_hash_algo": algorithm,
        "os_hash_value": value.lower() if value else None,
    }
    return {name: each for name, each in given.items() if each is not None}


def _is_hex(text: Any, digits: int) -> bool:
    return isinstance(text, str) and len(text) == digits and re.fullmatch(r"[0-9a-fA-F]+", text) is not None


def _glance_download(method: Mapping[str, Any]) -> dict[str, Any]:
    region, image_id = method.get("glance_region"), method.get("glance_image_id")
    interface = method.get("glance_service_interface", "public")
    if not isinstance(region, str) or not 0 < len(region) <= _MOST_NAME_CHARACTERS:
        raise Invalid("Import method 'glance-download' requires a 'glance_region'.")
    if not isinstance(image_id, str) or not image_id:
        raise Invalid("Import method 'glance-download' requires a 'glance_image_id'.")
    refuse_unstorable(region, "The region of an import")
    try:
        known = uuid.UUID(image_id)
    except ValueError:
        known = None
    if known is None or str(known) != image_id.lower():
        raise Invalid("'glance_image_id': the image id does not look like a UUID.")
    if not isinstance(interface, str) or not 0 < len(interface) <= _MOST_NAME_CHARACTERS:
        raise Invalid("'glance_service_interface' must be the name of an interface.")
    refuse_unstorable(interface, "The interface of an import")
    return {"glance_region": region, "glance_image_id": image_id, "glance_service_interface": interface}


_ARGUMENTS = {
    GLANCE_DIRECT: _nothing,
    WEB_DOWNLOAD: _web_download,
    COPY_IMAGE: _nothing,
    GLANCE_DOWNLOAD: _glance_download,
}
