"""Objects, properties and tags of namespaces of metadata definitions, in the database."""

from datetime import timedelta

import pytest

from blick.db import metadef_documents, metadef_objects, metadef_properties, metadef_tags
from blick.db.engine import Database
from blick.model.errors import Conflict, Forbidden, Invalid, NotFound
from blick.model.image_query import SortKey
from blick.model.metadef import (
    Association,
    Children,
    MetadefNamespace,
    MetadefObject,
    MetadefProperty,
    MetadefTag,
    NewNamespace,
)
from blick.model.metadef_tag_query import TagQuery
from tests.support.records import NOW, race

LATER = NOW + timedelta(hours=1)
SCHEMA = {"type": "string", "title": "Size", "enum": ["é", "\U0001f600"]}


@pytest.fixture
def namespace(database: Database) -> MetadefNamespace:
    return made(database, "ns")


def made(database: Database, name: str, *, protected: bool = False) -> MetadefNamespace:
    new = NewNamespace(name, protected=protected)
    children = Children(associations=[Association("Flavor", f"{name}:"), Association("Image")])
    return database.write_now(metadef_documents.create, new, children, "p1", NOW)


def test_life_of_an_object(database: Database, namespace: MetadefNamespace) -> None:
    asked = MetadefObject("Disk", "A disk", ["size"], {"size": SCHEMA})
    added = database.write_now(metadef_objects.add, namespace.id, asked, NOW)
    assert added == MetadefObject("Disk", "A disk", ["size"], {"size": SCHEMA}, NOW, NOW)
    read = database.read_now(metadef_objects.get, namespace.id, "Disk")
    assert read == MetadefObject("Disk", "A disk", ["size"], {"size": SCHEMA}, NOW, NOW)
    replaced = database.write_now(metadef_objects.replace, namespace.id, "Disk", MetadefObject("Drive"), LATER)
    assert replaced == MetadefObject("Drive", None, None, None, NOW, LATER)
    listed = database.read_now(metadef_objects.of_namespace, namespace.id)
    assert listed == [MetadefObject("Drive", None, [], {}, NOW, LATER)]
    assert database.write_now(metadef_objects.replace, namespace.id, "Disk", asked, LATER) is None
    assert database.write_now(metadef_objects.remove, namespace.id, "Drive")
    assert not database.write_now(metadef_objects.remove, namespace.id, "Drive")


def test_life_of_a_property(database: Database, namespace: MetadefNamespace) -> None:
    database.write_now(metadef_properties.add, namespace.id, MetadefProperty("size", SCHEMA), NOW)
    assert database.read_now(metadef_properties.get, namespace.id, "size") == MetadefProperty("size", SCHEMA)
    assert database.write_now(metadef_properties.replace, namespace.id, "size", MetadefProperty("n", {}), LATER)
    assert not database.write_now(metadef_properties.replace, namespace.id, "size", MetadefProperty("n", {}), LATER)
    # Nothing changes but the time, if that: it is there all the same.
    assert database.write_now(metadef_properties.replace, namespace.id, "n", MetadefProperty("n", {}), LATER)
    assert database.read_now(metadef_properties.of_namespace, namespace.id) == [MetadefProperty("n", {})]
    assert database.write_now(metadef_properties.remove, namespace.id, "n")
    assert not database.write_now(metadef_properties.remove, namespace.id, "n")


def test_life_of_a_tag(database: Database, namespace: MetadefNamespace) -> None:
    assert database.write_now(metadef_tags.add, namespace.id, MetadefTag("a"), NOW) == MetadefTag("a", NOW, NOW)
    renamed = database.write_now(metadef_tags.rename, namespace.id, "a", MetadefTag("b"), LATER)
    assert renamed == MetadefTag("b", NOW, LATER) == database.read_now(metadef_tags.get, namespace.id, "b")
    assert database.write_now(metadef_tags.rename, namespace.id, "b", MetadefTag("b"), LATER) == renamed
    assert database.write_now(metadef_tags.rename, namespace.id, "a", MetadefTag("c"), LATER) is None
    assert database.write_now(metadef_tags.remove, namespace.id, "b")
    assert not database.write_now(metadef_tags.remove, namespace.id, "b")


