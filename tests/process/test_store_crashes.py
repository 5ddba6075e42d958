"""kill -9 at uploads, deletions, copies and their repair, over and over: no object is lost, and none is orphaned.

The copies are those that a record promises and a store lacks: `blick stores check --repair` makes them, and is killed
as well.
"""

import json
import os
import random
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from blick.conf.settings import DatabaseSettings
from blick.db import images, store_check
from blick.db.engine import Database, open_database
from blick.ops.services import utc_now
from tests.support import s3
from tests.support.ceph import Ceph
from tests.support.config_file import configured_server
from tests.support.images_api import ImagesApi
from tests.support.parts import VENV_BIN
from tests.support.remains import DATABASE, deletes, leases
from tests.support.server import BlickServer
from tests.support.waiting import eventually

RAW = {"disk_format": "raw", "container_format": "bare"}
STORES = ("one", "two")
OPERATIONS = 200
"""Uploads, deletions and copies, at least."""
ROUNDS = 5
"""So many times everything is killed."""
CLIENTS = 3
LIVES_S = (0.0, 0.8)
"""How long each may go on when it could be killed."""
COPIES_A_ROUND = 8
LARGEST_BYTES = 600_000


@dataclass(frozen=True)
class Backend:
    """Two stores of one kind: `type` and options of each, and what their URIs differ by."""

    type: str
    options: Mapping[str, Mapping[str, object]]
    names: tuple[str, str]

    def groups(self) -> dict[str, dict[str, object]]:
        """The part of a configuration file."""
        backends = ",".join(f"{store_id}:{self.type}" for store_id in STORES)
        groups: dict[str, dict[str, object]] = {
            "DEFAULT": {"enabled_backends": backends},
            "glance_store": {"default_backend": STORES[0]},
        }
        return groups | {store_id: dict(options) for store_id, options in self.options.items()}

    def elsewhere(self, uri: str) -> tuple[str, str]:
        """The place of that copy in the other store, and that store."""
        here = next(position for position, name in enumerate(self.names) if name in uri)
        return uri.replace(self.names[here], self.names[1 - here]), STORES[1 - here]


def file_backend(_request: pytest.FixtureRequest, folder: Path) -> Backend:
    folders = (f"{folder}/folder-1", f"{folder}/folder-2")
    options = [{"filesystem_store_datadir": name} for name in folders]
    return Backend("file", dict(zip(STORES, options, strict=True)), folders)


def s3_backend(request: pytest.FixtureRequest, _folder: Path) -> Backend:
    server: s3.S3Server = request.getfixturevalue("moto")
    buckets = (s3.new_bucket(server), s3.new_bucket(server))
    options = [s3.options(server, bucket) for bucket in buckets]
    return Backend("s3", dict(zip(STORES, options, strict=True)), buckets)


def rbd_backend(request: pytest.FixtureRequest, _folder: Path) -> Backend:
    cluster: Ceph = request.getfixturevalue("ceph")
    pools = ("killed-1", "killed-2")
    for pool in pools:
        cluster.create_pool(pool)
    cluster.create_user("killed", mon="profile rbd", osd=", ".join(f"profile rbd pool={pool}" for pool in pools))
    usual = {"rbd_store_ceph_conf": cluster.conf_path, "rbd_store_user": "killed"}
    options = [usual | {"rbd_store_pool": pool} for pool in pools]
    return Backend("rbd", dict(zip(STORES, options, strict=True)), pools)


@pytest.fixture(
    params=[
        pytest.param(file_backend, id="file"),
        pytest.param(s3_backend, id="s3", marks=pytest.mark.needs("moto")),
        pytest.param(rbd_backend, id="rbd", marks=pytest.mark.needs("ceph", "rbd")),
    ]
)
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    made: Backend = request.param(request, tmp_path)
    return made


@dataclass
class Tally:
    """What was done, and what has to be true in the end. Shared by the clients' threads."""

    active: dict[str, bytes] = field(default_factory=dict)
    uploads: int = 0
    deletions: int = 0
    copies: int = 0

    @property
    def operations(self) -> int:
        return self.uploads + self.deletions + self.copies


def test_kill_over_and_over(backend: Backend, tmp_path: Path) -> None:
    server = configured_server(tmp_path / "blick", backend.groups())
    moments = random.Random(11)
    tally = Tally()
    database = open_database(DatabaseSettings(connection=f"sqlite:///{server.data_dir / DATABASE}"))
    try:
        for _ in range(ROUNDS):
            server.start()
            promise_copies(database, backend, tally)
            live_and_die(server, moments, tally)
        server.start()
        assert tally.operations >= OPERATIONS
        assert_everything_adds_up(server, database, tally)
    finally:
        server.kill_all()
        database.close()


