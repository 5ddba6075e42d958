"""A vCenter for tests: govmomi's simulator, built once from the distribution's Go packages (vcsim.go)."""

import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyVmomi import SoapStubAdapter, vim

from tests.support.certificates import make_certificate
from tests.support.environments import cache_folder, fingerprint, kept
from tests.support.loopback_server import LoopbackServer
from tests.support.parts import GOVMOMI_FOLDER, system_program

SOURCE = Path(__file__).with_name("vcsim.go")
NAME = "localhost"
"""What its certificate is for."""

USER = "glance"
PASSWORD = "vsphere-secret"
DATACENTER = "DC0"
DATASTORES = ("LocalDS_0", "LocalDS_1")
BUILD_TIMEOUT_S = 900


class Vcsim(LoopbackServer):
    """A datacenter DC0 with the datastores LocalDS_0 and LocalDS_1, by HTTPS. What it holds is gone after `stop`."""

    name = "vcsim"

    def __init__(self, folder: Path, port: int | None = None) -> None:
        super().__init__(folder, port)
        self.ca_file: Path | None = None
        self.prefix: list[str] = []
        """A command that starts the simulator with less room (tests/support/confined.py)."""

    def prepare(self) -> None:
        # Its datastores are folders among the temporary ones; a killed one's are not to be found again.
        shutil.rmtree(self._data, ignore_errors=True)
        self._data.mkdir(parents=True)
        if self.ca_file is None:
            self.ca_file, self._key = make_certificate(self.folder, (NAME,))

    def command(self) -> list[str]:
        certificate = [f"-certificate={self.ca_file}", f"-key={self._key}"]
        return [*self.prefix, str(program()), f"-listen={self.address}", f"-user={USER}", *certificate]

    def environment(self) -> Mapping[str, str]:
        return {**super().environment(), "VCSIM_PASSWORD": PASSWORD, "TMPDIR": str(self._data)}

    def is_ready(self) -> bool:
        return f"ready on {self.address}" in self.log_text() and super().is_ready()

    def options(self, **changes: Any) -> dict[str, Any]:
        """What a store has to be told to keep its images here."""
        usual = {
            "vmware_server_host": f"{NAME}:{self.port}",
            "vmware_server_username": USER,
            "vmware_server_password": PASSWORD,
            "vmware_datastores": [f"{DATACENTER}:{name}" for name in DATASTORES],
            "vmware_ca_file": str(self.ca_file),
            "vmware_api_retry_count": 1,
        }
        return usual | changes

    def datastore(self, name: str) -> Path:
        """The folder that is this datastore."""
        [found] = self._data.glob(f"govcsim-{DATACENTER}-{name}-*")
        return found

    def files(self) -> list[str]:
        """The names of all files in all datastores, without what the simulated machines have there."""
        found = [path for path in self._data.glob("**/*") if path.is_file()]
        return sorted(path.name for path in found if path.suffix not in (".vmx", ".vmdk", ".log", ".nvram"))

    def end_sessions(self) -> None:
        """Makes every session invalid, as a restart or an idle hour does."""
        with self._administrator() as content:
            manager = content.sessionManager
            others = {session.key for session in manager.sessionList} - {manager.currentSession.key}
            if others:
                manager.TerminateSession(list(others))

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @contextmanager
    def _administrator(self) -> Iterator[Any]:
        context = ssl.create_default_context(cafile=self.ca_file)
        stub = SoapStubAdapter(NAME, self.port, version="vim.version.version10", sslContext=context)
        content = vim.ServiceInstance("ServiceInstance", stub).RetrieveContent()
        content.sessionManager.Login(USER, PASSWORD)
        try:
            yield content
            content.sessionManager.Logout()
        finally:
            stub.DropConnections()


def program() -> Path:
    """The simulator, built on first use (40 CPU seconds); a changed source is built anew."""
    folder = cache_folder() / f"vcsim-{fingerprint(SOURCE.read_text(), (GOVMOMI_FOLDER / 'simulator.go').read_text())}"
    return kept(folder, _build) / "vcsim"


def _build(folder: Path) -> None:
    own = {"GO111MODULE": "off", "GOFLAGS": "", "GOPATH": "/usr/share/gocode", "GOCACHE": str(folder / "cache")}
    command = [system_program("go"), "build", "-o", str(folder / "vcsim"), str(SOURCE)]
    done = subprocess.run(
        command, env=dict(os.environ) | own, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    shutil.rmtree(folder / "cache", ignore_errors=True)
