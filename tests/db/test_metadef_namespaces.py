"""Namespaces of metadata definitions, and their resource types, on every engine."""

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any
from urllib.parse import parse_qsl

import pytest
from sqlalchemy import Connection, func, select

from blick.db import metadef_documents, metadef_namespaces, metadef_objects, metadef_resource_types, tables
from blick.db.engine import Database
from blick.model.errors import Conflict, Forbidden, NotFound
from blick.model.metadef import (
    Association,
    Children,
    MetadefNamespace,
    MetadefObject,
    MetadefProperty,
    MetadefTag,
    NewNamespace,
)
from blick.model.metadef_query import parse
from blick.model.page import PageLimits
from tests.support.records import NOW, race

P = {"title": "t", "type": "string"}
LATER = NOW + timedelta(seconds=5)
CHILDREN = Children(
    associations=[Association("z", "pre", "target"), Association("a")],
    properties=[MetadefProperty("b", P), MetadefProperty("a", {**P, "default": None})],
    objects=[MetadefObject("b", "d", ["q", "r"], {"q": P}), MetadefObject("a")],
    tags=[MetadefTag("b"), MetadefTag("a")],
)
TABLES = (
    tables.metadef_namespaces,
    tables.metadef_objects,
    tables.metadef_properties,
    tables.metadef_tags,
    tables.metadef_namespace_resource_types,
    tables.metadef_resource_types,
)


def create(database: Database, name: str = "n", children: Children | None = None, **more: Any) -> MetadefNamespace:
    owner = more.pop("owner", "p1")
    now = more.pop("now", NOW)
    new = NewNamespace(name, **more)
    return database.write_now(metadef_documents.create, new, children or Children(), owner, now)


def counts(database: Database) -> list[int]:
    """Rows of each kind: namespaces, objects, properties, tags, associations, resource types."""

    def count(connection: Connection) -> list[int]:
        return [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in TABLES]

    return database.read_now(count)


def page(database: Database, query: str = "", seen_by: str | None = None, *, is_admin: bool = True) -> list[str]:
    asked = parse(parse_qsl(query, keep_blank_values=True), PageLimits())
    found = database.read_now(metadef_namespaces.page, asked, seen_by, is_admin=is_admin)
    return [namespace.name for namespace, _ in found]


def test_whole(database: Database) -> None:
    made = create(database, children=CHILDREN, display_name="N", description="d", visibility="public", protected=True)
    assert made == MetadefNamespace(made.id, "n", "N", "d", "public", True, "p1", NOW, NOW)
    assert database.read_now(metadef_namespaces.get, "n") == made
    times = {"created_at": NOW, "updated_at": NOW}
    assert database.read_now(metadef_documents.children, made.id) == Children(
        associations=[replace(each, **times) for each in CHILDREN.associations],
        properties=CHILDREN.properties,
        objects=[
            replace(CHILDREN.objects[0], required=["q", "r"], **times),
            replace(CHILDREN.objects[1], required=[], properties={}, **times),
        ],
        tags=[replace(each, **times) for each in reversed(CHILDREN.tags)],
    )
    assert counts(database) == [1, 2, 2, 2, 2, 2]


@pytest.mark.parametrize(
    "twice",
    [
        Children(associations=[Association("x"), Association("x", "y")]),
        Children(properties=[MetadefProperty("x", P), MetadefProperty("x", P)]),
        Children(objects=[MetadefObject("x"), MetadefObject("x")]),
        Children(tags=[MetadefTag("x"), MetadefTag("x")]),
    ],
)
def test_all_or_nothing(database: Database, twice: Children) -> None:
    with pytest.raises(Conflict):
        create(database, children=twice)
    assert counts(database) == [0] * 6


def test_a_name_is_there_once(database: Database) -> None:
    create(database)
    with pytest.raises(Conflict, match="namespace=n already exists"):
        create(database, owner="p2", children=CHILDREN)
    assert counts(database) == [1, 0, 0, 0, 0, 0]


