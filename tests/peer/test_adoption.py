"""A database made and filled by Glance, taken over by Blick, changed, and handed back: on each engine."""

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, inspect, make_url, text

from blick.db.adoption import RELEASES
from tests.support.command import run_command
from tests.support.databases import Databases, on_every_engine
from tests.support.environments import environment
from tests.support.glance_records import Answers, Caller, Collection, answers, collect, rows
from tests.support.parts import VENV_BIN
from tests.support.server import BlickServer
from tests.support.upstream import Options, UpstreamGlance
from tests.support.web_server import WebServer

pytestmark = pytest.mark.needs("upstream")

KEY = "0123456789abcdefghijklmnopqrstuv"


@pytest.fixture
def web() -> Iterator[WebServer]:
    with WebServer() as server:
        yield server


@pytest.fixture
def url(engine: str, databases: Databases, tmp_path: Path) -> str:
    """A database in which nothing was ever made."""
    return databases.untouched(engine, tmp_path)


def glance(folder: Path, url: str, web: WebServer | None = None, **options: Any) -> UpstreamGlance:
    """Glance on that database, as an operator has it who shows locations."""
    shown = {"show_multiple_locations": True, "show_image_direct_url": True}
    return UpstreamGlance(folder / "glance", url, options={"DEFAULT": {**shown, **options}, **letting_in(web)})


def letting_in(web: WebServer | None) -> Options:
    """Locations on this machine are refused unless the operator names it."""
    if web is None:
        return {}
    return {"import_filtering_opts": {"allowed_hosts": "[127.0.0.1]", "allowed_ports": f"[{web.port}]"}}


class Blick:
    """Blick in the place of a Glance: its configuration file, its address, its database, its images."""

    def __init__(self, upstream: UpstreamGlance) -> None:
        upstream.write_files()
        self._upstream = upstream

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        file = str(self._upstream.config_file)
        return run_command(self._upstream.folder, "--config-file", file, *arguments, program="glance-manage")

    @contextmanager
    def running(self) -> Iterator[Caller]:
        file, port = self._upstream.config_file, self._upstream.port
        with (
            BlickServer(self._upstream.folder, config_file=file, port=port) as server,
            calling(server.url) as call,
        ):
            yield call


def two_places(web: WebServer) -> list[str]:
    return [web.put(b"from the web"), web.put(b"from the web")]


@contextmanager
def calling(url: str) -> Iterator[Caller]:
    with httpx.Client(base_url=url, timeout=120, trust_env=False) as http:
        yield Caller(http)


def execute(url: str, *statements: str) -> None:
    engine = create_engine(make_url(url))
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def grow_old(url: str, call: Caller, collection: Collection) -> Collection:
    """States that no call leads to today, or not for long: unfinished work of a dead process, rows of old releases."""
    added = {word: call.create(name=word, nothing="x") for word in ("saving", "importing", "killed")}
    execute(url, *[f"UPDATE images SET status = '{word}' WHERE id = '{image_id}'" for word, image_id in added.items()])
    execute(
        url,
        "UPDATE image_properties SET value = NULL WHERE name = 'nothing'",
        f"UPDATE images SET status = 'pending_delete' WHERE id = '{collection['deleted']}'",
        f"UPDATE image_locations SET status = 'pending_delete' WHERE image_id = '{collection['deleted']}'",
    )
    return Collection({**collection.ids, **added})


def require_same(before: Answers, after: Answers) -> None:
    """AssertionError with whatever is not the same any more."""
    changed = {word: _difference(said, after[word]) for word, said in before.items() if said != after[word]}
    assert not changed, json.dumps(changed, indent=1, ensure_ascii=False)


def _difference(before: Any, after: Any) -> Any:
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return {"was": before, "is": after}
    names = sorted(name for name in {**before, **after} if before.get(name) != after.get(name))
    return {name: {"was": before.get(name), "is": after.get(name)} for name in names}


def require_nothing_to_upgrade(upstream: UpstreamGlance) -> None:
    """In Glance's own eyes; on PostgreSQL it has none for that."""
    done = upstream.manage("db", "check", check=False)
    if "postgresql" in upstream.database_url:
        assert "supported only for MySQL and Sqlite" in done.stderr + done.stdout
    else:
        assert (done.returncode, done.stdout) == (0, "Database is up to date. No upgrades needed.\n")


def change(call: Caller, images: Collection) -> Collection:
    """Every kind of change that the API has, whoever serves it."""
    call.patch(
        images["words"],
        ("replace", "/name", "Genève"),
        ("add", "/new", "propérty"),
        ("replace", "/größe", "ö"),
        ("remove", "/long", None),
        ("add", "/empty", "full"),
        ("replace", "/tags", ["beta", "gamma"]),
    )
    call("PUT", f"/images/{images['words']}/tags/delta")
    call("DELETE", f"/images/{images['words']}/tags/beta")
    call.share(images["shared"], "newcomer", "accepted")
    call.share(images["shared"], "left")
    call("PUT", f"/images/{images['shared']}/members/member-0", json={"status": "accepted"})
    call("DELETE", f"/images/{images['shared']}/members/member-1")
    call.patch(images["private"], ("replace", "/visibility", "public"), ("replace", "/owner", "p9"))
    call.patch(images["protected"], ("replace", "/protected", False))
    call("POST", f"/images/{images['deactivated']}/actions/reactivate")
    call("POST", f"/images/{images['public']}/actions/deactivate")
    call.upload(images["queued"], b"uploaded later" * 1000)
    call("DELETE", f"/images/{images['protected']}")
    call("DELETE", f"/images/{images['killed']}")
    call("DELETE", f"/images/{images['saving']}")
    added = {"created": call.create(b"created", name="created", tags=["new"], some="thing")}
    added["left queued"] = call.create(name="left queued")
    call.share(added["created"], "member-0")
    return Collection({**images.ids, **added})


