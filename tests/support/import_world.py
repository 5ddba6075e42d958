"""A deployment whose processes die: API server, job workers, three file stores, a database, and a web server beside it.

What its database went through is kept by triggers in a journal: a status that changed twice shows there, whoever
changed it.
"""

import json
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import Connection, create_engine, make_url, text
from sqlalchemy.exc import OperationalError

from blick.conf.settings import DatabaseSettings
from blick.db.engine import open_database
from blick.db.upgrade import ensure_current
from tests.support.config_file import ini_text
from tests.support.parts import VENV_BIN
from tests.support.server import HOST, STOP_TIMEOUT_S, BlickServer, free_port
from tests.support.web_server import WebServer

STORES = ("one", "two", "three")
MIB = 1 << 20
_PLAIN_START = bytes(4096)
"""What random data begins with, so that it is never taken for the beginning of a disk."""
CHECK_TIMEOUT_S = 900.0


def data_of(seed: int, size_bytes: int) -> bytes:
    """Bytes that look like nothing, always the same for a seed."""
    start = _PLAIN_START[:size_bytes]
    return start + random.Random(seed).randbytes(size_bytes - len(start))


class MadeOnDemand(dict[str, bytes]):
    """The objects of a web server that are called SEED-SIZE: nothing of them is kept."""

    def get(self, name: str, _default: Any = None) -> bytes:  # type: ignore[override]
        seed, _, size = name.rpartition("-")
        return data_of(int(seed), int(size))

    def __contains__(self, name: object) -> bool:
        return True


def endless_web_server() -> WebServer:
    """A running one that has every object SEED-SIZE; stop it."""
    server = WebServer()
    server.objects = MadeOnDemand()
    server.start()
    return server