def test_names_that_are_taken(database: Database, namespace: MetadefNamespace) -> None:
    other = made(database, "other")
    for name in ("a", "b"):
        for place in (namespace, other):
            database.write_now(metadef_objects.add, place.id, MetadefObject(name), NOW)
            database.write_now(metadef_properties.add, place.id, MetadefProperty(name, SCHEMA), NOW)
            database.write_now(metadef_tags.add, place.id, MetadefTag(name), NOW)
    key = namespace.id
    for call in (
        lambda: database.write_now(metadef_objects.add, key, MetadefObject("a"), NOW),
        lambda: database.write_now(metadef_objects.replace, key, "a", MetadefObject("b"), NOW),
        lambda: database.write_now(metadef_properties.add, key, MetadefProperty("a", {}), NOW),
        lambda: database.write_now(metadef_properties.replace, key, "a", MetadefProperty("b", {}), NOW),
        lambda: database.write_now(metadef_tags.add, key, MetadefTag("a"), NOW),
        lambda: database.write_now(metadef_tags.rename, key, "a", MetadefTag("b"), NOW),
    ):
        with pytest.raises(Conflict):
            call()
    assert [each.name for each in database.read_now(metadef_objects.of_namespace, key)] == ["a", "b"]
    assert database.read_now(metadef_properties.get, key, "a") == MetadefProperty("a", SCHEMA)


def test_many_tags(database: Database, namespace: MetadefNamespace) -> None:
    def put(*names: str, append: bool) -> None:
        tags = [MetadefTag(name) for name in names]
        database.write_now(metadef_tags.add_many, namespace.id, tags, NOW, append=append)

    def names() -> str:
        return "".join(each.name for each in database.read_now(metadef_tags.page, namespace.id, TagQuery()))

    put("a", "b", append=True)
    put("c", append=True)
    assert names() == "cba"
    for refused, append in ((("d", "a"), True), (("d", "d"), False)):
        with pytest.raises(Conflict):
            put(*refused, append=append)
    put(append=False)
    assert names() == "cba"
    put("a", "e", append=False)
    assert names() == "ea"


def test_pages_of_tags(database: Database, namespace: MetadefNamespace) -> None:
    for name, hours in (("c", 0), ("a", 2), ("b", 1)):
        at = NOW + timedelta(hours=hours)
        database.write_now(metadef_tags.add, namespace.id, MetadefTag(name), at)

    def names(**query: object) -> str:
        found = database.read_now(metadef_tags.page, namespace.id, TagQuery(**query))  # type: ignore[arg-type]
        return "".join(each.name for each in found)

    by_name = SortKey("name", descending=False)
    assert names() == "abc"
    assert names(limit=1, marker="a") == "b"
    assert names(limit=0) == ""
    assert names(sort=by_name) == "abc"
    assert names(sort=SortKey("id", descending=False)) == "cab"
    assert names(sort=SortKey("updated_at", descending=False)) == "cba"
    with pytest.raises(NotFound):
        names(marker="x")


def test_prefixes(database: Database, namespace: MetadefNamespace) -> None:
    made(database, "other")
    assert database.read_now(metadef_properties.prefix_on, namespace.id, "Flavor") == "ns:"
    assert database.read_now(metadef_properties.prefix_on, namespace.id, "Image") is None
    assert database.read_now(metadef_properties.prefix_on, namespace.id, "nosuch") is None


