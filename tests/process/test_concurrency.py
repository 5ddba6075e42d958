"""What docs/concurrency.md promises to clients that do the same thing at once: two workers, on every engine.

Every rival has a connection of its own, so that either worker may serve it.
"""

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, text

from tests.support.config_file import configured_server
from tests.support.databases import ENGINES, Databases
from tests.support.remains import stored_files
from tests.support.server import BlickServer
from tests.support.waiting import eventually
from tests.support.wire import Wire

RIVALS = 12
ROUNDS = 3
PATCH = {"content-type": "application/openstack-images-v2.1-json-patch"}
OCTETS = {"content-type": "application/octet-stream"}
RAW = {"disk_format": "raw", "container_format": "bare"}


@dataclass(frozen=True)
class Race:
    """A server, a client for what is not raced, and the server's database."""

    server: BlickServer
    api: httpx.Client
    url: str

    def create(self, **attributes: Any) -> str:
        answer = self.api.post("/v2/images", json={**RAW, "owner": "p1", **attributes})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def show(self, image_id: str) -> dict[str, Any]:
        answer = self.api.get(f"/v2/images/{image_id}")
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    def rivals(self, requests: Sequence[tuple[str, str, dict[str, Any]]]) -> list[httpx.Response]:
        """The answers to requests (method, path, further arguments of httpx) that are sent at the same moment."""
        barrier = threading.Barrier(len(requests))

        def ask(request: tuple[str, str, dict[str, Any]]) -> httpx.Response:
            method, path, options = request
            with httpx.Client(base_url=self.server.url, timeout=120, trust_env=False) as client:
                client.get("/healthcheck")  # connects
                barrier.wait()
                return client.request(method, path, **options)

        with ThreadPoolExecutor(len(requests)) as threads:
            answers = list(threads.map(ask, requests))
        assert all(answer.status_code < 500 for answer in answers), [answer.text for answer in answers]
        return answers

    def count(self, statement: str) -> int:
        """The number that a query of the database gives."""
        engine = create_engine(self.url)
        try:
            with engine.connect() as connection:
                return int(connection.execute(text(statement)).scalar_one())
        finally:
            engine.dispose()


@pytest.fixture(scope="module", params=ENGINES)
def race(
    request: pytest.FixtureRequest, databases: Databases, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Race]:
    folder = tmp_path_factory.mktemp(f"race-{request.param}")
    url = databases.untouched(request.param, folder)
    groups = {"DEFAULT": {"workers": 2}, "database": {"connection": url}}
    with configured_server(folder / "server", groups) as server:
        with httpx.Client(base_url=server.url, timeout=120, trust_env=False) as api:
            yield Race(server, api, url)
        said = server.log_text()
    assert "Traceback" not in said, said[-4000:]


