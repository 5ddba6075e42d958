"""Reading the query of a list."""

import contextlib
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blick.model.errors import Invalid
from blick.model.image_query import Comparison, ImageQuery, SortKey, parse
from blick.model.page import PageLimits

LIMITS = PageLimits(default=25, max=1000)


def read(*parameters: tuple[str, str]) -> ImageQuery:
    return parse(parameters, LIMITS)


def comparison(name: str, value: str) -> Comparison:
    (only,) = read((name, value)).comparisons
    return only


def order(*parameters: tuple[str, str]) -> list[str]:
    return [f"{key.name} {'desc' if key.descending else 'asc'}" for key in read(*parameters).sort]


def test_nothing_asked_is_the_default_list() -> None:
    assert read() == ImageQuery(
        limit=25,
        marker=None,
        sort=(SortKey("created_at", descending=True), SortKey("id", descending=True)),
        comparisons=(),
        properties=(),
        tags=(),
        visibility=None,
        member_status="accepted",
        os_hidden=False,
        matches_nothing=False,
    )


@pytest.mark.parametrize(("text", "limit"), [("0", 0), ("7", 7), ("1000", 1000), ("5000", 1000), ("9" * 30, 1000)])
def test_limit(text: str, limit: int) -> None:
    assert read(("limit", text)).limit == limit


@pytest.mark.parametrize("text", ["", "-1", "1.5", "many", "1_0", "٣", "0x10", "9" * 50])
def test_limits_that_are_none(text: str) -> None:
    with pytest.raises(Invalid):
        read(("limit", text))


def test_the_default_limit_is_capped() -> None:
    assert parse((), PageLimits(default=25, max=10)).limit == 10


def test_marker_is_handed_on_unchecked() -> None:
    assert read(("marker", "no such")).marker == "no such"


# Order


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ((("sort", "name"),), ["name desc", "created_at desc", "id desc"]),
        ((("sort", "name:asc"),), ["name asc", "created_at asc", "id asc"]),
        ((("sort", " name : asc , status "),), ["name asc", "status desc", "created_at desc", "id desc"]),
        ((("sort", "name"), ("sort", "size:asc")), ["name desc", "size asc", "created_at desc", "id desc"]),
        ((("sort", "id:asc"),), ["id asc", "created_at asc"]),
        ((("sort", "name:asc,name:desc"),), ["name asc", "created_at desc", "id desc"]),
        ((("sort_key", "name"),), ["name desc", "created_at desc", "id desc"]),
        ((("sort_key", "name"), ("sort_key", "size")), ["name desc", "size desc", "created_at desc", "id desc"]),
        (
            (("sort_key", "name"), ("sort_key", "size"), ("sort_dir", "asc")),
            ["name asc", "size asc", "created_at asc", "id asc"],
        ),
        (
            (("sort_key", "name"), ("sort_dir", "asc"), ("sort_key", "size"), ("sort_dir", "desc")),
            ["name asc", "size desc", "created_at desc", "id desc"],
        ),
        ((("sort_dir", "asc"),), ["created_at asc", "id asc"]),
    ],
)
def test_sort(parameters: tuple[tuple[str, str], ...], expected: list[str]) -> None:
    assert order(*parameters) == expected


@pytest.mark.parametrize(
    "parameters",
    [
        [("sort", "")], [("sort", "owner")], [("sort", "name:up")], [("sort", "name:")], [("sort", "name,")],
        [("sort", "name"), ("sort_key", "name")], [("sort", "name"), ("sort_dir", "asc")],
        [("sort_key", "min_ram")], [("sort_key", "")], [("sort_dir", "ASC")], [("sort_dir", "")],
        [("sort_dir", "asc"), ("sort_dir", "asc")],
        [("sort_key", "name"), ("sort_key", "id"), ("sort_key", "size"), ("sort_dir", "asc"), ("sort_dir", "asc")],
    ],
)  # fmt: skip
def test_orders_that_are_none(parameters: list[tuple[str, str]]) -> None:
    with pytest.raises(Invalid):
        read(*parameters)