def test_of_racing_ones_one_is_made_whole(database: Database) -> None:
    made = race([partial(create, database, children=CHILDREN, owner=f"p{number}") for number in range(8)])
    won = [each for each in made if isinstance(each, MetadefNamespace)]
    assert len(won) == 1
    assert all(isinstance(each, Conflict | MetadefNamespace) for each in made), made
    assert database.read_now(metadef_namespaces.get, "n") == won[0]
    assert counts(database) == [1, 2, 2, 2, 2, 2]


def test_racing_ones_share_new_types(database: Database) -> None:
    """In whichever order they name them."""
    orders = [CHILDREN, replace(CHILDREN, associations=CHILDREN.associations[::-1])]
    made = race([partial(create, database, f"n{number}", children=orders[number % 2]) for number in range(8)])
    assert all(isinstance(each, MetadefNamespace) for each in made), made
    assert counts(database) == [8, 16, 16, 16, 16, 2]


def test_replace(database: Database) -> None:
    made = create(database, children=CHILDREN, display_name="N", description="d", protected=True)
    new = NewNamespace("other", visibility="public")
    changed = database.write_now(metadef_namespaces.replace, made.id, new, "p2", LATER)
    assert changed == MetadefNamespace(made.id, "other", None, None, "public", False, "p2", NOW, LATER)
    assert database.read_now(metadef_namespaces.get, "other") == changed
    assert database.read_now(metadef_namespaces.get, "n") is None
    assert counts(database) == [1, 2, 2, 2, 2, 2]
    create(database)
    with pytest.raises(Conflict, match="same name of n"):
        database.write_now(metadef_namespaces.replace, made.id, NewNamespace("n"), "p2", LATER)
    assert database.read_now(metadef_namespaces.get, "other") == changed


def test_delete(database: Database) -> None:
    made, kept = create(database, children=CHILDREN), create(database, "kept", children=CHILDREN)
    database.write_now(metadef_documents.delete_whole, made.id)
    assert counts(database) == [1, 2, 2, 2, 2, 2]
    assert database.read_now(metadef_namespaces.get, "kept") == kept
    with pytest.raises(NotFound):
        database.write_now(metadef_documents.delete_whole, made.id)


def test_what_is_protected_by_now_stays(database: Database) -> None:
    made = create(database, children=CHILDREN)
    database.write_now(metadef_namespaces.replace, made.id, NewNamespace("n", protected=True), "p1", LATER)
    with pytest.raises(Forbidden):
        database.write_now(metadef_documents.delete_whole, made.id)
    with pytest.raises(Forbidden):
        database.write_now(metadef_resource_types.dissociate, made.id, "a")
    assert counts(database) == [1, 2, 2, 2, 2, 2]


def test_nothing_comes_into_what_is_gone(database: Database) -> None:
    made = create(database)
    database.write_now(metadef_documents.delete_whole, made.id)
    for change in (
        partial(metadef_resource_types.associate, namespace_id=made.id, new=Association("x"), now=NOW),
        partial(metadef_resource_types.dissociate, namespace_id=made.id, name="x"),
        partial(metadef_namespaces.replace, namespace_id=made.id, new=NewNamespace("n"), owner="p1", now=NOW),
        partial(metadef_objects.add, namespace_id=made.id, item=MetadefObject("o"), now=NOW),
    ):
        with pytest.raises(NotFound):
            database.write_now(change)
    assert counts(database) == [0] * 6


def test_deleting_races_with_what_comes_into_it(database: Database) -> None:
    """Nothing is left of it, whoever is first."""
    for _ in range(5):
        made = create(database)
        adding = [
            partial(database.write_now, metadef_objects.add, made.id, MetadefObject(f"o{number}"), NOW)
            for number in range(3)
        ]
        associating = [
            partial(database.write_now, metadef_resource_types.associate, made.id, Association(f"r{number}"), NOW)
            for number in range(3)
        ]
        deleting = partial(database.write_now, metadef_documents.delete_whole, made.id)
        results = race([*adding, deleting, *associating])
        assert results[3] is None
        assert all(isinstance(each, NotFound) or not isinstance(each, Exception) for each in results), results
        assert counts(database)[:5] == [0] * 5