def test_all_of_a_kind(database: Database, namespace: MetadefNamespace) -> None:
    other = made(database, "other")
    for place in (namespace, other):
        for name in ("a", "b"):
            database.write_now(metadef_objects.add, place.id, MetadefObject(name), NOW)
            database.write_now(metadef_properties.add, place.id, MetadefProperty(name, SCHEMA), NOW)
            database.write_now(metadef_tags.add, place.id, MetadefTag(name), NOW)
    for module in (metadef_objects, metadef_properties, metadef_tags):
        database.write_now(module.remove_all, namespace.id)
        database.write_now(module.remove_all, namespace.id)
    left = database.read_now(metadef_documents.children, namespace.id)
    assert (left.objects, left.properties, left.tags, len(left.associations)) == ([], [], [], 2)
    kept = database.read_now(metadef_documents.children, other.id)
    assert [len(each) for each in (kept.objects, kept.properties, kept.tags)] == [2, 2, 2]


def test_protection_and_disappearance(database: Database) -> None:
    protected = made(database, "protected", protected=True)
    database.write_now(metadef_objects.add, protected.id, MetadefObject("a"), NOW)
    database.write_now(metadef_properties.add, protected.id, MetadefProperty("a", {}), NOW)
    database.write_now(metadef_tags.add, protected.id, MetadefTag("a"), NOW)
    gone = made(database, "gone")
    database.write_now(metadef_documents.delete_whole, gone.id)
    for module in (metadef_objects, metadef_properties, metadef_tags):
        for place, refusal in ((protected, Forbidden), (gone, NotFound)):
            with pytest.raises(refusal):
                database.write_now(module.remove, place.id, "a")
            with pytest.raises(refusal):
                database.write_now(module.remove_all, place.id)
        assert not database.write_now(module.remove, protected.id, "b")  # what is not there is not protected
        assert database.read_now(module.get, protected.id, "a") is not None
    for call in (
        lambda: database.write_now(metadef_objects.add, gone.id, MetadefObject("a"), NOW),
        lambda: database.write_now(metadef_objects.replace, gone.id, "a", MetadefObject("a"), NOW),
        lambda: database.write_now(metadef_properties.add, gone.id, MetadefProperty("a", {}), NOW),
        lambda: database.write_now(metadef_properties.replace, gone.id, "a", MetadefProperty("a", {}), NOW),
        lambda: database.write_now(metadef_tags.add, gone.id, MetadefTag("a"), NOW),
        lambda: database.write_now(metadef_tags.add_many, gone.id, [MetadefTag("a")], NOW, append=False),
        lambda: database.write_now(metadef_tags.rename, gone.id, "a", MetadefTag("b"), NOW),
    ):
        with pytest.raises(NotFound):
            call()


def test_what_is_too_long(database: Database, namespace: MetadefNamespace) -> None:
    """Only MariaDB and MySQL have a limit, and then it is the caller's fault."""
    long = MetadefProperty("long", {"title": "x" * 70_000})
    if database.dialect == "mysql":
        with pytest.raises(Invalid):
            database.write_now(metadef_properties.add, namespace.id, long, NOW)
    else:
        database.write_now(metadef_properties.add, namespace.id, long, NOW)
        assert database.read_now(metadef_properties.get, namespace.id, "long") == long


def test_racing_for_a_name(database: Database, namespace: MetadefNamespace) -> None:
    done = race([lambda: database.write_now(metadef_tags.add, namespace.id, MetadefTag("a"), NOW) for _ in range(6)])
    assert sum(isinstance(each, MetadefTag) for each in done) == 1
    assert sum(isinstance(each, Conflict) for each in done) == 5


def test_racing_with_the_end_of_the_namespace(database: Database, namespace: MetadefNamespace) -> None:
    """Whoever is first: nothing stays behind that belongs to no namespace."""
    done = race(
        [
            *(
                lambda name=name: database.write_now(  # type: ignore[misc]
                    metadef_objects.add, namespace.id, MetadefObject(name), NOW
                )
                for name in "abcd"
            ),
            lambda: database.write_now(metadef_documents.delete_whole, namespace.id),
        ]
    )
    assert done[-1] is None
    assert all(isinstance(each, MetadefObject | NotFound) for each in done[:-1])
    assert database.read_now(metadef_objects.of_namespace, namespace.id) == []
