"""Who sees a namespace, what is protected, and names on a type of resources."""

from dataclasses import replace
from typing import Any

import pytest

from blick.model.context import RequestContext
from blick.model.errors import Forbidden
from blick.model.metadef import (
    Association,
    Children,
    MetadefNamespace,
    MetadefObject,
    MetadefProperty,
    MetadefTag,
    as_for,
    is_visible,
    require_unprotected,
)
from tests.support.records import NOW

NAMESPACE = MetadefNamespace(1, "n", None, None, "private", False, "p1", NOW, None)


def caller(**values: Any) -> RequestContext:
    return RequestContext("req", **values)


@pytest.mark.parametrize(
    ("visibility", "owner", "context", "sees"),
    [
        ("private", "p1", caller(project_id="p1"), True),
        ("private", "p1", caller(project_id="p2"), False),
        ("private", "p1", caller(project_id="P1"), False),
        ("private", "p1", caller(), False),
        ("private", "p1", caller(is_admin=True), True),
        ("public", "p1", caller(), True),
        ("private", None, caller(project_id="p2"), True),
        (None, "p1", caller(project_id="p2"), False),
    ],
)
def test_who_sees_it(visibility: str | None, owner: str | None, context: RequestContext, sees: bool) -> None:
    assert is_visible(replace(NAMESPACE, visibility=visibility, owner=owner), context) is sees


def test_protection() -> None:
    require_unprotected(NAMESPACE)
    require_unprotected(replace(NAMESPACE, protected=None))
    with pytest.raises(Forbidden, match="namespace n is protected"):
        require_unprotected(replace(NAMESPACE, protected=True))


def test_names_on_a_type_of_resources() -> None:
    definition = {"title": "t", "type": "string"}
    children = Children(
        associations=[Association("with", prefix="x_"), Association("empty", prefix=""), Association("without")],
        properties=[MetadefProperty("p", {**definition, "name": "p"})],
        objects=[MetadefObject("o", None, ["q", "other"], {"q": definition}), MetadefObject("bare")],
        tags=[MetadefTag("t")],
    )
    changed = as_for(children, "with")
    assert changed.properties == [MetadefProperty("x_p", {**definition, "name": "p"})]
    assert changed.objects == [
        MetadefObject("o", None, ["x_q", "x_other"], {"x_q": definition}),
        MetadefObject("bare"),
    ]
    assert (changed.tags, changed.associations) == (children.tags, children.associations)
    for other in ("empty", "without", "unknown"):
        assert as_for(children, other) is children
