"""Locations that users give: what a list of them may become, and what may be said about their data.

Pure: whether a store knows the data, and who may do this, is decided elsewhere (spec: images-api §15).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from blick.model.errors import Conflict, Forbidden, Invalid, LimitExceeded
from blick.model.image import Image, ImageLocation
from blick.model.image_patch import LocationChange
from blick.model.text import refuse_unstorable

# Schemes of places that no user may name: they would reach into this machine, or at the operator's credentials.
UNTOUCHABLE_SCHEMES: Final = frozenset({"file", "filesystem", "swift+config"})
WEB_SCHEMES: Final = frozenset({"http", "https"})

# What may verify data, with the number of hexadecimal digits of each.
HEX_DIGITS: Final[Mapping[str, int]] = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}
_MOST_CHARACTERS = 4096


@dataclass(frozen=True, slots=True)
class Validation:
    """What the data must hash to; `os_hash_value` is lower-case hex. `checksum` (MD5) is an extra of the old way."""

    os_hash_algo: str
    os_hash_value: str
    checksum: str | None = None


@dataclass(frozen=True, slots=True)
class NewLocation:
    """The body of POST /v2/images/{image_id}/locations."""

    url: str
    validation: Validation | None


@dataclass(frozen=True, slots=True)
class LocationImport:
    """The work behind a NewLocation: `task_id` tells of it, and is the id of its job and its lock as well."""

    task_id: str
    image_id: str
    url: str
    os_hash_algo: str | None
    os_hash_value: str | None

    @classmethod
    def of(cls, task_id: str, image_id: str, new: NewLocation) -> "LocationImport":
        """What is to be done for `new`."""
        validation = new.validation
        algorithm, value = (validation.os_hash_algo, validation.os_hash_value) if validation else (None, None)
        return cls(task_id, image_id, new.url, algorithm, value)

    @property
    def asked(self) -> NewLocation:
        """What it was made of."""
        if self.os_hash_algo is None or self.os_hash_value is None:
            return NewLocation(self.url, None)
        return NewLocation(self.url, Validation(self.os_hash_algo, self.os_hash_value))

    @property
    def validation_data(self) -> dict[str, str]:
        """As it was sent; empty if nothing was."""
        if self.os_hash_algo is None or self.os_hash_value is None:
            return {}
        return {"os_hash_algo": self.os_hash_algo, "os_hash_value": self.os_hash_value}


def scheme_of(uri: str) -> str:
    """The part before the first colon, in lower case."""
    return uri.partition(":")[0].lower()


def without_secrets(uri: str) -> str:
    """The URI for people's eyes: no user and password, no query, which may be a signature."""
    plain, question, _ = uri.partition("?")
    scheme, separator, rest = plain.partition("://")
    if scheme_of(uri) in ("file", "filesystem") or not separator:
        return uri
    # Keys may hold slashes that nobody has encoded: everything up to the last sign counts.
    _, sign, place = rest.rpartition("@")
    return f"{scheme}://{'***@' if sign else ''}{place}{'?***' if question else ''}"


def parse(document: object) -> NewLocation:
    """Check the decoded body of POST /v2/images/{image_id}/locations; what else it holds is ignored. Raises Invalid."""
    if not isinstance(document, dict):
        raise Invalid("Request body must be a JSON object.")
    url = document.get("url")
    if not isinstance(url, str) or not 0 < len(url) <= _MOST_CHARACTERS:
        raise Invalid("A location needs a url, which is a string.")
    refuse_unstorable(url, "The url of a location")
    return NewLocation(url, _new_validation(document.get("validation_data", {})))


def _new_validation(data: object) -> Validation | None:
    if not isinstance(data, dict):
        raise Invalid("validation_data must be an object.")
    if not data:
        return None
    if data.keys() != {"os_hash_algo", "os_hash_value"}:
        raise Invalid("validation_data needs os_hash_algo and os_hash_value, and nothing else.")
    algorithm, value = data["os_hash_algo"], data["os_hash_value"]
    if not isinstance(algorithm, str) or algorithm not in HEX_DIGITS:
        raise Invalid(f"os_hash_algo must be one of {', '.join(HEX_DIGITS)}.")
    if not isinstance(value, str) or not _is_hex(value, HEX_DIGITS[algorithm]):
        raise Invalid(f"os_hash_value must be {HEX_DIGITS[algorithm]} hexadecimal digits for {algorithm}.")
    return Validation(algorithm, value.lower())


def _is_hex(text: str, digits: int) -> bool:
    return len(text) == digits and re.fullmatch(r"[0-9a-fA-F]*", text) is not None