# Filters


@pytest.mark.parametrize("name", ["name", "id", "status", "container_format", "disk_format"])
def test_texts_know_two_operators(name: str) -> None:
    assert comparison(name, "x") == Comparison(name, "eq", ("x",))
    assert comparison(name, "") == Comparison(name, "eq", ("",))
    assert comparison(name, "eq:a:b") == Comparison(name, "eq", ("a:b",))
    assert comparison(name, "in:a,b") == Comparison(name, "in", ("a", "b"))
    for refused in ("neq:x", "gt:x", "a:b", ":x", "EQ:x"):
        with pytest.raises(Invalid, match="operator"):
            read((name, refused))


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("a", ("a",)),
        ('"glass, darkly",share me', ("glass, darkly", "share me")),
        ('"a"', ("a",)),
        (r'"say \"hi\"","back\\slash"', ('say "hi"', r"back\slash")),
        ('""', ("",)),
        ("a,,b,", ("a", "b")),
        ("a,b,a", ("a", "b")),
        (" a ,b", (" a ", "b")),
        ("x:y", ("x:y",)),
    ],
)
def test_lists(text: str, items: tuple[str, ...]) -> None:
    assert comparison("name", f"in:{text}") == Comparison("name", "in", items)


@pytest.mark.parametrize("text", ['"', '"a', 'a"', 'a"b"', '"a"b', '"a" ,b', '"a\\"', '"a""b"'])
def test_lists_with_stray_quotes(text: str) -> None:
    with pytest.raises(Invalid, match="quotes"):
        read(("name", f"in:{text}"))


def test_an_empty_list_matches_nothing() -> None:
    assert read(("name", "in:")).matches_nothing


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\x00", max_codepoint=0xFFFF, exclude_categories=["Cs"])), max_size=5
    )
)
def test_any_text_can_be_put_into_a_list(items: list[str]) -> None:
    quoted = ",".join('"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"' for item in items)
    assert comparison("name", f"in:{quoted}").values == tuple(dict.fromkeys(items))


def test_texts_that_no_database_holds_match_nothing() -> None:
    assert comparison("name", "in:a,\U0001f600").values == ("a",)
    for name in ("name", "tag", "custom", "\U0001f600"):
        assert read((name, "\U0001f600")).matches_nothing


@pytest.mark.parametrize(
    ("text", "operator", "moment"),
    [
        ("2026-02-03T04:05:06Z", "eq", "2026-02-03T04:05:06"),
        ("gt:2026-02-03T04:05:06+02:00", "gt", "2026-02-03T02:05:06"),
        ("gte:2026-02-03", "gte", "2026-02-03"),
        ("lt:2026-02-03T04:05:06.123456", "lt", "2026-02-03T04:05:06.123456"),
        ("lte:20260203T040506Z", "lte", "2026-02-03T04:05:06"),
        ("neq:2026-02", "neq", "2026-02-01"),
        ("eq:2026", "eq", "2026-01-01"),
        ("2026-02-03 04:05", "eq", "2026-02-03T04:05"),
    ],
)
@pytest.mark.parametrize("name", ["created_at", "updated_at"])
def test_times(name: str, text: str, operator: str, moment: str) -> None:
    assert comparison(name, text) == Comparison(name, operator, (datetime.fromisoformat(moment),))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text", ["", "soon", "gt:", "in:2026-02-03", "2026-13-01", "gt:gt:2026-02-03", "0001-01-01T00:00:00+05:00"]
)
def test_times_that_are_none(text: str) -> None:
    with pytest.raises(Invalid):
        read(("created_at", text))


