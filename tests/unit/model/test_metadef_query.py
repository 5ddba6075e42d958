"""What the list of namespaces may be asked."""

import pytest

from blick.model.errors import Invalid
from blick.model.image_query import SortKey
from blick.model.metadef_query import SORT_KEYS, NamespaceQuery, parse, parse_resource_type
from blick.model.page import PageLimits

LIMITS = PageLimits(default=25, max=1000)


def test_nothing() -> None:
    assert parse([], LIMITS) == NamespaceQuery(25)


def test_everything() -> None:
    given = [
        ("limit", "5000"), ("marker", "m"), ("sort_key", "owner"), ("sort_dir", "asc"), ("visibility", "public"),
        ("resource_types", "a,b,"), ("limit", "1"), ("unknown", "x"),
    ]  # fmt: skip
    assert parse(given, LIMITS) == NamespaceQuery(1000, "m", SortKey("owner", False), "public", ("a", "b", ""))
    for key in SORT_KEYS:
        assert parse([("sort_key", key)], LIMITS).sort == SortKey(key, True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "-1"), ("limit", "x"), ("sort_key", "x"), ("sort_key", ""), ("sort_dir", "x"), ("sort_dir", ""),
        ("visibility", "shared"), ("marker", "\x00"), ("\x00", ""),
    ],
)  # fmt: skip
def test_what_makes_no_sense(name: str, value: str) -> None:
    with pytest.raises(Invalid):
        parse([(name, value)], LIMITS)


def test_of_one_namespace() -> None:
    assert parse_resource_type([]) is None
    assert parse_resource_type([("resource_type", "")]) is None
    assert parse_resource_type([("resource_type", "a"), ("resource_type", "b"), ("visibility", "private")]) == "b"
    for bad in (("visibility", "x"), ("resource_type", "\x00")):
        with pytest.raises(Invalid):
            parse_resource_type([bad])