def live_and_die(server: BlickServer, moments: random.Random, tally: Tally) -> None:
    """Clients and a repair work until both the server and the repair are killed, in whatever order."""
    repair = start_check(server, "--repair")
    with ExitStack() as stack:
        apis = [stack.enter_context(ImagesApi(server.url, None)) for _ in range(CLIENTS)]
        clients = [threading.Thread(target=work, args=(api, random.Random(moments.random()), tally)) for api in apis]
        eventually(lambda: begun_checks(server) or repair.poll() is not None, what="the repair has begun")
        enough = tally.operations + OPERATIONS // ROUNDS
        for client in clients:
            client.start()
        kills: list[Callable[[], object]] = [server.kill, repair.kill]
        for kill in moments.sample(kills, 2):
            if kill == server.kill:
                eventually(lambda: tally.operations >= enough, what="the clients have got to work")
            time.sleep(moments.uniform(*LIVES_S))
            kill()
        for client in clients:
            client.join()
    said = repair.communicate()[1]
    assert "Traceback" not in said, said
    for left in begun_checks(server):
        shutil.rmtree(left)


def begun_checks(server: BlickServer) -> list[Path]:
    """The temporary folders of checks that have begun, or were killed."""
    return list((server.folder / "temporary").glob("blick-check-*"))


def start_check(server: BlickServer, *arguments: str) -> "subprocess.Popen[str]":
    """`blick stores check`, for which everything is old enough."""
    temporary = server.folder / "temporary"
    temporary.mkdir(exist_ok=True)
    command = [str(VENV_BIN / "blick"), "stores", "check", "--config-file", str(server.folder / "glance-api.conf")]
    return subprocess.Popen(
        [*command, "--grace", "0", "--force", *arguments],
        env=server.environment | {"TMPDIR": str(temporary)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def work(api: ImagesApi, choices: random.Random, tally: Tally) -> None:
    """Create, upload to one of the stores, delete every third, until the server is gone."""
    try:
        while True:
            data = os.urandom(choices.randrange(1, LARGEST_BYTES))
            image_id = api.create(name="work", **RAW)["id"]
            headers = {"content-type": "application/octet-stream", "x-image-meta-store": choices.choice(STORES)}
            if api.http.put(f"/v2/images/{image_id}/file", content=data, headers=headers).status_code == 204:
                tally.active[image_id] = data
                tally.uploads += 1
            if choices.random() < 0.35:
                tally.active.pop(image_id, None)  # from here on either outcome is right
                api.delete(image_id)
                tally.deletions += 1
    except (OSError, httpx.TransportError):
        return


def promise_copies(database: Database, backend: Backend, tally: Tally) -> None:
    """Give some images a second location, as if their copies had been lost: to be made by a repair."""
    promised = 0
    for image_id in list(tally.active):
        copies = database.read_now(store_check.of_image, image_id)
        if len(copies) != 1 or promised == COPIES_A_ROUND:
            continue
        uri, store_id = backend.elsewhere(copies[0].place.uri)
        database.write_now(images.add_location, image_id, uri, {"store": store_id}, utc_now())
        promised += 1
    tally.copies += promised


def assert_everything_adds_up(server: BlickServer, database: Database, tally: Tally) -> None:
    eventually(lambda: deletes(server.data_dir) == leases(server.data_dir) == 0, what="all cleaned up")
    repaired = ended_check(server, "--repair")
    assert repaired["status"] == 0, repaired
    found = ended_check(server, "--verify")
    assert found["status"] == 0, found
    for store in found["stores"]:
        assert (store["missing"], store["mismatched"], store["orphaned"]) == (0, 0, 0)
        assert (store["foreign"], store["waiting"], store["busy"], store["trouble"]) == (0, 0, 0, None)
    assert found["findings"] == []
    checked = sum(store["checked"] for store in found["stores"])
    assert checked == sum(store["objects"] for store in found["stores"])
    assert checked >= len(tally.active) + tally.copies // 2
    with ImagesApi(server.url, None) as api:
        for image_id, data in tally.active.items():
            assert api.show(image_id)["status"] == "active"
            assert api.http.get(f"/v2/images/{image_id}/file").content == data


def ended_check(server: BlickServer, *arguments: str) -> dict[str, Any]:
    """A check that runs to its end."""
    said, complained = start_check(server, *arguments, "--format", "json").communicate()
    assert "Traceback" not in complained, complained
    document: dict[str, Any] = json.loads(said)
    return document
