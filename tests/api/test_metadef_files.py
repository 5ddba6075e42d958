"""Metadata definitions out of files and into files, by commands; and the catalog that comes with Blick."""

import json
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from blick import boot
from blick.cli.main import blick
from blick.cli.manage import glance_manage
from blick.conf.settings import DatabaseSettings, IdentitySettings, Settings
from blick.db.engine import Database, open_database
from blick.db.metadef_files import Outcome
from blick.model.errors import NotFound
from blick.model.metadef_file import Mode
from blick.model.metadef_input import parse_namespace
from blick.ops.metadefs import files
from blick.ops.services import utc_now
from tests.support.command import Call, Ended, ended
from tests.support.databases import on_every_engine
from tests.support.metadefs import NAMESPACES
from tests.support.service import Service

SIZE = {"type": "integer", "title": "Size"}
CATALOG = sorted(files.SHIPPED.glob("*.json"))


@pytest.fixture
def folder(tmp_path: Path, database_url: str) -> Path:
    """A configuration file and a database at our revision; definitions are looked for in `source`."""
    (tmp_path / "glance-api.conf").write_text(
        f"[DEFAULT]\nmetadata_source_path = {tmp_path}/source\n[database]\nconnection = {database_url}\n"
    )
    return tmp_path


@pytest.fixture
def manage(folder: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    def call(*arguments: str) -> Ended:
        return ended(glance_manage, ["--config-file", str(folder / "glance-api.conf"), *arguments], capsys)

    return call


@pytest.fixture
def people(folder: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """The same actions as `blick db`."""

    def call(*arguments: str) -> Ended:
        return ended(blick, ["db", "--config-file", str(folder / "glance-api.conf"), *arguments], capsys)

    return call


def write(folder: Path, name: str = "ns", **more: Any) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / f"{name}.json"
    file.write_text(json.dumps({"namespace": name, "display_name": name, **more}))
    return file


@contextmanager
def opened(url: str) -> Iterator[Database]:
    database = open_database(DatabaseSettings(connection=url, sqlite_synchronous=False))
    try:
        yield database
    finally:
        database.close()


def content(folder: Path) -> dict[str, Any]:
    return {file.name: json.loads(file.read_text("utf-8")) for file in folder.iterdir()}


def exported(manage: Call, folder: Path, name: str = "out") -> dict[str, Any]:
    assert manage("db", "export_metadefs", "--path", f"{folder}/{name}").code == 0
    return {each["namespace"]: each for each in content(folder / name).values()}


def test_load_from_the_configured_folder(manage: Call, folder: Path) -> None:
    write(folder / "source", "a", properties={"size": SIZE}, objects=[{"name": "o", "required": ["size"]}])
    write(folder / "source", "b")
    (folder / "source" / "notes.txt").write_text("{}")
    (folder / "source" / "folder.json").mkdir()
    write(folder / "source" / "folder.json", "nested")
    loaded = manage("db", "load_metadefs")
    assert (loaded.code, loaded.out) == (0, "")
    assert "namespace a of" in loaded.err
    found = exported(manage, folder)
    assert found.keys() == {"a", "b"}
    assert found["a"]["properties"] == {"size": SIZE}
    assert found["a"]["objects"] == [{"name": "o", "required": ["size"], "properties": {}}]
    assert found["b"]["owner"] == "admin"


def test_one_file(manage: Call, folder: Path) -> None:
    write(folder / "source", "a")
    file = write(folder / "source", "b").rename(folder / "definitions")
    assert manage("db", "load_metadefs", "--path", str(file)).code == 0
    assert exported(manage, folder).keys() == {"b"}


def test_broken_files_are_told_and_the_rest_loads(manage: Call, people: Call, folder: Path) -> None:
    source = folder / "source"
    write(source, "good")
    write(source, "zz_good_too")
    write(source, "numbers", properties={"n": {**SIZE, "enum": [1, 2]}})
    write(source, "twice", tags=[{"name": "t"}, {"name": "t"}])
    for name, data in (
        ("empty", b""), ("half", b'{"namespace": "half"'), ("latin", '{"namespace": "é"}'.encode("latin-1")),
        ("list", b"[]"), ("nobody", b"{}"), ("deep", b"[" * 5000), ("nan", b'{"namespace": "x", "properties": NaN}'),
    ):  # fmt: skip
        (source / f"{name}.json").write_bytes(data)
    loaded = manage("db", "load_metadefs")
    assert (loaded.code, loaded.out) == (0, "")
    faulty = ("numbers", "twice", "empty", "half", "latin", "list", "nobody", "deep", "nan")
    for name in faulty:
        assert f"ERROR blick.ops.metadefs.files [-] {source}/{name}.json is not loaded: " in loaded.err
    assert "The property 'n': enum is not a list of texts." in loaded.err
    assert "2 file(s) loaded or skipped, 9 faulty" in loaded.err
    assert exported(manage, folder).keys() == {"good", "zz_good_too"}
    shown = people("load_metadefs", "--format", "json")
    assert shown.code == 1
    outcomes = {Path(each["file"]).stem: each["outcome"] for each in json.loads(shown.out)}
    assert outcomes["good"] == Outcome.SKIPPED.value
    assert outcomes["numbers"] == "The property 'n': enum is not a list of texts."


def test_a_file_that_cannot_be_read(manage: Call, folder: Path) -> None:
    write(folder / "source", "good")
    (folder / "source" / "gone.json").symlink_to(folder / "nowhere")
    (folder / "source" / "loop.json").symlink_to(folder / "source" / "loop.json")
    assert manage("db", "load_metadefs").code == 0
    assert exported(manage, folder).keys() == {"good"}


@pytest.mark.parametrize(
    ("words", "description", "names"),
    [
        (("db", "load_metadefs"), "old", ["one"]),
        (("db", "load_metadefs", "--merge"), "old", ["one", "two"]),
        (("db", "load_metadefs", "--merge", "--prefer_new"), "new", ["one", "two"]),
        (("db", "load_metadefs", "--merge", "--prefer-new"), "new", ["one", "two"]),
        (("db", "load_metadefs", "--merge", "--overwrite"), "new", ["two"]),
        (("db", "load_metadefs", "SOURCE", "yes"), "old", ["one", "two"]),
        (("db", "load_metadefs", "SOURCE", "yes", "yes"), "new", ["one", "two"]),
        (("db_load_metadefs",), "old", ["one"]),
        (("db_load_metadefs", "SOURCE"), "old", ["one"]),
        (("db_load_metadefs", "SOURCE", "False"), "old", ["one", "two"]),
        (("db_load_metadefs", "SOURCE", "merge", "prefer_new"), "new", ["one", "two"]),
        (("db_load_metadefs", "SOURCE", "1", "", "1"), "new", ["two"]),
    ],
)
def test_modes(manage: Call, folder: Path, words: tuple[str, ...], description: str, names: list[str]) -> None:
    source = folder / "source"
    write(source, description="old", properties={"one": SIZE})
    assert manage("db", "load_metadefs").code == 0
    write(source, description="new", properties={"two": SIZE})
    assert manage(*(str(source) if word == "SOURCE" else word for word in words)).code == 0
    found = exported(manage, folder)["ns"]
    assert (found["description"], list(found["properties"])) == (description, names)


@pytest.mark.parametrize(
    "flags", [("--prefer_new",), ("--overwrite",), ("--merge", "--prefer_new", "--overwrite"), ("--path", "nosuch")]
)
def test_what_makes_no_sense_does_nothing(manage: Call, people: Call, folder: Path, flags: tuple[str, ...]) -> None:
    write(folder / "source")
    refused = manage("db", "load_metadefs", *flags)
    assert (refused.code, refused.out) == (0, "")
    assert "ERROR blick.cli.metadefs [-] no metadata definitions are loaded: " in refused.err
    assert exported(manage, folder) == {}
    strict = people("load_metadefs", *flags)
    assert (strict.code, strict.err.startswith("ERROR: ")) == (1, True)


def test_nothing_to_load(manage: Call, folder: Path) -> None:
    assert "no such file or folder" in manage("db", "load_metadefs").err
    (folder / "source").mkdir()
    nothing = manage("db", "load_metadefs")
    assert (nothing.code, "there are no files that end in .json" in nothing.err) == (0, True)


def test_usage(manage: Call, people: Call) -> None:
    assert manage("db_load_metadefs", "--path", "x").code == 2
    assert manage("db_export_metadefs", "--path", "x").code == 2
    assert manage("db", "load_metadefs", "a", "b", "c", "d", "e").code == 2
    assert manage("db", "export_metadefs", "a", "b").code == 2
    assert people("load_metadefs", "--nosuch").code == 2


def test_without_tables(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "glance-api.conf").write_text(f"[database]\nconnection = sqlite:///{tmp_path}/new.sqlite\n")
    for action in ("load_metadefs", "unload_metadefs", "export_metadefs"):
        refused = ended(glance_manage, ["--config-file", str(tmp_path / "glance-api.conf"), "db", action], capsys)
        assert (refused.code, "Run `glance-manage db sync` first." in refused.err) == (1, True)


def test_unload(manage: Call, people: Call, folder: Path) -> None:
    write(folder / "source", "a", protected=True, tags=[{"name": "t"}])
    write(folder / "source", "b")
    manage("db", "load_metadefs")
    gone = manage("db_unload_metadefs")
    assert (gone.code, gone.out) == (0, "")
    assert exported(manage, folder) == {}
    manage("db", "load_metadefs")
    shown = people("unload_metadefs")
    assert (shown.code, shown.out) == (0, "Removed 2 namespace(s) of metadata definitions.\n")


def test_export(manage: Call, people: Call, folder: Path) -> None:
    for name, display_name in (("a", "CPU pinning"), ("b", "CPU_Pinning!"), ("c", None), ("../d", "../d")):
        write(folder, "one", namespace=name, display_name=display_name, visibility="public")
        manage("db", "load_metadefs", "--path", str(folder / "one.json"))
    out = folder / "a" / "b"
    assert manage("db", "export_metadefs", str(out)).code == 0
    assert {name: each["namespace"] for name, each in content(out).items()} == {
        "CPUpinning.json": "a", "b.json": "b", "c.json": "c", "d.json": "../d"
    }  # fmt: skip
    (out / "c.json").write_text("rubbish")
    assert manage("db_export_metadefs", str(out)).code == 0
    assert content(out)["c.json"]["namespace"] == "c"
    assert manage("db", "export_metadefs").code == 0
    assert content(folder / "source") == content(out)
    shown = people("export_metadefs", "--path", str(out), "--format", "json")
    assert [each["namespace"] for each in json.loads(shown.out)] == ["../d", "a", "b", "c"]


def test_export_where_nothing_can_be_written(manage: Call, folder: Path) -> None:
    manage("db", "load_metadefs", "--path", str(write(folder)))
    for path in (folder / "glance-api.conf", folder / "glance-api.conf" / "below"):
        refused = manage("db", "export_metadefs", "--path", str(path))
        assert (refused.code, refused.err.splitlines()[-1].startswith(f"ERROR: {path} cannot be written: ")) == (
            1,
            True,
        )
    assert stat.S_ISREG((folder / "glance-api.conf").stat().st_mode)


def test_without_a_configured_folder_the_shipped_catalog_is_loaded(
    capsys: pytest.CaptureFixture[str], folder: Path, database_url: str
) -> None:
    config = folder / "glance-api.conf"
    config.write_text(f"[database]\nconnection = {database_url}\n")
    shown = ended(blick, ["db", "--config-file", str(config), "load_metadefs", "--format", "json"], capsys)
    assert [Path(each["file"]) for each in json.loads(shown.out)] == CATALOG
    assert {each["outcome"] for each in json.loads(shown.out)} == {Outcome.ADDED.value}


def test_the_catalog_is_sound() -> None:
    """What a user could not send to the API has no place in it either."""
    assert len(CATALOG) > 40
    names = []
    for file in CATALOG:
        document = json.loads(file.read_text("utf-8"))
        parse_namespace(document)
        names.append(document["namespace"])
        assert (document["visibility"], document["protected"], document["owner"]) == ("public", True, "admin"), file
        assert file.name == f"{document['namespace'].replace('::', '.')}.json"
        assert len(document["resource_type_associations"]) > 0
        for item in document.get("objects", ()):
            assert item["properties"], (file, item["name"])
        assert document.get("properties") or document.get("objects"), file
    assert len(set(names)) == len(names)


@on_every_engine
async def test_the_catalog_is_served(service: Service, engine: str) -> None:
    """All of it loads, and every namespace reads back for everybody, as it stands in its file."""
    database = service.services.database
    assert files.load_shipped(database, utc_now)
    assert not files.load_shipped(database, utc_now)
    listed = await service.call("stranger", "GET", f"{NAMESPACES}?limit=1000")
    names = {each["namespace"] for each in listed.json()["namespaces"]}
    documents = {each["namespace"]: each for each in (json.loads(file.read_text("utf-8")) for file in CATALOG)}
    assert names == documents.keys()
    for name, document in documents.items():
        shown = await service.call("stranger", "GET", f"{NAMESPACES}/{name}")
        assert shown.status_code == 200, name
        found = shown.json()
        assert (found["visibility"], found["protected"], found["display_name"]) == (
            "public",
            True,
            document["display_name"],
        )
        assert list(found.get("properties", {})) == list(document.get("properties", {}))
        for key, definition in document.get("properties", {}).items():
            assert found["properties"][key] == definition, (name, key)
        assert [each["name"] for each in found.get("objects", ())] == [
            each["name"] for each in document.get("objects", ())
        ]
        for association in document["resource_type_associations"]:
            typed = await service.call("stranger", "GET", f"{NAMESPACES}/{name}?resource_type={association['name']}")
            prefix = association.get("prefix", "")
            assert list(typed.json().get("properties", {})) == [prefix + key for key in document.get("properties", {})]
        assert (await service.call("admin", "DELETE", f"{NAMESPACES}/{name}")).status_code == 403


class TestFirstStart:
    """Of a standalone service."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return replace(settings, identity=IdentitySettings(kind="standalone"))

    def start(self, settings: Settings, tmp_path: Path) -> int:
        """How many namespaces there are after it."""
        boot.first_start(settings, tmp_path, "http://127.0.0.1:9292")
        return self.count(settings)

    def count(self, settings: Settings) -> int:
        with opened(settings.database.connection) as database, TemporaryDirectory() as out:
            return len(list(files.export(database, Path(out))))

    def test_a_new_service_has_the_catalog(self, settings: Settings, tmp_path: Path) -> None:
        assert self.start(settings, tmp_path) == len(CATALOG)

    def test_whoever_removed_it_does_not_get_it_again(self, settings: Settings, tmp_path: Path) -> None:
        self.start(settings, tmp_path)
        with opened(settings.database.connection) as database:
            files.unload(database)
        assert self.start(settings, tmp_path) == 0

    def test_definitions_that_are_there_are_left_alone(self, settings: Settings, tmp_path: Path) -> None:
        with opened(settings.database.connection) as database:
            assert list(files.load(database, write(tmp_path / "own"), Mode.SKIP, utc_now))
        assert self.start(settings, tmp_path) == 1

    def test_a_start_that_failed_is_made_up_for(self, settings: Settings, tmp_path: Path) -> None:
        blocked = tmp_path / "data"
        blocked.write_text("no folder")
        with pytest.raises(Exception, match="cannot be written"):
            boot.first_start(settings, blocked, "http://127.0.0.1:9292")
        assert self.start(settings, tmp_path) == len(CATALOG)


# Catalogs of every kind: names that sort and fold oddly, definitions with whatever others put into them.

_TEXT = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=("Cs",), exclude_characters="\x00"), max_size=12)
# Databases that fold case and accents would take some of these for the same: numbers keep them apart.
_WORDS = st.sampled_from(["size", "Größe", "a/b", "hw:x", " ", "…", "CPU_x", "日本", "x" * 76])
_ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=6,
)
_DEFINITIONS = st.fixed_dictionaries(
    {"type": st.sampled_from(["string", "integer", "array"]), "title": _TEXT},
    optional={
        "description": _TEXT,
        "default": _ANYTHING,
        "enum": st.lists(_TEXT, max_size=3),
        "operators": st.lists(_TEXT, max_size=3),
        "minimum": st.integers(-5, 5) | st.floats(-2, 2),
        "readonly": st.booleans(),
        "confidential": st.booleans(),
        "items": st.fixed_dictionaries({"type": st.just("string")}, optional={"enum": st.lists(_TEXT, max_size=2)}),
        "name": _TEXT,
        "unknown": _ANYTHING,
    },
)


def _named(words: list[str]) -> list[str]:
    return [f"{word}{number}" for number, word in enumerate(words)]


_NAMES = st.lists(_WORDS, max_size=4).map(_named)
_MAPS = _NAMES.flatmap(lambda names: st.fixed_dictionaries(dict.fromkeys(names, _DEFINITIONS)))
_OBJECTS = _NAMES.flatmap(
    lambda names: st.tuples(
        *(
            st.fixed_dictionaries(
                {"name": st.just(name)},
                optional={"description": _TEXT, "required": _NAMES, "properties": _MAPS | st.none()},
            )
            for name in names
        )
    ).map(list)
)
_ASSOCIATIONS = st.permutations(["OS::Nova::Flavor", "OS::Glance::Image", "x", "日本"]).flatmap(
    lambda names: st.lists(
        st.fixed_dictionaries(
            {"name": st.none()}, optional={"prefix": _WORDS, "properties_target": _WORDS, "created_at": _TEXT}
        ),
        max_size=len(names),
    ).map(lambda items: [{**item, "name": name} for item, name in zip(items, names, strict=False)])
)
_NAMESPACE = st.fixed_dictionaries(
    {},
    optional={
        "display_name": _WORDS | _TEXT | st.none(),
        "description": _TEXT,
        "visibility": st.sampled_from(["public", "private", None]),
        "protected": st.booleans() | st.none(),
        "owner": _WORDS | st.none(),
        "resource_type_associations": _ASSOCIATIONS,
        "properties": _MAPS,
        "objects": _OBJECTS,
        "tags": _NAMES.map(lambda names: [{"name": name} for name in names]),
        "self": _TEXT,
    },
)
_CATALOGS = st.lists(st.tuples(_WORDS, _NAMESPACE), min_size=1, max_size=4).map(
    lambda items: [{**each, "namespace": f"{word}{number}"} for number, (word, each) in enumerate(items)]
)


def _export(database: Database, folder: Path) -> dict[str, Any]:
    shutil.rmtree(folder, ignore_errors=True)
    assert len(list(files.export(database, folder))) == len(list(folder.iterdir()))
    return content(folder)


def _load(database: Database, folder: Path, mode: Mode) -> set[str]:
    try:
        loaded = list(files.load(database, folder, mode, utc_now))
    except NotFound:
        return set()
    assert [each.fault for each in loaded] == [None] * len(loaded)
    return {str(each.namespace) for each in loaded}


@on_every_engine
def test_export_and_load_are_a_fixed_point(database_url: str, tmp_path: Path, engine: str) -> None:
    """What was exported loads, into an empty database or over itself in any mode, and is exported again as it was."""

    @examples(max_examples=30 if engine == "sqlite" else 10, deadline=None, suppress_health_check=list(HealthCheck))
    @given(catalog=_CATALOGS)
    def check(catalog: list[dict[str, Any]]) -> None:
        with TemporaryDirectory(dir=tmp_path) as place, opened(database_url) as database:
            files.unload(database)
            source = Path(place, "source")
            source.mkdir()
            for number, document in enumerate(catalog):
                (source / f"{number}.json").write_text(json.dumps(document))
            assert _load(database, source, Mode.SKIP) == {each["namespace"] for each in catalog}
            first = _export(database, Path(place, "first"))
            assert by_namespace(first).keys() == {each["namespace"] for each in catalog}
            for mode in Mode:
                _load(database, Path(place, "first"), mode)
                again = _export(database, Path(place, "again"))
                assert again == first
                assert by_namespace(again) == by_namespace(first)
            files.unload(database)
            _load(database, Path(place, "first"), Mode.SKIP)
            second = _export(database, Path(place, "second"))
            assert second == first
            assert by_namespace(second) == by_namespace(first)
            files.unload(database)
            _load(database, Path(place, "second"), Mode.SKIP)
            assert _export(database, Path(place, "third")) == second

    check()


def by_namespace(exported: dict[str, Any]) -> dict[str, str]:
    """As text, so that the order counts too."""
    return {each["namespace"]: json.dumps(each) for each in exported.values()}
