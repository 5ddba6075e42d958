"""The body of a new image."""

from typing import Any

import pytest

from blick.conf.settings import ImageFormatSettings
from blick.model.errors import Forbidden, Invalid, LimitExceeded
from blick.model.image_input import NewImage, check_property_quota, check_tag, check_tag_quota, parse
from blick.model.schema import image_schema

FORMATS = ImageFormatSettings()
SCHEMA = image_schema(FORMATS.disk_formats, FORMATS.container_formats)
UUID = "0123ABCD-0000-0000-0000-0123456789ab"


def test_an_empty_body_has_the_defaults() -> None:
    image = parse({}, SCHEMA)
    assert image == NewImage()
    assert (image.id, image.name, image.visibility, image.owner, image.owner_given) == (
        None,
        None,
        "shared",
        None,
        False,
    )
    assert (image.protected, image.os_hidden, image.min_disk, image.min_ram) == (False, False, 0, 0)
    assert (image.disk_format, image.container_format, image.tags, dict(image.properties)) == (None, None, (), {})


def test_everything_at_once() -> None:
    image = parse(
        {
            "zeta": "1", "id": UUID, "name": "n", "visibility": "public", "owner": "", "protected": True,
            "os_hidden": True, "min_disk": 5.0, "min_ram": 64, "disk_format": "raw", "container_format": "bare",
            "tags": ["b", "a", "b"], "alpha": "", "kernel_id": None,
        },
        SCHEMA,
    )  # fmt: skip
    assert (image.id, image.owner, image.owner_given, image.tags) == (UUID, "", True, ("b", "a", "b"))
    assert list(image.properties.items()) == [("zeta", "1"), ("alpha", ""), ("kernel_id", None)]
    assert image.min_disk == 5
    assert isinstance(image.min_disk, int)


@pytest.mark.parametrize("owner", [None, "project"])
def test_a_given_owner_is_told_from_none(owner: str | None) -> None:
    image = parse({"owner": owner}, SCHEMA)
    assert (image.owner, image.owner_given) == (owner, True)


@pytest.mark.parametrize("body", [None, [], "x", 5, True])
def test_bodies_that_are_no_object(body: Any) -> None:
    with pytest.raises(Invalid, match="JSON object"):
        parse(body, SCHEMA)


@pytest.mark.parametrize(
    "body",
    [
        {"id": "x"}, {"id": UUID + "\n"}, {"name": 1}, {"name": "x" * 256}, {"tags": "x"}, {"tags": [1]},
        {"visibility": "all"}, {"disk_format": "floppy"}, {"min_disk": -1}, {"min_disk": 2**31}, {"min_ram": True},
        {"min_ram": 1.5}, {"protected": "true"}, {"protected": 1}, {"custom": 1}, {"custom": None}, {"custom": True},
        {"x" * 256: "v"}, {"kernel_id": "abc"}, {"name": "\U0001f600"}, {"tags": ["\U0001f600"]},
        {"a\U0001f600": "v"}, {"custom": "\U0001f600"}, {"custom": "a\x00b"}, {"custom": "\ud800"}, {"status": "odd"},
    ],
)  # fmt: skip
def test_values_that_make_no_sense(body: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        parse(body, SCHEMA)


@pytest.mark.parametrize(
    "body",
    [
        {"created_at": "x"}, {"updated_at": "x"}, {"status": "queued"}, {"checksum": None}, {"size": 1},
        {"virtual_size": 1}, {"direct_url": "x"}, {"self": "x"}, {"file": "x"}, {"schema": "x"}, {"stores": "x"},
        {"os_hash_algo": "sha512"}, {"os_hash_value": "0"}, {"location": "x"}, {"locations": []}, {"deleted": "x"},
        {"deleted_at": "x"}, {"os_glance_x": "x"}, {"os_glanced": "x"},
    ],
)  # fmt: skip
def test_names_that_nobody_sets(body: dict[str, Any]) -> None:
    with pytest.raises(Forbidden, match=r"read-only|reserved"):
        parse(body, SCHEMA)


def test_the_operators_own_properties() -> None:
    declaration = {
        "properties": {"count": {"type": "integer"}, "on": {"type": "boolean"}, "team": {"type": "string"}},
        "required": ["team", "name"],
    }
    schema = image_schema(FORMATS.disk_formats, FORMATS.container_formats, declaration)
    with pytest.raises(Invalid, match="team, name is required"):
        parse({}, schema)
    image = parse({"team": "a", "name": "n", "count": 3, "on": True}, schema)
    assert dict(image.properties) == {"team": "a", "count": "3", "on": "true"}


def test_names_of_the_programs_inside_are_plain_properties() -> None:
    names = ["image_id", "extra_properties", "base", "member", "owner_given", "properties", ""]
    assert list(parse(dict.fromkeys(names, "x"), SCHEMA).properties) == names


def test_quotas() -> None:
    check_property_quota(3, 3)
    check_property_quota(3, -1)
    check_tag_quota(0, 0)
    with pytest.raises(LimitExceeded, match="Attempted: 4, Maximum: 3"):
        check_property_quota(4, 3)
    with pytest.raises(LimitExceeded, match="tags"):
        check_tag_quota(1, 0)


def test_tags() -> None:
    check_tag("x" * 255)
    for tag in ("x" * 256, "\U0001f600", "a\x00"):
        with pytest.raises(Invalid):
            check_tag(tag)
