"""`blick job` beside a service that may or may not run: what it prints, what it does, and how it ends."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from blick.cli.job_progress import Bar, until_over
from blick.cli.main import blick, run
from blick.conf.settings import DatabaseSettings
from blick.db import images, import_lock, jobs, location_imports, tasks
from blick.db.engine import Database, open_database
from blick.db.jobs import CANCELLED, FAILURE, SUCCESS, NewJob
from blick.model.location import LocationImport
from blick.model.task import LOCATION_IMPORT, Task
from tests.support.command import Call, Ended, ended
from tests.support.config_file import ini_text
from tests.support.jobs import fail
from tests.support.records import NOW, image
from tests.support.service import Service

UNKNOWN = "00000000-0000-4000-8000-000000000000"
NEVER_MS = 1 << 60


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = open_database(DatabaseSettings(connection=database_url, sqlite_synchronous=False))
    yield opened
    opened.close()


@pytest.fixture
def job(tmp_path: Path, database_url: str, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs `blick job …` on a site with a file store and an http store."""
    config = tmp_path / "glance-api.conf"
    config.write_text(
        ini_text(
            {
                "DEFAULT": {"enabled_backends": "fast:file,web:http"},
                "glance_store": {"default_backend": "fast"},
                "fast": {"filesystem_store_datadir": tmp_path / "fast"},
                "import_filtering_opts": {"allowed_hosts": "[127.0.0.1]"},
                "database": {"connection": database_url},
                "paste_deploy": {"flavor": "none"},
            }
        )
    )

    def call(*arguments: str) -> Ended:
        done = ended(blick, ["job", *arguments, "--config-file", str(config)], capsys)
        assert "Traceback" not in done.err
        return done

    return call


def add(database: Database, number: int, **more: Any) -> str:
    job_id = f"{number:08}-0000-4000-8000-000000000000"
    new = NewJob(**({"id": job_id, "kind": "unknown", "payload": {}, "project_id": "p1"} | more))
    database.write_now(jobs.add, new, 1_700_000_000_000 + number)
    return job_id


def claim(database: Database, job_id: str) -> jobs.Job:
    found = database.read_now(jobs.get, job_id)
    assert found is not None
    claimed = database.write_now(jobs.claim, found, f"token {job_id[:8]}", "boot/pid/1/2", NEVER_MS)
    assert claimed is not None
    return claimed


def test_list(database: Database, job: Call) -> None:
    waiting = add(database, 1, project_id="p2", image_id=UNKNOWN)
    running = claim(database, add(database, 2, kind="copy"))
    database.write_now(jobs.tell, running, "storing in [red]", 1 << 20, 4 << 20)
    failed = claim(database, add(database, 3))
    database.write_now(jobs.finish, failed, 5, FAILURE, "no room")
    table = job("list")
    assert (table.code, table.err) == (0, "")
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in table.out.splitlines() if "│" in line]
    assert lines[1:] == [
        [failed.id, "unknown", "failure", "p1", "", "", "", "1", "2023-11-14T22:13:20Z", "no room"],
        [running.id, "copy", "running", "p1", "", "storing in [red]", "25 %", "1", "2023-11-14T22:13:20Z", ""],
        [waiting, "unknown", "waiting", "p2", UNKNOWN, "", "", "0", "2023-11-14T22:13:20Z", ""],
    ]
    for options, found in (
        (("--status", "running"), [running.id]),
        (("--project", "p2"), [waiting]),
        (("--image", UNKNOWN), [waiting]),
        (("--kind", "copy"), [running.id]),
        (("--kind", "nothing"), []),
        (("--limit", "2"), [failed.id, running.id]),
    ):
        listed = job("list", *options, "--format", "json")
        assert [one["id"] for one in json.loads(listed.out)] == found
    assert job("list", "--limit", "2").err == "There are more than these 2: see --limit.\n"


def test_show(database: Database, job: Call) -> None:
    running = claim(database, add(database, 1))
    shown = job("show", running.id, "--format", "json")
    document = json.loads(shown.out)
    assert (shown.code, document["status"], document["holder"]) == (0, "running", "boot/pid/1/2")
    assert running.id in job("show", running.id).out


@pytest.mark.parametrize("command", ["show", "cancel", "retry"])
def test_what_is_not_there(job: Call, command: str) -> None:
    ended = job(command, "nothing")
    assert (ended.code, ended.out, ended.err) == (1, "", "ERROR: There is no job nothing.\n")


def test_mistakes(database: Database, job: Call) -> None:
    assert job("list", "--status", "broken").code == 2
    assert job("list", "--limit", "0").code == 2
    assert job("show").code == 2
    assert job("cancel").code == 2
    job_id = add(database, 1)
    assert job("retry", job_id).err == "ERROR: The job is not over.\n"
    database.write_now(jobs.finish, claim(database, job_id), 5, SUCCESS)
    assert job("cancel", job_id).err == "ERROR: The job is over.\n"
    assert job("retry", job_id).err == "ERROR: The job has done what was wanted.\n"
    failed = claim(database, add(database, 2))
    database.write_now(jobs.finish, failed, 5, FAILURE)
    assert job("retry", failed.id).err == "ERROR: A job of the kind unknown cannot be tried again.\n"


