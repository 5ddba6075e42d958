"""rclone's S3 server on a folder: one program in Go, quicker than any S3 server in Python. It checks signatures."""

import secrets
from collections.abc import Mapping
from pathlib import Path

from tests.support import environments
from tests.support.loopback_server import LoopbackServer


class Rclone(LoopbackServer):
    """An S3 server whose buckets are folders; use it in a `with`.

    Not for tests of what a store does when others interfere: it knows no conditions.
    """

    name = "rclone"
    s3_region = "us-east-1"
    s3_access_key = "blick-tests"

    def __init__(self, folder: Path, port: int | None = None) -> None:
        super().__init__(folder, port)
        self.s3_secret_key = secrets.token_hex(16)

    @property
    def s3_endpoint(self) -> str:
        """Where clients talk to it."""
        return f"http://{self.address}"

    def prepare(self) -> None:
        (self.folder / "buckets").mkdir(parents=True, exist_ok=True)

    def environment(self) -> Mapping[str, str]:
        return {**super().environment(), "RCLONE_CONFIG": str(self.folder / "rclone.conf")}

    def command(self) -> list[str]:
        program = str(environments.environment("rclone") / "bin/rclone")
        keys = f"{self.s3_access_key},{self.s3_secret_key}"
        caches = ["--vfs-cache-mode", "off", "--cache-dir", str(self.folder / "cache")]
        buckets = str(self.folder / "buckets")
        return [program, "serve", "s3", buckets, "--addr", self.address, "--auth-key", keys, *caches]
