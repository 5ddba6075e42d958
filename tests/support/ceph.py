"""A real Ceph cluster (Debian's) for tests: one monitor, one osd, and a manager where one is asked for."""

import base64
import json
import secrets
import struct
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from subprocess import TimeoutExpired, run
from types import TracebackType
from typing import Any, Literal, Self

from tests.support.daemon import Daemon, run_to_end
from tests.support.parts import system_program
from tests.support.server import HOST, clean_environment, free_port

GIB = 1 << 30
POOLS = ("images", "volumes")
"""Made at the first start, for RBD. `create_pool` makes more."""
USER = "glance"
FULL_RATIOS = {"nearfull": 0.85, "backfillfull": 0.9, "full": 0.95}
"""Ceph's own; `make_full` sets others, in the same order, without which Ceph would not heed them."""
COMMAND_TIMEOUT_S = 120.0
ObjectStore = Literal["bluestore", "memstore"]

# All capabilities of the accounts that a cluster has from its first start on.
_ALL = "allow *"
_ACCOUNTS: dict[str, dict[str, str]] = {
    "mon.": {"mon": _ALL},
    "client.admin": {"mon": _ALL, "osd": _ALL, "mgr": _ALL, "mds": _ALL},
    "osd.0": {"mon": "profile osd", "mgr": "profile osd", "osd": _ALL},
    "mgr.x": {"mon": "profile mgr", "osd": _ALL, "mds": _ALL},
    f"client.{USER}": {"mon": "profile rbd", "osd": "profile rbd pool=images", "mgr": "profile rbd pool=images"},
}


class CommandFailedError(Exception):
    """A program of Ceph's refused; the text is what it said."""