class JobWorker:
    """One `blick worker` process."""

    def __init__(self, folder: Path, config_file: Path, environment: Mapping[str, str]) -> None:
        self.log_path = folder / "worker.log"
        self._config_file = config_file
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the worker was not started"
        return self._process

    def start(self) -> None:
        """Starts it, and does not wait for anything."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [str(VENV_BIN / "blick"), "worker", "--config-file", str(self._config_file)],
                env=dict(self._environment) | {"PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self, signal_number: int = signal.SIGKILL) -> int | None:
        """Sends a signal to the process and its children, and waits for their end; None if it had ended before."""
        if not self.is_alive():
            return None
        with suppress(psutil.NoSuchProcess):
            first = psutil.Process(self.process.pid)
            for each in (first, *first.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    each.send_signal(signal_number)
        return self.process.wait(timeout=STOP_TIMEOUT_S)


@dataclass(frozen=True, slots=True)
class Change:
    """One line of the journal: what became of a task, an image or a location."""

    what: str
    id: str
    old: str
    new: str


class ImportWorld:
    """One host of a deployment. Several of them on one database and, if they say so, on the same folders, are more.

    Whoever calls is believed about who he is (`caller`).
    """

    def __init__(
        self,
        folder: Path,
        database_url: str,
        web: WebServer,
        *,
        workers: int = 2,
        job_workers: int = 1,
        shared: Path | None = None,
        shares_staging: bool = True,
        groups: Mapping[str, Mapping[str, object]] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        """`shared` is the folder of stores and staged data, the host's own if None. The database is at our revision.

        Without `shares_staging` staged data is in the host's own folder in any case, and the host has a name for the
        others. `groups` are further options, `prefix` as that of BlickServer.
        """
        self.folder = folder
        self.web = web
        self.shared = shared or folder
        self.database_url = database_url
        self.port = free_port()
        self.staging = (self.shared if shares_staging else folder) / "staging"
        folder.mkdir(parents=True, exist_ok=True)
        self._config_file = folder / "glance-api.conf"
        alone = {} if shares_staging else {"DEFAULT": {"worker_self_reference_url": f"http://{HOST}:{self.port}"}}
        self._config_file.write_text(ini_text(self._options(workers, web.port), alone, groups or {}))
        self.server = BlickServer(folder, config_file=self._config_file, port=self.port, prefix=prefix)
        self.job_workers = [
            JobWorker(folder / f"worker-{number}", self._config_file, self.server.environment)
            for number in range(job_workers)
        ]
        self._engine = create_engine(make_url(database_url), connect_args=_patience(database_url), pool_pre_ping=True)

    @property
    def has_database_server(self) -> bool:
        return self._engine.dialect.name != "sqlite"

    def break_database_connections(self) -> None:
        """End every connection to the database but our own, in the middle of whatever goes on there."""
        find, end = _OTHERS[self._engine.dialect.name]
        with self._engine.connect() as connection:
            for number in connection.execute(text(find)).scalars().all():
                with suppress(OperationalError):  # it ended by itself
                    connection.execute(text(end.format(number)))

    def _options(self, workers: int, web_port: int) -> dict[str, dict[str, object]]:
        options: dict[str, dict[str, object]] = {
            "DEFAULT": {
                "bind_host": HOST,
                "bind_port": self.port,
                "workers": workers,
                "enabled_backends": ",".join(f"{store}:file" for store in STORES),
            },
            "database": {"connection": self.database_url},
            "glance_store": {"default_backend": STORES[0]},
            "os_glance_staging_store": {"filesystem_store_datadir": self.staging},
            "os_glance_tasks_store": {"filesystem_store_datadir": self.staging.with_name("tasks")},
            "paste_deploy": {"flavor": "trusted-headers"},
            "import_filtering_opts": {"allowed_hosts": f"[{HOST}]", "allowed_ports": f"[{web_port}]"},
            "blick": {"trusted_proxies": HOST, "fetch_retries": 2},
        }
        return options | {store: {"filesystem_store_datadir": self.store_folder(store)} for store in STORES}

    @property
    def url(self) -> str:
        return self.server.url

    def store_folder(self, store_id: str) -> Path:
        return self.shared / "stores" / store_id

    def start(self) -> None:
        """Everything that does not run yet; returns once the API answers."""
        for worker in self.job_workers:
            if not worker.is_alive():
                worker.start()
        if not self.server.is_healthy():
            self.server.start()

    def kill_all(self) -> None:
        """Whatever runs of it, in whatever state; what tests end with."""
        self.server.kill_all()
        for worker in self.job_workers:
            worker.kill()
        self._engine.dispose()

    def log_texts(self) -> str:
        """What all processes said."""
        return "".join([self.server.log_text(), *(worker.log_path.read_text() for worker in self.job_workers)])

    def rows(self, statement: str, **values: Any) -> Sequence[Any]:
        """The rows of a query, past the service."""
        with self._engine.connect() as connection:
            return connection.execute(text(statement), values).all()

    def count(self, statement: str) -> int:
        """The number that a query gives."""
        return int(self.rows(statement)[0][0])

    def unfinished(self) -> dict[str, int]:
        """What is under way or left to be done, by what it is; empty when the service has come to rest."""
        found = {
            "jobs": self.count("SELECT count(*) FROM blick_jobs WHERE outcome = ''"),
            "leases": self.count("SELECT count(*) FROM blick_leases"),
            "deletes": self.count("SELECT count(*) FROM blick_location_deletes"),
            "images in between": self.count(
                "SELECT count(*) FROM images WHERE NOT deleted AND status IN ('saving', 'importing')"
            ),
            "locks": self.count(
                "SELECT count(*) FROM image_properties JOIN images ON images.id = image_properties.image_id "
                "WHERE NOT images.deleted AND NOT image_properties.deleted "
                "AND image_properties.name = 'os_glance_import_task'"
            ),
            "tasks": self.count("SELECT count(*) FROM tasks WHERE status IN ('pending', 'processing')"),
            "uploads at work": self.count("SELECT count(*) FROM blick_resumable_uploads WHERE state = 'finishing'"),
        }
        return {what: count for what, count in found.items() if count}

    def locations(self) -> list[tuple[str, str]]:
        """Image and URI of every location of a live image."""
        rows = self.rows(
            "SELECT image_locations.image_id, image_locations.value FROM image_locations "
            "JOIN images ON images.id = image_locations.image_id "
            "WHERE NOT image_locations.deleted AND NOT images.deleted"
        )
        return [(row[0], row[1]) for row in rows]

    def staged(self) -> set[str]:
        """The names in the folder of staged data, hidden ones too."""
        return {entry.name for entry in self.staging.iterdir()} if self.staging.exists() else set()

    def staged_in_vain(self) -> set[str]:
        """Those of them that no image waits for, and no upload that may be gone on with."""
        waiting = self.rows("SELECT id FROM images WHERE status = 'uploading' AND NOT deleted")
        resting = self.rows(
            "SELECT image_id, uploads.id FROM blick_resumable_uploads uploads JOIN images ON images.id = image_id "
            "WHERE state = 'open' AND images.status = 'queued' AND NOT images.deleted"
        )
        needed = {row[0] for row in waiting} | {f"{image_id}.{upload_id}.part" for image_id, upload_id in resting}
        return self.staged() - needed

    def journal(self) -> list[Change]:
        """Everything that triggers noted, in order."""
        return [Change(*row) for row in self.rows("SELECT what, id, old, new FROM chaos_journal ORDER BY number")]

    def check_stores(self) -> tuple[int, dict[str, Any], str]:
        """`blick stores check`, every byte read and nothing too young: exit code, document and complaints."""
        done = subprocess.run(
            [
                str(VENV_BIN / "blick"), "stores", "check", "--verify", "--grace", "0", "--format", "json",
                "--config-file", str(self._config_file),
            ],
            env=self.server.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CHECK_TIMEOUT_S,
        )  # fmt: skip
        return done.returncode, json.loads(done.stdout or "{}"), done.stderr

    def remove_data(self) -> None:
        """All bytes, which are many; nothing may run."""
        for name in ("stores", "staging", "tasks"):
            shutil.rmtree(self.shared / name, ignore_errors=True)


@contextmanager
def journalled(database_url: str) -> Iterator[None]:
    """The database, brought to our revision, keeps the journal until the end."""
    database = open_database(DatabaseSettings(connection=database_url))
    try:
        ensure_current(database)
    finally:
        database.close()
    engine = create_engine(make_url(database_url), connect_args=_patience(database_url))
    with engine.begin() as connection:
        _keep_journal(connection)
    try:
        yield
    finally:
        engine.dispose()


def caller(project: str) -> dict[str, str]:
    """Headers that make a request an administrator's of that project."""
    return {
        "X-Identity-Status": "Confirmed",
        "X-User-Id": f"user-of-{project}",
        "X-Project-Id": project,
        "X-Roles": "admin,member,reader",
    }


