"""moto's server: S3 in memory, quick to start. It takes any secret; what it keeps ends with it."""

import secrets

from tests.support import environments
from tests.support.loopback_server import LoopbackServer
from tests.support.server import HOST


class Moto(LoopbackServer):
    """An S3 server for tests that need a lenient one; Swift is the strict one. Use it in a `with`."""

    name = "moto"
    s3_region = "us-east-1"
    s3_access_key = "blick-tests"

    def __init__(self, *args: object, **kwargs: object) -> None:
        """See LoopbackServer."""
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # as they came
        self.s3_secret_key = secrets.token_hex(16)

    @property
    def s3_endpoint(self) -> str:
        """Where clients talk to it."""
        return f"http://{self.address}"

    def command(self) -> list[str]:
        folder = environments.environment("moto") / "bin"
        return [str(folder / "python"), "-W", "ignore", str(folder / "moto_server"), "-H", HOST, "-p", str(self.port)]
