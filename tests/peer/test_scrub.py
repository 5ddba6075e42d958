"""Deletions that are delayed, begun by Glance and carried out by Blick, and the other way round: on each engine."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, make_url, text

from tests.support.command import run_command
from tests.support.databases import Databases, on_every_engine
from tests.support.glance_records import Answers, Caller, Collection, answers, rows
from tests.support.server import BlickServer
from tests.support.upstream import UpstreamGlance

pytestmark = [pytest.mark.needs("upstream"), on_every_engine]

KEY = "0123456789abcdefghijklmnopqrstuv"


@pytest.fixture
def url(engine: str, databases: Databases, tmp_path: Path) -> str:
    """A database in which nothing was ever made."""
    return databases.untouched(engine, tmp_path)


@pytest.fixture
def upstream(tmp_path: Path, url: str, key: str | None) -> UpstreamGlance:
    """A Glance that leaves data to its scrubber."""
    options = {"delayed_delete": True, "show_multiple_locations": True}
    if key is not None:
        options |= {"metadata_encryption_key": key}
    return UpstreamGlance(tmp_path / "glance", url, options={"DEFAULT": options})


@contextmanager
def calling(url: str) -> Iterator[Caller]:
    with httpx.Client(base_url=url, timeout=120, trust_env=False) as http:
        yield Caller(http)


def ours(upstream: UpstreamGlance, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of Blick's on Glance's configuration."""
    file = str(upstream.config_file)
    return run_command(upstream.folder, "--config-file", file, *arguments, program=program)


@contextmanager
def serving(upstream: UpstreamGlance) -> Iterator[Caller]:
    """Blick in Glance's place."""
    server = BlickServer(upstream.folder, config_file=upstream.config_file, port=upstream.port)
    with server, calling(server.url) as call:
        yield call


def statuses(url: str) -> Mapping[str, tuple[str, bool, set[str]]]:
    """By image: its status, whether it is deleted, and the statuses of its locations."""
    engine = create_engine(make_url(url))
    with engine.connect() as connection:
        images = connection.execute(text("SELECT id, status, deleted FROM images")).all()
        places = connection.execute(text("SELECT image_id, status, deleted FROM image_locations")).all()
    engine.dispose()
    return {
        image.id: (
            image.status,
            bool(image.deleted),
            {f"{place.status} {bool(place.deleted)}" for place in places if place.image_id == image.id},
        )
        for image in images
    }


WAITING = ("pending_delete", True, {"pending_delete True"})
DONE = ("deleted", True, {"deleted True"})
ALIVE = ("active", False, {"active False"})


@pytest.mark.parametrize("key", [KEY], ids=["encrypted"])
def test_there_and_back(upstream: UpstreamGlance, url: str) -> None:
    files = upstream.images_folder
    with upstream, calling(upstream.url) as call:
        first = call.create(b"first", name="first", tags=["a", "b"], p="q", removed="long ago")
        call.patch(first, ("remove", "/removed", None), ("replace", "/tags", ["b", "c"]))
        call.share(first, "member", "accepted")
        call.share(first, "left")
        call("DELETE", f"/images/{first}/members/left")
        second, third = call.create(b"second"), call.create(b"third")
        said = answers(call, Collection({"second": second}))
        for image_id in (first, second):
            call("DELETE", f"/images/{image_id}")
    assert statuses(url) == {first: WAITING, second: WAITING, third: ALIVE}
    kept = rows(url)
    assert ours(upstream, "glance-scrubber").returncode == 1  # whose database it is by now has to be said first
    assert rows(url) == kept
    assert ours(upstream, "glance-manage", "db", "sync").returncode == 0

    # What Glance deleted: restored, and scrubbed.
    restored = ours(upstream, "glance-scrubber", "--restore", second)
    assert (restored.returncode, restored.stdout) == (0, "")
    done = ours(upstream, "glance-scrubber")
    assert (done.returncode, done.stdout) == (0, "")
    assert "Traceback" not in done.stderr
    assert statuses(url) == {first: DONE, second: ALIVE, third: ALIVE}
    assert sorted(file.name for file in files.iterdir()) == sorted([second, third])
    with serving(upstream) as call:
        again = answers(call, Collection({"second": second}))
        assert unchanged(again) == unchanged(said)
        fourth = call.create(b"fourth", name="fourth", tags=["x"], y="z")
        for image_id in (second, fourth):
            call("DELETE", f"/images/{image_id}")
            assert call.http.get(f"/v2/images/{image_id}").status_code == 404
        fifth = call.create(b"fifth", name="fifth", tags=["x"], y="z")
        call.share(fifth, "member", "accepted")
        said = answers(call, Collection({"fifth": fifth}))
        call("DELETE", f"/images/{fifth}")
    assert statuses(url) == {first: DONE, second: WAITING, third: ALIVE, fourth: WAITING, fifth: WAITING}

    # What Blick deleted.
    assert ours(upstream, "glance-scrubber", "--restore", fifth).returncode == 0
    with upstream, calling(upstream.url) as call:
        assert call.http.get(f"/v2/images/{second}").status_code == 404
        assert unchanged(answers(call, Collection({"fifth": fifth}))) == unchanged(said)
        upstream.scrub()
    assert statuses(url) == {first: DONE, second: DONE, third: ALIVE, fourth: DONE, fifth: ALIVE}
    assert sorted(file.name for file in files.iterdir()) == sorted([third, fifth])
    assert ours(upstream, "glance-scrubber").returncode == 0
    assert sorted(file.name for file in files.iterdir()) == sorted([third, fifth])


def unchanged(said: Answers) -> Answers:
    """What is said of the images and their members, without lists and times of changes."""
    return {word: _untimed(value) for word, value in said.items() if not word.startswith("list")}


def _untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: None if name == "updated_at" else _untimed(each) for name, each in value.items()}
    return [_untimed(each) for each in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("key", [None], ids=["plain"])
def test_what_a_restore_brings_back(upstream: UpstreamGlance, url: str) -> None:
    """All that Glance's deletion took along, and nothing that was gone before; as far as Glance's rows can tell."""
    with upstream, calling(upstream.url) as call:
        image_id = call.create(b"data", name="first", tags=["a", "b"], p="q")
        call.patch(image_id, ("replace", "/tags", ["b", "c"]))
        for member in ("left", "member"):
            call.share(image_id, member, "accepted")
        call("DELETE", f"/images/{image_id}/members/left")
        before = answers(call, Collection({"image": image_id}))
        grow_older(url)
        call("DELETE", f"/images/{image_id}")
    assert ours(upstream, "glance-manage", "db", "sync").returncode == 0
    assert ours(upstream, "glance-scrubber", "--restore", image_id).returncode == 0
    with serving(upstream) as call:
        after = answers(call, Collection({"image": image_id}))
    assert unchanged(after) == unchanged(before)


def grow_older(url: str) -> None:
    """What was deleted so far was deleted long ago. (Two of the engines keep times in seconds, or nearly so.)"""
    engine = create_engine(make_url(url))
    with engine.begin() as connection:
        for child in ("image_tags", "image_members"):
            connection.execute(text(f"UPDATE {child} SET deleted_at = '2020-01-01' WHERE deleted_at IS NOT NULL"))
    engine.dispose()