def _patience(database_url: str) -> dict[str, Any]:
    return {"timeout": 60} if database_url.startswith("sqlite") else {}


_OTHERS = {
    "postgresql": (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user "
        "AND pid <> pg_backend_pid()",
        "SELECT pg_terminate_backend({})",
    ),
    "mysql": (
        "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()",
        "KILL CONNECTION {}",
    ),
}
"""What finds the connections to a database but one's own, and what ends one of them."""

_SERIALS = {
    "sqlite": "INTEGER PRIMARY KEY AUTOINCREMENT",
    "mysql": "INTEGER PRIMARY KEY AUTO_INCREMENT",
    "postgresql": "SERIAL PRIMARY KEY",
}
_NOTE = "INSERT INTO chaos_journal (what, id, old, new) VALUES"
_GONE = "CASE WHEN {row}.deleted THEN 'deleted' ELSE {row}.status END"
_TRIGGERS = {
    "tasks": (
        f"{_NOTE} ('task', NEW.id, '', NEW.status)",
        f"{_NOTE} ('task', NEW.id, OLD.status, NEW.status)",
        "OLD.status <> NEW.status",
    ),
    "images": (
        f"{_NOTE} ('image', NEW.id, '', {_GONE.format(row='NEW')})",
        f"{_NOTE} ('image', NEW.id, {_GONE.format(row='OLD')}, {_GONE.format(row='NEW')})",
        "OLD.status <> NEW.status OR OLD.deleted <> NEW.deleted",
    ),
    "image_locations": (
        f"{_NOTE} ('location', NEW.image_id, '', NEW.value)",
        f"{_NOTE} ('location', NEW.image_id, OLD.value, '')",
        "OLD.deleted <> NEW.deleted",
    ),
}
"""By table: what is noted of a new row, of a changed one, and of which changes."""


def _keep_journal(connection: Connection) -> None:
    dialect = connection.dialect.name
    connection.execute(
        text(
            f"CREATE TABLE chaos_journal (number {_SERIALS[dialect]}, what VARCHAR(16) NOT NULL, "
            "id VARCHAR(36) NOT NULL, old VARCHAR(1000) NOT NULL, new VARCHAR(1000) NOT NULL)"
        )
    )
    for table, (added, changed, condition) in _TRIGGERS.items():
        for event, note, when in (("INSERT", added, None), ("UPDATE", changed, condition)):
            for statement in _trigger(dialect, f"chaos_{table}_{event.lower()}", table, event, note, when):
                connection.execute(text(statement))


def _trigger(dialect: str, name: str, table: str, event: str, note: str, when: str | None) -> Sequence[str]:
    on = f"AFTER {event} ON {table} FOR EACH ROW"
    if dialect == "sqlite":
        return (f"CREATE TRIGGER {name} {on} {f'WHEN {when}' if when else ''} BEGIN {note}; END",)
    if dialect == "postgresql":
        body = f"BEGIN {note}; RETURN NULL; END"
        return (
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$",
            f"CREATE TRIGGER {name} {on} {f'WHEN ({when})' if when else ''} EXECUTE FUNCTION {name}()",
        )
    return (f"CREATE TRIGGER {name} {on} BEGIN {f'IF {when} THEN {note}; END IF' if when else note}; END",)