def change_more(call: Caller, images: Collection) -> Collection:
    """What the other side does afterwards, to what `change` left."""
    call.patch(images["words"], ("remove", "/new", None), ("add", "/long", "short"), ("replace", "/tags", ["delta"]))
    call("DELETE", f"/images/{images['shared']}/members/newcomer")
    call.share(images["shared"], "member-1", "rejected")
    call("POST", f"/images/{images['public']}/actions/reactivate")
    call.upload(images["left queued"], b"uploaded by the other one")
    for word in ("created", "community", "queued"):
        call("DELETE", f"/images/{images[word]}")
    return Collection({**images.ids, "created back": call.create(b"back", name="created back", tags=["new"])})


@on_every_engine
def test_there_and_back(tmp_path: Path, url: str, web: WebServer) -> None:
    upstream = glance(tmp_path, url, web)
    with upstream, calling(upstream.url) as call:
        images = collect(call, two_places(web))
        images = grow_old(url, call, images)
        upstream.manage("db", "load_metadefs", "--path", str(environment("upstream") / "etc/glance/metadefs"))
        said = answers(call, images)
    kept = rows(url)
    assert len(kept["metadef_properties"]) > 100

    blick = Blick(upstream)
    assert blick.manage("db", "check").returncode == 3
    assert blick.manage("db", "sync").returncode == 0
    assert blick.manage("db", "check").returncode == 0
    assert rows(url) == kept
    with blick.running() as call:
        require_same(said, answers(call, images))
    assert rows(url) == kept, "reading leaves everything as it was"

    with blick.running() as call:
        images = change(call, images)
        said = answers(call, images)
    assert upstream.manage("db", "version").stdout == "2024_1_contract01\n"
    require_nothing_to_upgrade(upstream)
    assert "up to date" in upstream.manage("db", "sync").stdout
    with upstream, calling(upstream.url) as call:
        require_same(said, answers(call, images))
        images = change_more(call, images)
        said = answers(call, images)

    with blick.running() as call:
        require_same(said, answers(call, images))
        call("DELETE", f"/images/{images['created back']}")
        assert call("GET", f"/images/{call.create(b'again')}")["status"] == "active"


@on_every_engine
def test_a_database_that_blick_made_is_one_that_glance_can_run_on(tmp_path: Path, url: str, web: WebServer) -> None:
    upstream = glance(tmp_path, url, web)
    blick = Blick(upstream)
    assert blick.manage("db", "sync").returncode == 0
    with blick.running() as call:
        collection = Collection({"full": call.create(b"full", name="füll", tags=["a"], p="q")})
        said = answers(call, collection)
    assert upstream.manage("db", "version").stdout == "2024_1_contract01\n"
    require_nothing_to_upgrade(upstream)
    with upstream, calling(upstream.url) as call:
        require_same(said, answers(call, collection))
        collect(call, two_places(web))


ON_EACH = [*[("sqlite", release) for release in RELEASES], ("mariadb", "train"), ("postgresql", "train")]


@pytest.mark.parametrize(
    ("engine", "release"),
    [
        pytest.param(
            engine,
            release,
            marks=[] if engine == "sqlite" else [pytest.mark.needs(engine), pytest.mark.database_server],
        )
        for engine, release in ON_EACH
    ],
    indirect=["engine"],
)
def test_every_release_since_train(tmp_path: Path, url: str, release: str) -> None:
    """Blick works on the tables as they were then, and Glance's own upgrade finds them so."""
    upstream = glance(tmp_path, url)
    upstream.manage("db", "upgrade", "--version", f"{release}_contract01")
    made = rows(url)
    blick = Blick(upstream)
    assert blick.manage("db", "sync").returncode == 0
    assert rows(url) == made
    assert blick.manage("db", "version").stdout == f"{release}_contract01\n"
    with blick.running() as call:
        collection = Collection({"full": call.create(b"full", name="füll", tags=["a"], p="q")})
        assert call("GET", f"/images/{collection['full']}/tasks") == {"tasks": []}
        said = answers(call, collection)
    assert "is synced successfully" in upstream.manage("db", "sync").stdout or release == "2024_1"
    assert blick.manage("db", "check").returncode == 0
    with upstream, calling(upstream.url) as call:
        require_same(said, answers(call, collection))


