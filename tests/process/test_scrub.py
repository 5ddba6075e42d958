"""Scrubbers as processes: several at once, killed over and over, and told to stop."""

import random
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from blick.conf.settings import DatabaseSettings
from blick.db import images, outbox
from blick.db.engine import Database, open_database
from blick.db.tables import image_locations, location_deletes
from blick.db.tables import images as table
from blick.db.upgrade import ensure_current
from tests.support.config_file import configured_server
from tests.support.glance_records import Caller
from tests.support.parts import VENV_BIN
from tests.support.records import NOW, image
from tests.support.remains import DATABASE, STORE
from tests.support.server import BlickServer, clean_environment
from tests.support.waiting import eventually

IMAGES = 300
A_ROUND = 50
"""So many are scrubbed until both scrubbers are killed."""
SCRUBBERS = 2
STOPS_WITHIN_S = 60


@pytest.fixture
def server(tmp_path: Path) -> Iterator[BlickServer]:
    """A server that leaves data to the scrubber; not started."""
    made = configured_server(tmp_path / "blick", options(wakeup_time=1))
    yield made
    made.kill_all()


def options(**default: object) -> Mapping[str, Mapping[str, object]]:
    return {"DEFAULT": {"delayed_delete": True, **default}}


@contextmanager
def scrubber(server: BlickServer, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A scrubber with the server's configuration, killed at the end if it still runs. Its log is scrubber.log."""
    with (server.folder / "scrubber.log").open("ab") as log:
        process = subprocess.Popen(
            [VENV_BIN / "glance-scrubber", "--config-file", server.folder / "glance-api.conf", *arguments],
            env=clean_environment(server.folder),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def log_text(server: BlickServer) -> str:
    return (server.folder / "scrubber.log").read_text(errors="replace")


@pytest.fixture
def database(server: BlickServer) -> Iterator[Database]:
    """The server's, without rows."""
    settings = DatabaseSettings(f"sqlite:///{server.data_dir / DATABASE}", sqlite_synchronous=False)
    opened = open_database(settings)
    ensure_current(opened)
    yield opened
    opened.close()


def count(database: Database, status: str) -> int:
    wanted = select(func.count()).select_from(table).where(table.c.status == status)
    return database.read_now(lambda connection: int(connection.execute(wanted).scalar_one()))


def test_killed_over_and_over(server: BlickServer, database: Database) -> None:
    folder = server.data_dir / STORE
    folder.mkdir()
    for number in range(IMAGES):
        image_id = f"{number:08x}-0000-4000-8000-000000000000"
        (folder / image_id).write_bytes(b"data")
        database.write_now(images.insert_image, image(image_id, status="active"))
        database.write_now(images.add_location, image_id, f"file://{folder / image_id}", {}, NOW)
        database.write_now(outbox.delete_image, image_id, NOW, 0, delayed=True)
    moments = random.Random(7)
    kills = 0
    while left := count(database, "pending_delete"):
        with ExitStack() as stack:
            processes = [stack.enter_context(scrubber(server, "--daemon")) for _ in range(SCRUBBERS)]
            # What was claimed by those who were killed is free again some seconds later.
            eventually(
                lambda goal=left - A_ROUND: count(database, "pending_delete") <= max(goal, 0),  # type: ignore[misc]
                what=lambda: f"some images are scrubbed: {log_text(server)[-4000:]}",
            )
            time.sleep(moments.uniform(0, 0.05))
            assert [process.poll() for process in processes] == [None] * SCRUBBERS
            kills += SCRUBBERS
    assert kills >= SCRUBBERS * IMAGES / A_ROUND / 2, "they were hardly ever killed"
    assert count(database, "deleted") == IMAGES
    assert list(folder.iterdir()) == []
    with database.engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(location_deletes)).scalar() == 0
        assert connection.execute(select(image_locations.c.status).distinct()).scalars().all() == ["deleted"]
    assert "Traceback" not in log_text(server)


def test_beside_a_server(server: BlickServer) -> None:
    server.start()
    folder = server.data_dir / STORE
    with httpx.Client(base_url=server.url, timeout=60) as http:
        call = Caller(http)

        def deleted() -> Path:
            image_id = call.create(b"data")
            call("DELETE", f"/images/{image_id}")
            assert http.get(f"/v2/images/{image_id}").status_code == 404
            assert (folder / image_id).exists()
            return folder / image_id

        with scrubber(server, "--daemon") as daemon:
            for _ in range(3):
                place = deleted()
                eventually(lambda place=place: not place.exists(), what=lambda: log_text(server))  # type: ignore[misc]
            assert daemon.poll() is None
        restored = deleted()
        with scrubber(server, "--restore", restored.name) as once:
            assert once.wait(STOPS_WITHIN_S) == 0
        assert http.get(f"/v2/images/{restored.name}/file").content == b"data"
        with scrubber(server) as once:
            assert once.wait(STOPS_WITHIN_S) == 0
        assert restored.exists()


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.usefixtures("database")
def test_stops_when_told_to(server: BlickServer, signal_number: int) -> None:
    """In the middle of its pause, which is longer than anybody would wait."""
    conf = server.folder / "glance-api.conf"
    conf.write_text(conf.read_text().replace("wakeup_time = 1", "wakeup_time = 86400"))
    with scrubber(server, "--daemon") as daemon:
        eventually(lambda: "scrubbed: 0 removed" in log_text(server), what=lambda: log_text(server))
        daemon.send_signal(signal_number)
        assert daemon.wait(STOPS_WITHIN_S) == 0
    assert "Traceback" not in log_text(server)
