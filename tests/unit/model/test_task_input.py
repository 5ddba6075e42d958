"""What the body of POST /v2/tasks may be."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blick.model.errors import Invalid
from blick.model.task_input import NewTask, parse


@pytest.mark.parametrize("type_", ["import", "api_image_import", "location_import"])
def test_what_is_wanted(type_: str) -> None:
    assert parse({"type": type_, "input": {"a": {"b": [1]}}}) == NewTask(type_, {"a": {"b": [1]}})
    assert parse({"type": type_, "input": None}) == NewTask(type_, {})


def test_what_the_service_sets_itself_is_passed_over() -> None:
    mine = {"status": "success", "owner": "me", "message": "done", "result": {"x": 1}, "self": "s", "schema": "t"}
    assert parse({"type": "import", "input": {}, **mine}) == NewTask("import", {})


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ([], "Task 'type' is required"),
        ({}, "Task 'type' is required"),
        ({"input": {}}, "Task 'type' is required"),
        ({"type": "import"}, "Task 'input' is required"),
        ({"type": "export", "input": {}}, "'type'"),
        ({"type": 7, "input": {}}, "'type'"),
        ({"type": None, "input": {}}, "'type'"),
        ({"type": "import", "input": []}, "'input'"),
        ({"type": "import", "input": "x"}, "'input'"),
        ({"type": "import", "input": {}, "extra": 1}, "'extra'"),
        ({"type": "import", "input": {}, "id": "x"}, "'id'"),
        ({"type": "import", "input": {}, "status": "done"}, "'status'"),
        ({"type": "import", "input": {}, "owner": 7}, "'owner'"),
        ({"type": "import", "input": {"a": "\x00"}}, "NUL"),
        ({"type": "import", "input": {"a": ["\U0001f600"]}}, "four bytes"),
    ],
)
def test_refused(body: Any, text: str) -> None:
    with pytest.raises(Invalid, match=text):
        parse(body)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(["type", "input", "id"]), inner),
    max_leaves=8,
)


@given(_JSON)
def test_no_body_breaks_the_reader(body: Any) -> None:
    with contextlib.suppress(Invalid):
        parse(body)