def statuses(answers: Sequence[httpx.Response]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


def test_changes_of_different_properties_all_survive(race: Race) -> None:
    for _ in range(ROUNDS):
        path = f"/v2/images/{race.create(kept='as it is', number_0='old')}"
        changes = [{"op": "add", "path": f"/number_{number}", "value": str(number)} for number in range(RIVALS)]
        answers = race.rivals([("PATCH", path, {"json": [change], "headers": PATCH}) for change in changes])
        assert statuses(answers) == {200: RIVALS}
        shown = race.api.get(path).json()
        assert {name: value for name, value in shown.items() if name.startswith("number_")} == {
            f"number_{number}": str(number) for number in range(RIVALS)
        }
        assert shown["kept"] == "as it is"


def test_changes_of_one_property_leave_one_of_the_values(race: Race) -> None:
    path = f"/v2/images/{race.create()}"
    values = [f"value {number}" for number in range(RIVALS)]
    changes = [[{"op": "add", "path": "/same", "value": value}] for value in values]
    answers = race.rivals([("PATCH", path, {"json": change, "headers": PATCH}) for change in changes])
    assert statuses(answers) == {200: RIVALS}
    # Every answer shows what its own request wrote.
    assert [answer.json()["same"] for answer in answers] == values
    assert race.api.get(path).json()["same"] in values
    assert race.count(f"SELECT count(*) FROM image_properties WHERE image_id = '{path[-36:]}'") == 1


def test_base_attributes_and_properties_do_not_overwrite_each_other(race: Race) -> None:
    path = f"/v2/images/{race.create(name='before', tags=['before'])}"
    changes: list[dict[str, Any]] = [
        {"op": "replace", "path": "/name", "value": "after"},
        {"op": "replace", "path": "/min_ram", "value": 7},
        {"op": "replace", "path": "/visibility", "value": "private"},
        {"op": "replace", "path": "/tags", "value": ["after"]},
        {"op": "add", "path": "/custom", "value": "after"},
        {"op": "replace", "path": "/protected", "value": True},
    ]
    answers = race.rivals([("PATCH", path, {"json": [change], "headers": PATCH}) for change in changes])
    assert statuses(answers) == {200: len(changes)}
    shown = race.api.get(path).json()
    assert {change["path"][1:]: change["value"] for change in changes}.items() <= shown.items()


def test_tags_given_at_once_all_stay(race: Race) -> None:
    for _ in range(ROUNDS):
        path = f"/v2/images/{race.create()}"
        tags = [f"tag-{number % (RIVALS // 2)}" for number in range(RIVALS)]  # each of them by two rivals
        answers = race.rivals([("PUT", f"{path}/tags/{tag}", {}) for tag in tags])
        assert statuses(answers) == {204: RIVALS}
        assert sorted(race.api.get(path).json()["tags"]) == sorted(set(tags))
        assert race.count(f"SELECT count(*) FROM image_tags WHERE image_id = '{path[-36:]}'") == RIVALS // 2


def test_a_tag_is_taken_away_once(race: Race) -> None:
    path = f"/v2/images/{race.create(tags=['once', 'other'])}"
    answers = race.rivals([("DELETE", f"{path}/tags/once", {})] * RIVALS)
    assert statuses(answers) == {204: 1, 404: RIVALS - 1}
    assert race.api.get(path).json()["tags"] == ["other"]


def test_one_upload_wins(race: Race) -> None:
    for _ in range(ROUNDS):
        image_id = race.create()
        path = f"/v2/images/{image_id}/file"
        bodies = [bytes([number]) * 100_000 for number in range(RIVALS)]
        answers = race.rivals([("PUT", path, {"content": body, "headers": OCTETS}) for body in bodies])
        assert statuses(answers) == {204: 1, 409: RIVALS - 1}
        winner = next(number for number, answer in enumerate(answers) if answer.status_code == 204)
        assert race.api.get(path).content == bodies[winner]
        shown = race.show(image_id)
        assert (shown["status"], shown["size"]) == ("active", 100_000)
        assert race.count(f"SELECT count(*) FROM image_locations WHERE image_id = '{image_id}'") == 1
        assert [name for name in stored_files(race.server.data_dir) if image_id in name] == [image_id]


def test_a_member_is_added_once(race: Race) -> None:
    for _ in range(ROUNDS):
        path = f"/v2/images/{race.create(visibility='shared')}/members"
        answers = race.rivals([("POST", path, {"json": {"member": "p2"}})] * RIVALS)
        assert statuses(answers) == {200: 1, 409: RIVALS - 1}
        assert [member["member_id"] for member in race.api.get(path).json()["members"]] == ["p2"]
        removals = race.rivals([("DELETE", f"{path}/p2", {})] * RIVALS)
        assert statuses(removals) == {204: 1, 404: RIVALS - 1}
        again = race.rivals([("POST", path, {"json": {"member": "p2"}})] * RIVALS)
        assert statuses(again) == {200: 1, 409: RIVALS - 1}


def test_different_members_are_all_added(race: Race) -> None:
    path = f"/v2/images/{race.create(visibility='shared')}/members"
    projects = [f"p{number}" for number in range(2, 2 + RIVALS)]
    answers = race.rivals([("POST", path, {"json": {"member": project}}) for project in projects])
    assert statuses(answers) == {200: RIVALS}
    assert {member["member_id"] for member in race.api.get(path).json()["members"]} == set(projects)


def test_an_id_is_given_once(race: Race) -> None:
    for number in range(ROUNDS):
        image_id = f"5c3e0000-0000-4000-8000-00000000000{number}"
        bodies = [{"id": image_id, "name": f"rival {rival}", "which": str(rival)} for rival in range(RIVALS)]
        answers = race.rivals([("POST", "/v2/images", {"json": body}) for body in bodies])
        assert statuses(answers) == {201: 1, 409: RIVALS - 1}
        winner = next(rival for rival, answer in enumerate(answers) if answer.status_code == 201)
        assert race.show(image_id)["which"] == str(winner)
        assert race.count(f"SELECT count(*) FROM image_properties WHERE image_id = '{image_id}'") == 1


def test_an_image_is_deleted_once(race: Race) -> None:
    for _ in range(ROUNDS):
        image_id = race.create()
        uploaded = race.api.put(f"/v2/images/{image_id}/file", content=b"data", headers=OCTETS)
        assert uploaded.status_code == 204
        answers = race.rivals([("DELETE", f"/v2/images/{image_id}", {})] * RIVALS)
        assert statuses(answers) == {204: 1, 404: RIVALS - 1}
        assert not [name for name in stored_files(race.server.data_dir) if image_id in name]
    assert race.count("SELECT count(*) FROM blick_location_deletes") == 0


def test_deleted_and_changed_at_once(race: Race) -> None:
    """Whoever comes after the deletion is told that there is no such image; nothing of it comes back."""
    for _ in range(ROUNDS):
        image_id = race.create(visibility="shared", tags=["old"], custom="old")
        path = f"/v2/images/{image_id}"
        answers = race.rivals(
            [
                ("DELETE", path, {}),
                ("PATCH", path, {"json": [{"op": "add", "path": "/late", "value": "x"}], "headers": PATCH}),
                ("PUT", f"{path}/tags/late", {}),
                ("POST", f"{path}/members", {"json": {"member": "p2"}}),
                ("PUT", f"{path}/file", {"content": b"late", "headers": OCTETS}),
                ("POST", f"{path}/actions/deactivate", {}),
            ]
        )
        deleted, *others = [answer.status_code for answer in answers]
        assert deleted == 204
        assert set(others) <= {200, 204, 404, 403, 410}, others
        assert race.api.get(path).status_code == 404
        for table in ("image_properties", "image_tags", "image_members", "image_locations"):
            live = f"SELECT count(*) FROM {table} WHERE image_id = '{image_id}' AND NOT deleted"
            assert race.count(live) == 0, table
        eventually(
            lambda image_id=image_id: not [name for name in stored_files(race.server.data_dir) if image_id in name],
            what="no bytes are left",
        )
        assert race.count(f"SELECT count(*) FROM blick_leases WHERE image_id = '{image_id}'") == 0


def test_deleted_during_the_upload(race: Race) -> None:
    image_id = race.create()
    path = f"/v2/images/{image_id}"
    with Wire(race.server.port) as wire:
        wire.upload_head("", image_id, transfer_encoding="chunked").chunk(b"x" * 100_000)
        eventually(lambda: race.show(image_id)["status"] == "saving", what="the upload has begun")
        assert race.api.delete(path).status_code == 204
        assert wire.chunk(b"y" * 100_000).chunk(b"").answer().status == 410
    assert race.api.get(path).status_code == 404
    assert not [name for name in stored_files(race.server.data_dir) if image_id in name]
    assert race.count("SELECT count(*) FROM blick_leases") == 0
    assert race.count("SELECT count(*) FROM blick_location_deletes") == 0
    assert race.count(f"SELECT count(*) FROM image_locations WHERE image_id = '{image_id}'") == 0


def test_a_quota_holds_against_rivals(race: Race) -> None:
    """Of tags, which are added one by one: 128 and not one more."""
    image_id = race.create(tags=[f"t{number}" for number in range(124)])
    answers = race.rivals([("PUT", f"/v2/images/{image_id}/tags/new-{number}", {}) for number in range(RIVALS)])
    assert statuses(answers) == {204: 4, 413: RIVALS - 4}
    assert len(race.show(image_id)["tags"]) == 128


def test_a_row_that_somebody_else_holds_is_waited_for(race: Race) -> None:
    """Longer than the servers wait for a lock by themselves: the transaction is tried again, and nobody is told."""
    path = f"/v2/images/{race.create()}"
    engine = create_engine(race.url)
    held = threading.Event()

    def hold() -> None:
        with engine.connect() as connection:
            if engine.dialect.name == "sqlite":
                connection.execute(text("BEGIN IMMEDIATE"))
            connection.execute(text(f"UPDATE images SET min_disk = 1 WHERE id = '{path[-36:]}'"))
            held.set()
            threading.Event().wait(8)
            connection.commit()

    with ThreadPoolExecutor(1) as threads:
        holder = threads.submit(hold)
        held.wait(60)
        change = [{"op": "add", "path": "/custom", "value": "x"}]
        (answer,) = race.rivals([("PATCH", path, {"json": change, "headers": PATCH})])
        holder.result()
    engine.dispose()
    assert answer.status_code == 200, answer.text
    assert (answer.json()["custom"], answer.json()["min_disk"]) == ("x", 1)
