"""`blick db purge` beside a running service, killed in the middle and run again: on each engine."""

import http.client
import json
import signal
import subprocess
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, func, insert, select

from blick.db.tables import image_properties, image_tags, images
from tests.support.command import program_command, run_program
from tests.support.config_file import configured_server
from tests.support.databases import on_every_engine
from tests.support.server import HOST, BlickServer, clean_environment

pytestmark = on_every_engine

DEAD_IMAGES = 6000
LIVE_IMAGES = 30
ROWS = 500
LONG_AGO = datetime(2020, 1, 1)  # noqa: DTZ001 - times in the database are naive UTC
ALL = ("--max_rows", "-1")


def fill(engine: Engine) -> None:
    dead: dict[str, Any] = {"created_at": LONG_AGO, "deleted": True, "deleted_at": LONG_AGO}
    # What was taken back: its time of deletion stayed.
    live: dict[str, Any] = {"created_at": LONG_AGO, "deleted": False, "deleted_at": LONG_AGO}
    stamps = [(f"dead-{number}", dead) for number in range(DEAD_IMAGES)]
    stamps += [(f"live-{number}", live) for number in range(LIVE_IMAGES)]
    with engine.begin() as connection:
        for begin in range(0, len(stamps), ROWS):
            some = stamps[begin : begin + ROWS]
            usual = {"visibility": "public", "min_disk": 0, "min_ram": 0}
            connection.execute(
                insert(images),
                [
                    {"id": name, "status": "deleted" if stamp is dead else "queued", **usual, **stamp}
                    for name, stamp in some
                ],
            )
            connection.execute(
                insert(image_properties),
                [{"image_id": name, "name": "p", "value": "v", **stamp} for name, stamp in some],
            )
            connection.execute(insert(image_tags), [{"image_id": name, "value": "t", **stamp} for name, stamp in some])


def counts(engine: Engine) -> list[int]:
    with engine.connect() as connection:
        tables = (image_properties, image_tags, images)
        return [connection.execute(select(func.count()).select_from(table)).scalar_one() for table in tables]


def live_images(server: BlickServer) -> int:
    """As many as the service lists, each with its tag and its property."""
    connection = http.client.HTTPConnection(HOST, server.port, timeout=120)
    try:
        connection.request("GET", "/v2/images?limit=1000")
        answer = connection.getresponse()
        assert answer.status == 200
        listed = json.loads(answer.read())["images"]
    finally:
        connection.close()
    assert all(one["tags"] == ["t"] and one["p"] == "v" for one in listed)
    return len(listed)


def test_purge_beside_a_service_and_through_kills(database_url: str, tmp_path: Path) -> None:
    engine = create_engine(database_url)
    fill(engine)
    everything = DEAD_IMAGES + LIVE_IMAGES
    with configured_server(tmp_path / "blick", {"database": {"connection": database_url}}) as server:
        config = server.folder / "glance-api.conf"
        words = ("db", "--config-file", config, "purge", *ALL)
        assert live_images(server) == LIVE_IMAGES
        for fraction in (4, 2):
            enough = everything - everything // fraction
            with subprocess.Popen(
                program_command("blick.cli.main", *words),
                env=clean_environment(tmp_path),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            ) as process:
                # Wherever it is by then: what it has done is done, and nothing is done by half.
                while process.poll() is None and counts(engine)[0] > enough:
                    assert live_images(server) == LIVE_IMAGES
                process.send_signal(signal.SIGKILL)
            properties, tags, whole = counts(engine)
            assert whole == everything
            assert properties >= LIVE_IMAGES
            assert tags >= LIVE_IMAGES
        done = run_program(tmp_path, "blick.cli.main", *words)
        assert done.returncode == 0, done.stderr
        assert counts(engine) == [LIVE_IMAGES, LIVE_IMAGES, everything]
        done = run_program(tmp_path, "blick.cli.main", "db", "--config-file", config, "purge_images_table", *ALL)
        assert done.returncode == 0, done.stderr
        assert counts(engine) == [LIVE_IMAGES] * 3
        assert live_images(server) == LIVE_IMAGES
    engine.dispose()