def test_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        run(blick, args=["job", "list", "--data", str(tmp_path / "nothing")])
    assert end.value.code == 1
    assert capsys.readouterr().err.startswith("ERROR: There is no service in ")


def test_cancel(database: Database, job: Call) -> None:
    ids = [add(database, number) for number in range(2)]
    done = job("cancel", *ids)
    assert (done.code, done.out) == (0, "".join(f"Job {job_id} is to be cancelled.\n" for job_id in ids))
    for job_id in ids:
        found = database.read_now(jobs.get, job_id)
        assert found is not None
        assert found.cancel_requested


def test_retry(database: Database, job: Call) -> None:
    """For the project that had asked for it, whoever the operator is."""
    queued = image()
    database.write_now(images.insert_image, queued)
    wanted = LocationImport("t1", queued.id, "http://127.0.0.1/image", "md5", "0" * 32)
    task = Task("t1", LOCATION_IMPORT, "pending", "p1", queued.id, "req", "u", NOW, NOW, {"a": "b"})
    database.write_now(location_imports.begin, wanted, task, LOCATION_IMPORT, 1000)
    database.write_now(fail, "t1", 1001, "no")
    database.write_now(import_lock.release, queued.id, "t1", NOW)
    done = job("retry", "t1")
    assert done.code == 0, done.err
    new_id = done.out.split()[1]
    assert done.out == f"Job {new_id} does it once more.\n"
    new = database.read_now(jobs.get, new_id)
    assert new is not None
    assert (new.kind, new.project_id, new.image_id) == (LOCATION_IMPORT, "p1", queued.id)
    assert {**new.payload, "task_id": "t1"} == {name: getattr(wanted, name) for name in LocationImport.__slots__}
    made = database.read_now(tasks.get, new_id)
    assert made is not None
    assert (made.owner, database.read_now(import_lock.owner, queued.id)) == ("p1", new_id)
    assert job("retry", "t1").code == 1, "it is being done already"


def test_watching_what_is_over(database: Database, job: Call) -> None:
    ids = {}
    for number, outcome in enumerate((SUCCESS, FAILURE, CANCELLED)):
        claimed = claim(database, add(database, number))
        database.write_now(jobs.finish, claimed, 5, outcome)
        ids[outcome] = claimed.id
    for outcome, code in ((SUCCESS, 0), (FAILURE, 1), (CANCELLED, 1)):
        shown = job("show", ids[outcome], "--watch", "--format", "json")
        assert (shown.code, json.loads(shown.out)["status"]) == (code, outcome)
        assert job("show", ids[outcome]).code == 0


class TestWatching:
    async def test_lines(self, service: Service, capsys: pytest.CaptureFixture[str]) -> None:
        """What a job does is said when it changes, until it is over."""
        database = service.services.database
        job_id = add(database, 1)
        found = database.read_now(jobs.get, job_id)
        assert found is not None
        watching = asyncio.create_task(until_over(service.services, found))
        said = ""

        async def hears(text: str) -> None:
            nonlocal said
            for _ in range(6000):
                said += capsys.readouterr().err
                if said == text:
                    return
                await asyncio.sleep(0.01)
            raise AssertionError(said)

        await hears("waiting\n")
        claimed = claim(database, job_id)
        database.write_now(jobs.tell, claimed, "fetching", 1, 2)
        await hears("waiting\nrunning: fetching\n")
        database.write_now(jobs.request_cancel, job_id)
        await hears("waiting\nrunning: fetching\nrunning: fetching, to be cancelled\n")
        database.write_now(jobs.finish, claimed, 5, CANCELLED, "Cancelled")
        assert (await asyncio.wait_for(watching, 60)).outcome == CANCELLED

    def test_a_bar(self, database: Database) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

        columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(binary_units=True))
        progress = Progress(*columns, console=Console(width=100))
        bar = Bar(progress)
        claimed = claim(database, add(database, 1))
        database.write_now(jobs.tell, claimed, "fetching", 5 << 20, 10 << 20)
        for _ in range(2):
            found = database.read_now(jobs.get, claimed.id)
            assert found is not None
            bar.show(found)
        [task] = progress.tasks
        assert (task.description, task.percentage) == ("running: fetching", 50)
        database.write_now(jobs.tell, claimed, "converting", 0, None)
        found = database.read_now(jobs.get, claimed.id)
        assert found is not None
        bar.show(found)
        [task] = progress.tasks
        assert (task.description, task.total, task.completed) == ("running: converting", None, 0)