class Ceph:
    """A cluster with its data in `folder`, made at the first start (12 s, 90 MiB of memory); use it in a `with`.

    Clients need `conf_path` and a user, whose keyring lies where the file says. Data and addresses stay over `stop`,
    `kill` and `start`; with `memstore` they go with the osd's process. Never put CEPH_ variables into an environment:
    Ceph's tools for another cluster would use them.
    """

    def __init__(
        self,
        folder: Path,
        *,
        object_store: ObjectStore = "bluestore",
        size_bytes: int = 20 * GIB,
        manager: bool = False,
    ) -> None:
        """`size_bytes` is how much fits in; with bluestore that is a sparse file.

        Only a `manager` knows how full pools are (`ceph df`, quotas); it takes 300 MiB of memory and some seconds.
        """
        self.folder = folder
        self.fsid = str(uuid.uuid4())
        self.conf_path = folder / "ceph.conf"
        self.port = free_port()
        self._object_store = object_store
        self._size_bytes = size_bytes
        self.mon = self._daemon("mon", "a")
        self.osd = self._daemon("osd", "0")
        self.mgr = self._daemon("mgr", "x") if manager else None

    # Life

    def start(self) -> Self:
        """Start it and return when it reads and writes."""
        new = not (self.folder / "made").exists()
        if new:
            self._make_monitor()
        self.mon.start(lambda: self._answers("mon", "stat"))
        if new:
            self._make_osd()
        self.osd.start(lambda: self.osd_is_up)
        if self.mgr is not None:
            self.mgr.start(lambda: bool(self.ask("mgr", "stat")["available"]))
        if new:
            for pool in POOLS:
                self.create_pool(pool)
            (self.folder / "made").touch()
        self._wait_until_pools_serve()
        return self

    def stop(self) -> None:
        """End it in order."""
        for daemon in self._daemons():
            daemon.stop()

    def kill(self) -> None:
        """End it at once, in the middle of whatever it does."""
        for daemon in self._daemons():
            daemon.kill()

    def pause(self) -> None:
        """Let all of it hang, with all its connections open. `osd.pause()` does that to the osd alone."""
        for daemon in self._daemons():
            daemon.pause()

    def go_on(self) -> None:
        """The end of `pause`."""
        for daemon in reversed(self._daemons()):
            daemon.go_on()

    def restart_osd(self) -> None:
        """Start the osd after `osd.stop` or `osd.kill`, and return when the pools serve again."""
        self.osd.start(lambda: self.osd_is_up)
        self._wait_until_pools_serve()

    @property
    def osd_is_up(self) -> bool:
        """Whether the monitor believes so: a killed osd counts as up until somebody misses it."""
        return bool(self.ask("osd", "stat")["num_up_osds"])

    # Contents

    def create_pool(self, name: str, *, application: str = "rbd") -> None:
        """A pool that RBD can use at once (for `application`)."""
        self.command("osd", "pool", "create", name, "8", "8")
        self.command("osd", "pool", "application", "enable", name, application)

    def create_user(self, name: str, **capabilities: str) -> Path:
        """`client.<name>` with these rights (mon="…", osd="…"), changed if it is there; gives its keyring."""
        path = self.keyring(f"client.{name}")
        caps = [word for kind, right in capabilities.items() for word in (kind, right)]
        if not path.exists():
            self.command("auth", "get-or-create", f"client.{name}", *caps, "-o", str(path))
        self.command("auth", "caps", f"client.{name}", *caps)
        return path

    def make_full(self) -> None:
        """From now on everything counts as full, however much is in it, until `make_room`; takes some seconds.

        Data counts only: with `memstore` there has to be some.
        """
        for number, kind in enumerate(FULL_RATIOS, 1):
            self.command("osd", f"set-{kind}-ratio", f"0.00000{number}")
        self._wait_until(lambda: self._pool_is_full("images"), "the pools to be full")

    def make_room(self) -> None:
        """The end of `make_full`."""
        for kind, ratio in reversed(FULL_RATIOS.items()):
            self.command("osd", f"set-{kind}-ratio", str(ratio))
        self._wait_until(lambda: not self._pool_is_full("images"), "the pools to have room")

    # Ceph's own programs

    def ask(self, *arguments: str) -> Any:
        """What `ceph …`, run by the administrator, answers in JSON."""
        return json.loads(self.command(*arguments, "--format", "json"))

    def command(self, *arguments: str) -> str:
        """What `ceph …` says, run by the administrator. CommandFailedError if it refuses."""
        return self.program("ceph", "--connect-timeout", "30", *arguments)

    def rbd(self, *arguments: str) -> str:
        """What `rbd …` says, run by the administrator. CommandFailedError if it refuses."""
        return self.program("rbd", *arguments)

    def program(self, name: str, *arguments: str, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
        """What one of Ceph's programs says, run by the administrator."""
        identity = ["--conf", str(self.conf_path), "--name", "client.admin"]
        done = run(
            [system_program(name), *identity, *arguments],
            env=clean_environment(self.folder), capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip
        if done.returncode:
            raise CommandFailedError(f"{name} {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def keyring(self, entity: str) -> Path:
        """Where the key of `client.glance` and the like is."""
        return self.folder / f"keyring.{entity}"

    # How it is made

    def _make_monitor(self) -> None:
        for name in ("mon", "osd", "mgr"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.conf_path.write_text(self._configuration())
        for entity, capabilities in _ACCOUNTS.items():
            self.keyring(entity).write_text(_keyring_entry(entity, capabilities))
        everyone = self.folder / "keyring.all"
        everyone.write_text("".join(self.keyring(entity).read_text() for entity in _ACCOUNTS))
        log, monitors = self.folder / "make.log", str(self.folder / "monmap")
        address = f"[v2:{HOST}:{self.port}/0]"
        run_to_end(
            [system_program("monmaptool"), "--create", "--clobber", "--fsid", self.fsid,
             "--addv", "a", address, "--set-min-mon-release", "pacific", monitors], log,
        )  # fmt: skip
        run_to_end([*self._server("mon", "a"), "--mkfs", "--monmap", monitors, "--keyring", str(everyone)], log)

    def _make_osd(self) -> None:
        osd_id = str(uuid.uuid4())
        self.command("osd", "new", osd_id, "0")
        run_to_end([*self._server("osd", "0"), "--mkfs", "--osd-uuid", osd_id], self.folder / "make.log")

    def _daemon(self, kind: str, name: str) -> Daemon:
        return Daemon([*self._server(kind, name), "--foreground"], self.folder / f"{kind}.out")

    def _server(self, kind: str, name: str) -> list[str]:
        return [system_program(f"ceph-{kind}"), "--conf", str(self.conf_path), "--id", name]

    def _daemons(self) -> list[Daemon]:
        return [daemon for daemon in (self.mgr, self.osd, self.mon) if daemon is not None]

    def _configuration(self) -> str:
        options = {
            "fsid": self.fsid,
            "mon host": f"[v2:{HOST}:{self.port}/0]",
            "ms bind msgr1": "false",
            "public addr": HOST,
            "cluster addr": HOST,
            "auth cluster required": "cephx",
            "auth service required": "cephx",
            "auth client required": "cephx",
            "auth allow insecure global id reclaim": "false",
            "keyring": f"{self.folder}/keyring.$name",
            # Every snapshot takes a decision of the monitors, who gather for a second what there is to decide.
            "paxos propose interval": 0.05,
            "paxos min wait": 0.01,
            "osd pool default size": 1,
            "osd pool default min size": 1,
            "osd pool default pg num": 8,
            "osd pool default pg autoscale mode": "off",
            "osd crush chooseleaf type": 0,
            "mon allow pool size one": "true",
            "mon allow pool delete": "true",
            "mon warn on pool no redundancy": "false",
            # The disk of a machine that runs tests may be nearly full.
            "mon data avail crit": 1,
            "mon data avail warn": 2,
            "osd objectstore": self._object_store,
            "bluestore block size": self._size_bytes,
            "bluestore block db size": 0,
            "bluestore block wal size": 0,
            "memstore device bytes": self._size_bytes,
            "osd memory target": 939524096,
            # File systems in containers often take no more.
            "osd max object name len": 256,
            "osd max object namespace len": 64,
            "osd fast shutdown": "true",
            "admin socket": "",
            "run dir": self.folder,
            "mon data": self.folder / "mon",
            "osd data": self.folder / "osd",
            "mgr data": self.folder / "mgr",
        }
        # Named one by one, so that clients write none.
        logs = "".join(f"[{kind}]\nlog file = {self.folder}/{kind}.log\n" for kind in ("mon", "osd", "mgr"))
        lines = "".join(f"{name} = {value}\n" for name, value in options.items())
        return f"[global]\n{lines}{logs}[mon]\nkeyring = {self.folder}/mon/keyring\n"

    # How it is watched

    def _answers(self, *arguments: str) -> bool:
        try:
            self.program("ceph", "--connect-timeout", "5", *arguments)
        except (CommandFailedError, TimeoutExpired):
            return False
        return True

    def _wait_until_pools_serve(self) -> None:
        """A client's operation waits for the placement groups to be there."""
        for pool in POOLS:
            self.program("rados", "--pool", pool, "ls")

    def _pool_is_full(self, name: str) -> bool:
        [flags] = [pool["flags_names"] for pool in self.ask("osd", "dump")["pools"] if pool["pool_name"] == name]
        return "full" in flags.split(",")

    def _wait_until(self, check: Callable[[], bool], what: str) -> None:
        give_up_at = time.monotonic() + COMMAND_TIMEOUT_S
        while not check():
            if time.monotonic() > give_up_at:
                raise CommandFailedError(f"waited in vain for {what}")
            time.sleep(0.1)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()


def _keyring_entry(entity: str, capabilities: dict[str, str]) -> str:
    """A new key, as Ceph's tools would make it: type 1 (AES), when it was made, length, 16 bytes."""
    key = base64.b64encode(struct.pack("<HIIH", 1, int(time.time()), 0, 16) + secrets.token_bytes(16)).decode()
    caps = "".join(f'\tcaps {kind} = "{right}"\n' for kind, right in capabilities.items())
    return f"[{entity}]\n\tkey = {key}\n{caps}"
