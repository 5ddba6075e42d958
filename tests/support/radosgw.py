"""Ceph's own S3 server, on a cluster of the tests'. It checks signatures, and answers some things in its own way:
no ETag at the end of an upload in parts, for one.
"""

import json
import secrets
import urllib.request
from pathlib import Path
from typing import Self

from tests.support.ceph import Ceph
from tests.support.loopback_server import LoopbackServer
from tests.support.parts import system_program
from tests.support.server import HOST

ENTITY = "client.rgw.blick"
USER = "blick"


class RadosGw(LoopbackServer):
    """A gateway with one user. Its pools are made in `cluster`, which runs; use it in a `with`."""

    name = "radosgw"
    s3_region = "us-east-1"

    def __init__(self, folder: Path, cluster: Ceph) -> None:
        super().__init__(folder)
        self._cluster = cluster
        self.s3_access_key = secrets.token_hex(10)
        self.s3_secret_key = secrets.token_hex(20)

    @property
    def s3_endpoint(self) -> str:
        """Where clients talk to it."""
        return f"http://{self.address}"

    def prepare(self) -> None:
        super().prepare()
        self._cluster.create_user("rgw.blick", mon="allow rw", osd="allow rwx")

    def command(self) -> list[str]:
        identity = ["--conf", str(self._cluster.conf_path), "--name", ENTITY]
        keyring = ["--keyring", str(self._cluster.keyring(ENTITY))]
        return [
            system_program("radosgw"), *identity, *keyring, "-f", "--rgw-data", str(self.folder), "--pid-file=",
            "--rgw-frontends", f"beast endpoint={HOST}:{self.port}", "--rgw-dns-name=", "--rgw-enable-usage-log=false",
            "--rgw-thread-pool-size", "64",
        ]  # fmt: skip

    def is_ready(self) -> bool:
        try:
            urllib.request.urlopen(self.s3_endpoint, timeout=60).close()
        except OSError:
            return False
        return True

    def start(self) -> Self:
        super().start()
        known = json.loads(self._cluster.program("radosgw-admin", "user", "list"))
        if USER not in known:
            keys = ["--access-key", self.s3_access_key, "--secret-key", self.s3_secret_key]
            self._cluster.program("radosgw-admin", "user", "create", "--uid", USER, "--display-name", USER, *keys)
        return self
