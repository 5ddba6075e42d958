"""Namespaces of metadata definitions from files, in the database."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select

from blick.db import metadef_documents, metadef_files, metadef_namespaces, tables
from blick.db import metadef_resource_types as resource_types
from blick.db.engine import Database
from blick.db.metadef_files import Outcome
from blick.model.errors import Conflict, Invalid
from blick.model.metadef import Children, NewNamespace
from blick.model.metadef_file import Mode, NamespaceFile, document_of, parse
from tests.support.records import NOW, race

LATER = NOW + timedelta(hours=1)
SIZE = {"type": "integer", "title": "Size"}
OLD: dict[str, Any] = {
    "namespace": "OS::Test",
    "display_name": "Old",
    "description": "Old",
    "visibility": "public",
    "protected": True,
    "owner": "p1",
    "resource_type_associations": [{"name": "A", "prefix": "a:"}, {"name": "B", "properties_target": "b"}],
    "properties": {"one": SIZE, "two": SIZE},
    "objects": [{"name": "Disk", "required": ["size"], "properties": {"size": SIZE}}, {"name": "Old"}],
    "tags": [{"name": "x"}, {"name": "y"}],
}
NEW: dict[str, Any] = {
    "namespace": "OS::Test",
    "display_name": "New",
    "resource_type_associations": [{"name": "A", "properties_target": "new"}, {"name": "C"}],
    "properties": {"two": {**SIZE, "title": "New"}, "three": SIZE},
    "objects": [{"name": "Disk", "description": "New"}, {"name": "New"}],
    "tags": [{"name": "z"}, {"name": "y"}],
}


def load(database: Database, document: dict[str, Any], mode: Mode = Mode.SKIP, now: Any = NOW) -> Outcome:
    return database.write_now(metadef_files.load, parse(document), mode, now)


def written(database: Database, name: str = "OS::Test") -> dict[str, Any]:
    whole = database.write_now(metadef_files.whole, name)
    assert whole is not None
    return document_of(*whole)


def by_name(items: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in items}


def full(document: dict[str, Any]) -> dict[str, Any]:
    """As it is written: what is not set is left out, and every object has properties."""
    usual = {"visibility": "private", "protected": False, "owner": "admin"}
    return {**usual, **document, "objects": [{"properties": {}, **each} for each in document["objects"]]}


def test_a_new_namespace(database: Database) -> None:
    assert load(database, OLD) is Outcome.ADDED
    assert written(database) == full(OLD)
    whole = database.write_now(metadef_files.whole, "OS::Test")
    assert whole is not None
    namespace, children = whole
    assert (namespace.created_at, namespace.updated_at) == (NOW, None)
    for each in (*children.objects, *children.tags, *children.associations):
        assert (each.created_at, each.updated_at) == (NOW, None)
    types = database.read_now(resource_types.every)
    assert [(each.name, each.protected, each.updated_at) for each in types] == [("A", True, None), ("B", True, None)]


def test_what_is_there_stays(database: Database) -> None:
    load(database, OLD)
    assert load(database, NEW) is Outcome.SKIPPED
    assert written(database) == full(OLD)


def test_merge_adds_what_is_missing(database: Database) -> None:
    load(database, OLD)
    assert load(database, NEW, Mode.MERGE, LATER) is Outcome.MERGED
    merged = written(database)
    assert {key: merged[key] for key in ("display_name", "description", "visibility", "protected", "owner")} == {
        key: OLD[key] for key in ("display_name", "description", "visibility", "protected", "owner")
    }
    assert merged["properties"] == {"one": SIZE, "two": SIZE, "three": SIZE}
    assert list(merged["properties"]) == ["one", "two", "three"]
    objects = by_name(merged["objects"])
    assert (list(objects), objects["Disk"]) == (["Disk", "Old", "New"], OLD["objects"][0])
    assert merged["tags"] == [{"name": "x"}, {"name": "y"}, {"name": "z"}]
    assert merged["resource_type_associations"] == [*OLD["resource_type_associations"], {"name": "C"}]


def test_prefer_new_replaces_too(database: Database) -> None:
    load(database, OLD)
    load(database, {"namespace": "Other", "resource_type_associations": [{"name": "A"}, {"name": "D"}]})
    assert load(database, NEW, Mode.PREFER_NEW, LATER) is Outcome.MERGED
    merged = written(database)
    assert {key: merged.get(key) for key in ("display_name", "description", "visibility", "protected", "owner")} == {
        "display_name": "New", "description": None, "visibility": "private", "protected": False, "owner": "admin"
    }  # fmt: skip
    assert merged["properties"] == {"one": SIZE, "two": NEW["properties"]["two"], "three": SIZE}
    objects = by_name(merged["objects"])
    assert objects["Disk"] == {"name": "Disk", "description": "New", "properties": {}}
    assert list(objects) == ["Disk", "Old", "New"]
    assert merged["resource_type_associations"] == [
        {"name": "A", "properties_target": "new"}, {"name": "B", "properties_target": "b"}, {"name": "C"}
    ]  # fmt: skip
    namespace = database.read_now(metadef_namespaces.get, "OS::Test")
    assert namespace is not None
    assert (namespace.created_at, namespace.updated_at) == (NOW, LATER)
    touched = {each.name: each.updated_at for each in database.read_now(resource_types.every)}
    assert touched == {"A": LATER, "B": None, "D": None, "C": LATER}


def test_overwrite_makes_anew(database: Database) -> None:
    load(database, OLD)
    assert load(database, NEW, Mode.OVERWRITE, LATER) is Outcome.REPLACED
    assert written(database) == full(NEW)
    namespace = database.read_now(metadef_namespaces.get, "OS::Test")
    assert namespace is not None
    assert namespace.created_at == LATER


@pytest.mark.parametrize("mode", [Mode.SKIP, Mode.MERGE, Mode.PREFER_NEW, Mode.OVERWRITE])
def test_loading_twice_changes_nothing(database: Database, mode: Mode) -> None:
    load(database, OLD)
    load(database, OLD, mode, LATER)
    assert written(database) == full(OLD)


@pytest.mark.parametrize(
    "twice",
    [
        {"objects": [{"name": "a"}, {"name": "a"}]},
        {"tags": [{"name": "a"}, {"name": "a"}]},
        {"resource_type_associations": [{"name": "A"}, {"name": "A"}]},
    ],
)
def test_what_comes_twice_undoes_the_namespace(database: Database, twice: dict[str, Any]) -> None:
    with pytest.raises(Conflict):
        load(database, {"namespace": "Twice", **twice})
    assert database.read_now(metadef_files.names) == []
    load(database, OLD)
    with pytest.raises(Conflict):
        load(database, {**OLD, **twice}, Mode.OVERWRITE)
    assert written(database) == full(OLD)


def test_what_is_too_long_undoes_the_namespace(database: Database) -> None:
    """Only MariaDB and MySQL have a limit."""
    long = {"namespace": "Long", "properties": {"a": SIZE, "b": {"description": "x" * 70_000}}}
    if database.dialect == "mysql":
        with pytest.raises(Invalid):
            load(database, long)
        assert database.read_now(metadef_files.names) == []
    else:
        assert load(database, long) is Outcome.ADDED


def test_loading_at_once(database: Database) -> None:
    """Of the same namespace one comes in; resource types in common are made once."""
    done = race([lambda: load(database, OLD) for _ in range(4)])
    assert sum(each is Outcome.ADDED for each in done) == 1
    assert all(each in (Outcome.ADDED, Outcome.SKIPPED) or isinstance(each, Conflict) for each in done)
    assert written(database) == full(OLD)
    several = [{**OLD, "namespace": f"n{number}"} for number in range(4)]
    done = race([lambda document=document: load(database, document) for document in several])  # type: ignore[misc]
    assert done == [Outcome.ADDED] * 4
    assert [each.name for each in database.read_now(resource_types.every)] == ["A", "B"]


def test_first_load_at_once(database: Database) -> None:
    catalog = [parse({**OLD, "namespace": f"n{number}"}) for number in range(5)]
    done = race([lambda: database.write_now(metadef_files.load_first, catalog, NOW) for _ in range(4)])
    assert sum(each is True for each in done) == 1
    assert all(each in (True, False) or isinstance(each, Conflict) for each in done)
    assert sorted(database.read_now(metadef_files.names)) == [f"n{number}" for number in range(5)]
    assert database.write_now(metadef_files.load_first, catalog, NOW) is False


def test_a_first_load_is_whole_or_nothing(database: Database) -> None:
    good = parse(OLD)
    bad = NamespaceFile(NewNamespace("bad"), "admin", replace(Children(), tags=[*good.children.tags] * 2))
    with pytest.raises(Conflict):
        database.write_now(metadef_files.load_first, [good, bad], NOW)
    assert database.read_now(metadef_files.names) == []


def test_removing_everything(database: Database) -> None:
    for number in range(3):
        load(database, {**OLD, "namespace": f"n{number}"})
    assert database.write_now(metadef_files.remove_everything) == 3
    with database.engine.connect() as connection:
        for name in (
            "metadef_namespaces", "metadef_objects", "metadef_properties", "metadef_tags",
            "metadef_namespace_resource_types", "metadef_resource_types",
        ):  # fmt: skip
            assert connection.execute(select(func.count()).select_from(tables.metadata.tables[name])).scalar() == 0
    assert database.write_now(metadef_files.remove_everything) == 0


def test_a_namespace_that_went_away(database: Database) -> None:
    load(database, OLD)
    namespace = database.read_now(metadef_namespaces.get, "OS::Test")
    assert namespace is not None
    database.write_now(metadef_documents.remove_whole, namespace.id)
    assert database.write_now(metadef_files.whole, "OS::Test") is None
