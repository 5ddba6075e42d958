"""A real RabbitMQ on the loopback interface, with an epmd of its own."""

import secrets
import socket
from collections.abc import Mapping
from pathlib import Path

from tests.support.daemon import Daemon
from tests.support.loopback_server import LoopbackServer
from tests.support.parts import system_program
from tests.support.server import HOST, free_port

USER = "glance"


class RabbitMQ(LoopbackServer):
    """RabbitMQ from Debian (8 s, 140 MiB). What it holds outlives `stop`."""

    name = "rabbitmq"

    def __init__(self, folder: Path, port: int | None = None) -> None:
        super().__init__(folder, port)
        self._password = secrets.token_hex(16)
        self._epmd_port, self._distribution_port = free_port(), free_port()
        self._epmd: Daemon | None = None

    @property
    def transport_url(self) -> str:
        """What services call transport_url."""
        return f"rabbit://{USER}:{self._password}@{self.address}//"

    def prepare(self) -> None:
        super().prepare()
        (self.folder / "plugins").write_text("[].")
        settings = {
            "default_user": USER,
            "default_pass": self._password,
            # It stops taking messages on a disk or in a memory that others have filled.
            "disk_free_limit.absolute": "50MB",
            "vm_memory_high_watermark.absolute": "1GiB",
        }
        (self.folder / "rabbit.conf").write_text("".join(f"{name} = {value}\n" for name, value in settings.items()))
        cookie = self.folder / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text(secrets.token_hex(16))
            cookie.chmod(0o400)
        command = [system_program("epmd"), "-address", HOST, "-port", str(self._epmd_port), "-relaxed_command_check"]
        self._epmd = Daemon(command, self.folder / "epmd.log", environment=self.environment())
        self._epmd.start(self._epmd_listens)

    def command(self) -> list[str]:
        return [str(_programs() / "rabbitmq-server")]

    def environment(self) -> Mapping[str, str]:
        own = {
            "NODENAME": f"test{self.port}@localhost",
            "NODE_IP_ADDRESS": HOST,
            "NODE_PORT": str(self.port),
            "DIST_PORT": str(self._distribution_port),
            "MNESIA_BASE": str(self.folder / "mnesia"),
            "LOG_BASE": str(self.folder / "log"),
            "ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "CONFIG_FILE": str(self.folder / "rabbit"),
            "CONF_ENV_FILE": str(self.folder / "none"),
            "SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false +S 1:1",
        }
        # Then the server takes its script's place, and ends with the tests if those are killed.
        own_process = {"RUNNING_UNDER_SYSTEMD": "true"}
        erlang = {"ERL_EPMD_PORT": str(self._epmd_port), "ERL_EPMD_ADDRESS": HOST}
        return {
            **super().environment(),
            **{f"RABBITMQ_{name}": value for name, value in own.items()},
            **erlang,
            **own_process,
        }

    def stop(self) -> None:
        super().stop()
        self._end_epmd()

    def kill(self) -> None:
        super().kill()
        self._end_epmd()

    def _end_epmd(self) -> None:
        if self._epmd is not None:
            self._epmd.kill()

    def _epmd_listens(self) -> bool:
        try:
            socket.create_connection((HOST, self._epmd_port), timeout=10).close()
        except OSError:
            return False
        return True


def _programs() -> Path:
    """Where Debian keeps the real ones: those on the PATH want to be run by root or by the user rabbitmq."""
    [found] = Path("/usr/lib/rabbitmq/lib").glob("*/sbin")
    return found
