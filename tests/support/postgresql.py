"""A real PostgreSQL server (Debian's), for tests; nothing of it is started by the package manager."""

import os
import secrets
import shutil
import signal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from tests.support.daemon import Daemon, run_to_end
from tests.support.parts import postgresql_folder
from tests.support.server import HOST, free_port

USER = "glance"


class PostgreSQL:
    """One server with its data in `folder`, made at the first start; use it in a `with`.

    The server refuses to be root: then it runs as user postgres, who must be able to reach `folder`. A commit
    survives the server's death but not the machine's. Data and port stay over `stop`, `kill` and `start`.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        """`options` are further settings, such as `lock_timeout=1s`."""
        self.folder = folder
        self.port = free_port()
        self.password = secrets.token_hex(8)
        self._data = folder / "data"
        self._programs = postgresql_folder()
        self._user = "postgres" if os.geteuid() == 0 else None
        settings = (
            f"listen_addresses={HOST}", "unix_socket_directories=", "max_connections=300",
            "fsync=off", "full_page_writes=off", *options,
        )  # fmt: skip
        command = [str(self._programs / "postgres"), "-D", str(self._data), "-p", str(self.port)]
        self._daemon = Daemon(
            [*command, *(part for setting in settings for part in ("-c", setting))],
            folder / "postgresql.log",
            user=self._user,
        )

    def start(self) -> Self:
        """Start it and return when it answers."""
        new = not self._data.exists()
        if new:
            self._install()
        self._daemon.start(lambda: self._answers("postgres"))
        if new:
            self.execute(f"CREATE ROLE {USER} LOGIN PASSWORD '{self.password}'")
        return self

    @property
    def pid(self) -> int:
        """Of the server's first process, while it runs."""
        return self._daemon.pid

    def stop(self) -> None:
        """End it in order, and every connection with it."""
        self._daemon.stop(signal.SIGINT)

    def kill(self) -> None:
        """End it at once, in the middle of whatever it does."""
        self._daemon.kill()

    def pause(self) -> None:
        """Let it hang, with all its connections open."""
        self._daemon.pause()

    def go_on(self) -> None:
        """The end of `pause`."""
        self._daemon.go_on()

    def create_database(self, name: str) -> str:
        """An empty database; gives its URL as operators write it."""
        self.execute(f'CREATE DATABASE "{name}" OWNER {USER}')
        return self.url(name)

    def url(self, name: str) -> str:
        """The URL of the database `name`."""
        return f"postgresql://{USER}:{self.password}@{HOST}:{self.port}/{name}"

    def execute(self, statement: str, *, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run one statement as an administrator; gives its rows."""
        with self._connect("postgres", database) as connection:
            cursor = connection.execute(statement)  # type: ignore[arg-type]  # a text of ours
            return cursor.fetchall() if cursor.description else []

    def _connect(self, user: str, database: str) -> "psycopg.Connection[tuple[Any, ...]]":
        return psycopg.connect(
            host=HOST, port=self.port, user=user, password=self.password, dbname=database, autocommit=True
        )

    def _install(self) -> None:
        password_file = self.folder / "password"
        password_file.write_text(self.password)
        if self._user is not None:
            shutil.chown(self.folder, self._user)
            shutil.chown(password_file, self._user)
        command = [
            str(self._programs / "initdb"), "--pgdata", str(self._data), "--username=postgres",
            f"--pwfile={password_file}", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync",
        ]  # fmt: skip
        run_to_end(command, self.folder / "install.log", user=self._user)

    def _answers(self, user: str) -> bool:
        try:
            self._connect(user, "postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