@on_every_engine
def test_encrypted_locations(tmp_path: Path, url: str, web: WebServer) -> None:
    upstream = glance(tmp_path, url, web, metadata_encryption_key=KEY)
    with upstream, calling(upstream.url) as call:
        ids = {"first": call.create(b"first"), "web": call.create()}
        place = {"url": web.put(b"from the web"), "metadata": {}}
        call.patch(ids["web"], ("add", "/locations/-", place))
        said = answers(call, Collection(ids))
    kept = rows(url)
    assert not any("://" in row for row in kept["image_locations"])
    blick = Blick(upstream)
    with blick.running() as call:
        require_same(said, answers(call, Collection(ids)))
        assert rows(url) == kept
        ids["second"] = call.create(b"second")
        said = answers(call, Collection(ids))
    assert not any("://" in row for row in rows(url)["image_locations"])
    with upstream, calling(upstream.url) as call:
        require_same(said, answers(call, Collection(ids)))
        call("DELETE", f"/images/{ids['second']}")


@pytest.mark.parametrize("revision", ["liberty", "ocata_contract01", "rocky_contract02", "2024_1_expand01"])
def test_older_and_half_upgraded_databases_are_refused(tmp_path: Path, url: str, revision: str) -> None:
    upstream = glance(tmp_path, url)
    upstream.manage("db", "upgrade", "--version", revision)
    kept = rows(url, ours=True)
    blick = Blick(upstream)
    refused = blick.manage("db", "sync")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert revision in refused.stderr
    assert "glance-manage db" in refused.stderr
    assert rows(url, ours=True) == kept


def several_stores(upstream: UpstreamGlance, web: WebServer) -> Options:
    """The same deployment after somebody gave it several stores: the old one is the lighter one of two."""
    more = upstream.folder / "more"
    more.mkdir(exist_ok=True)
    return {
        **letting_in(web),
        "DEFAULT": {"enabled_backends": "old:file,new:file,net:http", "show_multiple_locations": True},
        "glance_store": {"default_backend": "new"},
        "old": {"filesystem_store_datadir": upstream.images_folder, "weight": 1},
        "new": {"filesystem_store_datadir": more, "weight": 2},
    }


def untimed(said: Answers) -> Answers:
    """Without the time of the last change: Glance saves what it finds out about a location, Blick only tells it."""
    return {word: {**value, "updated_at": None} if isinstance(value, dict) else value for word, value in said.items()}


def test_locations_without_a_store_belong_to_the_store_they_are_in(tmp_path: Path, url: str, web: WebServer) -> None:
    """Rows of a deployment with one store, read by one with several, and the other way round."""
    single = glance(tmp_path, url, web)
    with single, calling(single.url) as call:
        collection = collect(call, two_places(web))
    options = several_stores(single, web)
    multiple = UpstreamGlance(single.folder, url, options=options)
    kept = rows(url)
    assert Blick(multiple).manage("db", "sync").returncode == 0
    with Blick(multiple).running() as call:
        answers(call, collection)
        assert rows(url) == kept, "reading leaves everything as it was"
        added = Collection({**collection.ids, "new": call.create(b"in the new store")})
        ours = answers(call, added)
        assert [ours[word]["stores"] for word in ("public", "two places", "new")] == ["old", "net,net", "new"]
    with multiple, calling(multiple.url) as call:
        require_same(untimed(ours), untimed(answers(call, added)))
        execute(url, 'UPDATE image_locations SET meta_data = \'{"store": "gone", "a": "b"}\'')
        theirs = answers(call, added)
    execute(url, 'UPDATE image_locations SET meta_data = \'{"store": "gone", "a": "b"}\'')
    with Blick(multiple).running() as call:
        require_same(untimed(theirs), untimed(answers(call, added)))
    with single, calling(single.url) as call:
        theirs = answers(call, collection)
    with Blick(single).running() as call:
        require_same(untimed(theirs), untimed(answers(call, collection)))


def ours_in(url: str) -> dict[str, set[str]]:
    """Blick's tables and indexes, by table."""
    engine = create_engine(make_url(url))
    seen = inspect(engine)
    found = {
        name: {str(index["name"]) for index in seen.get_indexes(name) if str(index["name"]).startswith("blick_")}
        for name in seen.get_table_names()
    }
    engine.dispose()
    return {name: indexes for name, indexes in found.items() if indexes or name.startswith("blick_")}


@on_every_engine
def test_an_adoption_that_is_killed_is_finished_by_the_next(
    tmp_path: Path, url: str, engine: str, databases: Databases
) -> None:
    """MariaDB keeps every table as it is made: killed there, some are there and some are not."""
    upstream = glance(tmp_path, url)
    upstream.manage("db", "upgrade", "--version", "train_contract01")
    kept = rows(url)
    upstream.write_files()
    command = [str(VENV_BIN / "glance-manage"), "--config-file", str(upstream.config_file), "db", "sync"]
    for table in ("blick_alembic_version", "blick_leases", "blick_identity_users"):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and table not in ours_in(url):
                time.sleep(0.01)
            process.kill()
    together = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for process in together:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, out + err
    assert rows(url) == kept
    assert ours_in(url) == ours_in(databases.fresh(engine, tmp_path))