def test_numbers() -> None:
    assert comparison("size_min", "10") == Comparison("size", "gte", (10,))
    assert comparison("size_max", "-1") == Comparison("size", "lte", (-1,))
    assert comparison("min_ram_min", "512") == Comparison("min_ram", "gte", (512,))
    assert comparison("virtual_size_max", "9" * 30) == Comparison("virtual_size", "lte", (2**63 - 1,))
    assert comparison("min_disk", "4") == Comparison("min_disk", "eq", (4,))
    for refused in ("", "ten", "1.0", "1e3"):
        with pytest.raises(Invalid, match="number"):
            read(("size_min", refused))


def test_a_size_that_is_no_number_matches_nothing() -> None:
    assert read(("size", "big")).matches_nothing
    assert not read(("size", "0")).matches_nothing


@pytest.mark.parametrize("name", ["owner", "checksum", "os_hash_algo", "os_hash_value"])
def test_exact_texts(name: str) -> None:
    assert comparison(name, "in:a,b") == Comparison(name, "eq", ("in:a,b",))


def test_protected() -> None:
    assert comparison("protected", "true") == Comparison("protected", "eq", (True,))
    assert comparison("protected", "false") == Comparison("protected", "eq", (False,))
    for refused in ("True", "", "1", "yes"):
        with pytest.raises(Invalid):
            read(("protected", refused))


@pytest.mark.parametrize(("text", "hidden"), [("true", True), ("TRUE", True), ("False", False)])
def test_hidden(text: str, hidden: bool) -> None:
    assert read(("os_hidden", text)).os_hidden is hidden


@pytest.mark.parametrize(
    "parameter",
    [
        ("os_hidden", ""), ("os_hidden", "1"), ("visibility", "secret"), ("visibility", "Public"),
        ("member_status", ""), ("member_status", "maybe"), ("changes-since", "2026-01-01"),
        ("a\x00", "b"), ("a", "\x00"),
    ],
)  # fmt: skip
def test_values_that_are_refused(parameter: tuple[str, str]) -> None:
    with pytest.raises(Invalid):
        read(parameter)


def test_visibility() -> None:
    for visibility in ("public", "private", "shared", "community", "all"):
        query = read(("visibility", visibility))
        assert query.visibility == visibility
        assert not query.matches_nothing
    assert read(("visibility", "")).matches_nothing


@pytest.mark.parametrize("status", ["pending", "accepted", "rejected", "all"])
def test_member_status(status: str) -> None:
    assert read(("member_status", status)).member_status == status


def test_tags_add_up() -> None:
    assert read(("tag", " a "), ("name", "x"), ("tag", "b"), ("tag", "a")).tags == ("a", "b")


def test_everything_else_is_a_custom_property() -> None:
    query = read(("foo_min", "1"), ("properties", "x"), ("members", "y"), ("os_distro", "in:a,b"), ("name_min", "z"))
    assert query.comparisons == ()
    assert query.properties == (
        ("foo_min", "1"), ("properties", "x"), ("members", "y"), ("os_distro", "in:a,b"), ("name_min", "z"),
    )  # fmt: skip


def test_of_repeats_the_last_counts() -> None:
    query = read(("a", "1"), ("name", "x"), ("a", "2"), ("name", "y"), ("limit", "1"), ("limit", "2"))
    assert query.properties == (("a", "2"),)
    assert query.comparisons == (Comparison("name", "eq", ("y",)),)
    assert query.limit == 2


def test_what_is_gone_is_ignored_where_it_says_nothing() -> None:
    assert read(("deleted", "true"), ("changes-since", "")) == read()


@given(st.lists(st.tuples(st.sampled_from(
    ["name", "sort", "sort_key", "size_min", "created_at", "tag", "limit", "visibility", "x"]), st.text()
)))  # fmt: skip
def test_no_query_breaks_the_reader(parameters: list[tuple[str, str]]) -> None:
    with contextlib.suppress(Invalid):
        query = parse(parameters, LIMITS)
        assert 0 <= query.limit <= LIMITS.max
        assert {key.name for key in query.sort} >= {"created_at", "id"}
