"""A real MariaDB server (Debian's), for tests; nothing of it is started by the package manager."""

import os
import secrets
from pathlib import Path
from types import TracebackType
from typing import Self

import pymysql

from tests.support.daemon import Daemon, run_to_end
from tests.support.parts import system_program
from tests.support.server import HOST, free_port

USER = "glance"


class MariaDB:
    """One server with its data in `folder`, made at the first start; use it in a `with`.

    A commit survives the server's death but not the machine's, which makes it quick. Data and port stay over
    `stop`, `kill` and `start`.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        """`options` are further ones of mariadbd, such as `--innodb-lock-wait-timeout=1`."""
        self.folder = folder
        self.port = free_port()
        self.password = secrets.token_hex(8)
        self._data = folder / "data"
        root = ["--user=root"] if os.geteuid() == 0 else []
        command = [
            system_program("mariadbd"), "--no-defaults", *root, f"--datadir={self._data}", f"--tmpdir={folder}",
            f"--bind-address={HOST}", f"--port={self.port}", "--skip-name-resolve",
            "--socket=s",  # relative to the data folder: a socket's path may not be long
            "--max-connections=500", "--innodb-flush-log-at-trx-commit=2", "--innodb-flush-method=nosync",
            "--innodb-buffer-pool-size=64M", "--innodb-log-file-size=32M",
            "--character-set-server=utf8mb4", "--collation-server=utf8mb4_general_ci", *options,
        ]  # fmt: skip
        self._daemon = Daemon(command, folder / "mariadb.log")

    def start(self) -> Self:
        """Start it and return when it answers."""
        new = not self._data.exists()
        if new:
            self._install()
        self._daemon.start(lambda: self._answers("root" if new else USER))
        if new:
            self.execute(
                f"GRANT ALL ON *.* TO '{USER}'@'{HOST}' IDENTIFIED BY '{self.password}' WITH GRANT OPTION", user="root"
            )
        return self

    @property
    def pid(self) -> int:
        """Of the server's first process, while it runs."""
        return self._daemon.pid

    def stop(self) -> None:
        """End it in order."""
        self._daemon.stop()

    def kill(self) -> None:
        """End it at once, in the middle of whatever it does."""
        self._daemon.kill()

    def pause(self) -> None:
        """Let it hang, with all its connections open."""
        self._daemon.pause()

    def go_on(self) -> None:
        """The end of `pause`."""
        self._daemon.go_on()

    def create_database(self, name: str, charset: str = "utf8mb3") -> str:
        """An empty database; gives its URL as operators write it.

        Most deployments were made with `utf8`, which is utf8mb3: names with 4-byte characters do not fit in.
        """
        self.execute(f"CREATE DATABASE `{name}` CHARACTER SET {charset} COLLATE {charset}_general_ci")
        return self.url(name)

    def url(self, name: str) -> str:
        """The URL of the database `name`."""
        return f"mysql+pymysql://{USER}:{self.password}@{HOST}:{self.port}/{name}"

    def execute(self, statement: str, *, user: str = USER) -> tuple[tuple[object, ...], ...]:
        """Run one statement as an administrator; gives its rows."""
        password = "" if user == "root" else self.password
        connection = pymysql.connect(host=HOST, port=self.port, user=user, password=password, autocommit=True)
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            return tuple(cursor.fetchall())

    def _install(self) -> None:
        root = ["--user=root"] if os.geteuid() == 0 else []
        command = [
            system_program("mariadb-install-db"), "--no-defaults", *root, f"--datadir={self._data}",
            f"--tmpdir={self.folder}",  # two servers that start at once got the same name in /tmp
            "--auth-root-authentication-method=normal", "--skip-test-db", "--innodb-log-file-size=32M",
        ]  # fmt: skip
        run_to_end(command, self.folder / "install.log")

    def _answers(self, user: str) -> bool:
        try:
            self.execute("SELECT 1", user=user)
        except pymysql.err.OperationalError:
            return False
        return True

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