@dataclass(frozen=True, slots=True)
class GivenLocation:
    """A location in a list that is being changed; `id` is its record's, None while it has none."""

    uri: str
    metadata: Mapping[str, Any]
    id: int | None = None
    validation: Mapping[str, Any] | None = None

    @property
    def as_record(self) -> ImageLocation:
        """The same, as the database has it."""
        return ImageLocation(self.uri, self.metadata, self.id)


@dataclass(frozen=True, slots=True)
class LocationList:
    """A list under change. `removed` are the ones that stood in it and were taken out."""

    entries: tuple[GivenLocation, ...] = ()
    removed: tuple[GivenLocation, ...] = ()

    @property
    def added(self) -> tuple[GivenLocation, ...]:
        """The entries without a record."""
        return tuple(entry for entry in self.entries if entry.id is None)

    def changed(self, change: LocationChange, quota: int) -> "LocationList":
        """The list after one change; its values name their stores already.

        Raises Forbidden (the last one, or all, would go), Invalid (position, doubles, other URLs than before),
        LimitExceeded over `quota` (negative: none).
        """
        if change.operation == "remove":
            return self._without(change.index)
        if change.operation == "replace":
            return self._replaced(change.value, quota)
        at = len(self.entries) if change.index is None else min(change.index, len(self.entries))
        given = _given(change.value)
        return replace(self, entries=_checked((*self.entries[:at], given, *self.entries[at:]), quota))

    def _without(self, index: int | None) -> "LocationList":
        if index is None or index >= len(self.entries):
            raise Invalid("There is no location at this position.")
        if len(self.entries) == 1:
            raise Forbidden("The last location of an image cannot be removed.")
        taken = self.entries[index]
        removed = self.removed if taken.id is None else (*self.removed, taken)
        return LocationList((*self.entries[:index], *self.entries[index + 1 :]), removed)

    def _replaced(self, values: Sequence[Mapping[str, Any]], quota: int) -> "LocationList":
        if not values:
            raise Forbidden("The locations of an image cannot be replaced by an empty list.")
        given = [_given(value) for value in values]
        if not self.entries:
            return replace(self, entries=_checked(given, quota))
        left = list(self.entries)
        entries = []
        for one in given:
            known = next((entry for entry in left if entry.uri == one.uri), None)
            if known is None:
                raise _other_urls()
            left.remove(known)
            entries.append(replace(one, id=known.id))
        if left:
            raise _other_urls()
        return replace(self, entries=_checked(entries, quota))


def _other_urls() -> Invalid:
    return Invalid("A list of locations can only be replaced by one of the same URLs.")


def _given(value: Mapping[str, Any]) -> GivenLocation:
    if not _is_plain(value["metadata"]):
        raise Invalid("The metadata of a location holds strings, lists and objects only.")
    return GivenLocation(value["url"], dict(value["metadata"]), None, value.get("validation_data"))


def _is_plain(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
    return all(map(_is_plain, value)) if isinstance(value, list) else isinstance(value, str)


def _checked(entries: Iterable[GivenLocation], quota: int) -> tuple[GivenLocation, ...]:
    checked = tuple(entries)
    for position, entry in enumerate(checked):
        if any((other.uri, other.metadata) == (entry.uri, entry.metadata) for other in checked[:position]):
            raise Invalid("This location is in the list already.")
    if 0 <= quota < len(checked):
        raise LimitExceeded(f"The limit has been exceeded on the number of allowed image locations: {quota}")
    return checked


@dataclass(frozen=True, slots=True)
class KnownHashes:
    """What is known of an image's data while locations are added: by the record, or by validation data before."""

    values: Mapping[str, str | None] = field(default_factory=dict)

    def with_validation(
        self, data: Mapping[str, Any] | None, image: Image, algorithm: str, digits: int
    ) -> "KnownHashes":
        """What is known once `data` (checked against the schema) is believed. `algorithm` is the service's own.

        Raises Conflict where it cannot be believed: malformed, another algorithm, or not what is known already.
        """
        if data is None:
            return self
        if data["os_hash_algo"] != algorithm:
            raise Conflict(f"os_hash_algo must be {algorithm}.")
        if not _is_hex(data["os_hash_value"], digits) or not _is_hex(data.get("checksum", "0" * 32), 32):
            raise Conflict("The values in validation_data are not hexadecimal, or not of the right length.")
        given = {name: data[name].lower() for name in ("checksum", "os_hash_value") if name in data}
        given["os_hash_algo"] = algorithm
        stored: Mapping[str, str | None] = self.values
        if not stored and image.status != "queued":
            stored = {name: getattr(image, name) for name in ("checksum", "os_hash_algo", "os_hash_value")}
        if stored and any(stored.get(name) != value for name, value in given.items()):
            raise Conflict("validation_data is not what is stored of this image.")
        return KnownHashes({**stored, **given} if stored else given)