def test_associations(database: Database) -> None:
    made = create(database)
    first = database.write_now(metadef_resource_types.associate, made.id, Association("r", "p", "t"), NOW)
    second = database.write_now(metadef_resource_types.associate, made.id, Association("a"), LATER)
    assert (first, second) == (Association("r", "p", "t", NOW, NOW), Association("a", None, None, LATER, LATER))
    assert database.read_now(metadef_resource_types.of_namespace, made.id) == [first, second]
    with pytest.raises(Conflict):
        database.write_now(metadef_resource_types.associate, made.id, Association("r"), LATER)
    assert [(each.name, each.protected) for each in database.read_now(metadef_resource_types.every)] == [
        ("r", False),
        ("a", False),
    ]
    database.write_now(metadef_resource_types.dissociate, made.id, "r")
    with pytest.raises(NotFound, match="Failed to find resource type r to delete"):
        database.write_now(metadef_resource_types.dissociate, made.id, "r")
    assert database.read_now(metadef_resource_types.of_namespace, made.id) == [second]
    assert len(database.read_now(metadef_resource_types.every)) == 2


def test_pages(database: Database) -> None:
    """Every walk through the pages gives each once, however many values are the same or not there."""
    for number in range(7):
        texts = {"description": f"d{number % 2}"} if number % 3 else {"display_name": "D"}
        create(
            database, f"n{number}", now=NOW + timedelta(seconds=number // 2), protected=number % 2 == 0,
            owner=f"p{number % 2}", children=CHILDREN if number % 2 else None, **texts,
        )  # fmt: skip
    every = [f"n{number}" for number in range(7)]
    assert page(database) == every[::-1]
    for key in ("id", "namespace", "display_name", "description", "visibility", "protected", "owner", "created_at",
                "updated_at"):  # fmt: skip
        for direction in ("asc", "desc"):
            query = f"sort_key={key}&sort_dir={direction}"
            whole = page(database, query)
            assert sorted(whole) == every
            walked: list[str] = []
            while found := page(database, f"{query}&limit=2" + (f"&marker={walked[-1]}" if walked else "")):
                walked += found
            assert walked == whole, query
    assert page(database, "sort_key=protected&sort_dir=asc")[:3] == ["n1", "n3", "n5"]
    assert page(database, "sort_key=description&sort_dir=asc")[:3] == ["n0", "n3", "n6"]


def test_who_sees_what(database: Database) -> None:
    create(database, "public", owner="p1", visibility="public")
    create(database, "own", owner="p2")
    create(database, "other", owner="P2")
    assert page(database, is_admin=True) == ["other", "own", "public"]
    assert page(database, "", "p2", is_admin=False) == ["own", "public"]
    assert page(database, "", "p3", is_admin=False) == ["public"]
    assert page(database, "", None, is_admin=False) == ["public"]
    assert page(database, "visibility=private", "p2", is_admin=False) == ["own"]
    assert page(database, "marker=own", "p2", is_admin=False) == ["public"]
    for marker in ("own", "nothing"):
        with pytest.raises(NotFound):
            page(database, f"marker={marker}", "p3", is_admin=False)
        with pytest.raises(NotFound):
            page(database, f"marker={marker}&limit=0", "p3", is_admin=False)


def test_texts_that_no_column_is(database: Database) -> None:
    made = create(database)
    assert database.read_now(metadef_namespaces.get, "😀") is None
    assert page(database, "resource_types=😀,z") == []
    with pytest.raises(NotFound):
        page(database, "marker=😀")
    with pytest.raises(NotFound):
        database.write_now(metadef_resource_types.dissociate, made.id, "😀")


def test_lists_show_associations(database: Database) -> None:
    create(database, "without")
    create(database, "with", children=CHILDREN)
    found = database.read_now(metadef_namespaces.page, parse([], PageLimits()), None, is_admin=True)
    assert [[each.name for each in associations] for _, associations in found] == [["z", "a"], []]
    assert page(database, "resource_types=z") == ["with"]
    assert page(database, "resource_types=x,a") == ["with"]
