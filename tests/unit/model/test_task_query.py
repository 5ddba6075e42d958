"""What a query of the list of tasks may say."""

import contextlib
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blick.model.errors import Invalid
from blick.model.image_query import SortKey
from blick.model.page import PageLimits
from blick.model.task_query import TEXTS, TIMES, TaskQuery, parse

LIMITS = PageLimits()
ID = "11111111-1111-4111-8111-111111111111"


def read(*parameters: tuple[str, str]) -> TaskQuery:
    return parse(parameters, LIMITS)


def test_nothing_asked() -> None:
    assert read() == TaskQuery(limit=25, sort=SortKey("created_at", descending=True))


def test_everything_asked() -> None:
    asked = read(
        ("limit", "2"),
        ("marker", ID),
        ("sort_key", "status"),
        ("sort_dir", "asc"),
        ("status", "success"),
        ("type", "import"),
        ("updated_at", "2026-01-02T03:04:05Z"),
        ("wumm", "x"),
    )
    filters = {"status": "success", "type": "import", "updated_at": datetime.fromisoformat("2026-01-02T03:04:05")}
    assert asked == TaskQuery(2, ID, SortKey("status", descending=False), filters)


def test_of_a_repeated_parameter_the_first_counts() -> None:
    assert read(("sort_key", "id"), ("limit", "3"), ("sort_key", "nothing"), ("limit", "x")) == TaskQuery(
        3, sort=SortKey("id", descending=True)
    )


@pytest.mark.parametrize(
    "parameter",
    [
        ("limit", "x"),
        ("limit", "-1"),
        ("marker", "x"),
        ("marker", ""),
        ("marker", ID + "0"),
        ("sort_key", "message"),
        ("sort_key", ""),
        ("sort_dir", "up"),
        ("status", "done"),
        ("type", "export"),
        ("type", "api_image_import"),
        ("type", "location_import"),
        ("owner", "a\x00"),
    ],
)
def test_refused(parameter: tuple[str, str]) -> None:
    with pytest.raises(Invalid):
        read(parameter)


@pytest.mark.parametrize(
    "parameter",
    [
        ("status", ""),
        ("type", ""),
        ("created_at", "yesterday"),
        ("expires_at", ""),
        ("owner", "\U0001f600"),
        ("id", ""),
    ],
)
def test_what_no_task_can_have(parameter: tuple[str, str]) -> None:
    assert read(parameter).matches_nothing
    assert not read().matches_nothing


_NAMES = st.sampled_from(["limit", "marker", "sort_key", "sort_dir", "wumm", *TEXTS, *TIMES])


@given(st.lists(st.tuples(_NAMES, st.text())))
def test_no_query_breaks_the_reader(parameters: list[tuple[str, str]]) -> None:
    with contextlib.suppress(Invalid):
        parse(parameters, LIMITS)
