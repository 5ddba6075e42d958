"""A real memcached on the loopback interface."""

import os
import socket
from pathlib import Path

from tests.support.loopback_server import LoopbackServer
from tests.support.parts import system_program
from tests.support.server import HOST

MEMORY_MIB = 64


class Memcached(LoopbackServer):
    """memcached from Debian. What it holds is gone after `stop`; `flush` empties it while it runs."""

    name = "memcached"

    def __init__(self, folder: Path, port: int | None = None, tls: tuple[Path, Path] | None = None) -> None:
        """With `tls`, a certificate and its key, it speaks nothing else; then `ask` and what uses it do not work."""
        super().__init__(folder, port)
        self._tls = tls

    def command(self) -> list[str]:
        as_root = ["-u", "root"] if os.geteuid() == 0 else []  # it refuses to run as root unless told so
        listen = ["-l", HOST, "-p", str(self.port), "-U", "0", "-m", str(MEMORY_MIB)]
        tls = ["-Z", "-o", f"ssl_chain_cert={self._tls[0]},ssl_key={self._tls[1]}"] if self._tls else []
        return [system_program("memcached"), *as_root, *listen, *tls]

    def flush(self) -> None:
        """Forgets every entry."""
        assert self.ask("flush_all") == "OK"

    def ask(self, command: str) -> str:
        """The first line of the answer to a command of memcached's text protocol."""
        with socket.create_connection((HOST, self.port), timeout=30) as connection, connection.makefile("rw") as stream:
            stream.write(f"{command}\r\n")
            stream.flush()
            return stream.readline().strip()

    def statistics(self) -> dict[str, str]:
        """What `stats` says: `cmd_get`, `get_hits`, `cmd_set`, `curr_items` …"""
        with socket.create_connection((HOST, self.port), timeout=30) as connection, connection.makefile("rw") as stream:
            stream.write("stats\r\n")
            stream.flush()
            rows = (line.split() for line in iter(lambda: stream.readline().strip(), "END"))
            return {row[1]: row[2] for row in rows}
