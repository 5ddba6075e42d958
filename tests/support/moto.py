"""moto's server: S3 in memory, quick to start. It takes any secret; what it keeps ends with it."""

import secrets
from pathlib import Path

from tests.support import environments
from tests.support.loopback_server import LoopbackServer
from tests.support.server import HOST


class Moto(LoopbackServer):
    """An S3 server for tests that need a lenient one; Swift is the strict one. Use it in a `with`."""

    name = "moto"
    s3_region = "us-east-1"
    s3_access_key = "blick-tests"

    def __init__(self, folder: Path, port: int | None = None, *, tls: tuple[Path, Path] | None = None) -> None:
        """`tls` are a certificate for localhost and its key."""
        super().__init__(folder, port)
        self.s3_secret_key = secrets.token_hex(16)
        self._tls = tls

    @property
    def s3_endpoint(self) -> str:
        """Where clients talk to it."""
        return f"http://{self.address}" if self._tls is None else f"https://localhost:{self.port}"

    def command(self) -> list[str]:
        folder = environments.environment("moto") / "bin"
        tls = [] if self._tls is None else ["--ssl-cert", str(self._tls[0]), "--ssl-key", str(self._tls[1])]
        server = [str(folder / "moto_server"), "-H", HOST, "-p", str(self.port), *tls]
        return [str(folder / "python"), "-W", "ignore", *server]
