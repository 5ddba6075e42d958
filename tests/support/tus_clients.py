"""Others' clients for resumable uploads: tuspy, and tus-js-client under Node, each in its own process."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any, Final

from tests.support import npm_packages
from tests.support.environments import environment

TIMEOUT_S = 600.0

_TUSPY: Final = """
import json, sys
from tusclient.client import TusClient

told = json.loads(sys.argv[1])
client = TusClient(told["endpoint"], headers=told["headers"])
uploader = client.uploader(told["file"], **told["options"])
uploader.upload()
print(uploader.url)
"""

_TUS_JS: Final = """
const fs = require("node:fs");
const tus = require("tus-js-client");

const told = JSON.parse(process.argv[1]);
let source = fs.createReadStream(told.file);
if (told.options.uploadLengthDeferred) {
  source = source.pipe(new (require("node:stream").PassThrough)());  // of which nobody knows how long it is
}
const upload = new tus.Upload(source, {
  endpoint: told.endpoint,
  headers: told.headers,
  ...told.options,
  onError: (error) => { console.error(String(error)); process.exit(1); },
  onSuccess: () => { console.log(upload.url); },
});
upload.start();
"""


class TusClient:
    """One upload of `file` to an image, under way in a process of its own from the beginning on.

    `kind` is tuspy or tus-js-client; `options` are those of its uploads, beside those for coming back.
    """

    def __init__(self, kind: str, endpoint: str, token: str, file: Path, **options: Any) -> None:
        headers = {"X-Auth-Token": token}
        if kind == "tuspy":
            # It tries each request so often, waiting in between.
            options = {"retries": 300, "retry_delay": 0.2, **options}
            command = [str(environment("tuspy") / "bin/python"), "-c", _TUSPY]
            env = dict(os.environ)
        else:
            options = {"retryDelays": [200] * 300, **options}
            command = ["node", "-e", _TUS_JS]
            env = {**os.environ, "NODE_PATH": str(npm_packages.folder_of("tus-js-client") / "node_modules")}
        told = {"endpoint": endpoint, "headers": headers, "file": str(file), "options": options}
        self._process = subprocess.Popen(
            [*command, json.dumps(told)],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    @property
    def has_ended(self) -> bool:
        """Well or badly."""
        return self._process.poll() is not None

    def finish(self) -> str:
        """The URL of the upload, once the client says that it succeeded. AssertionError carries what it said else."""
        said, complaints = self._process.communicate(timeout=TIMEOUT_S)
        assert self._process.returncode == 0, f"{said}\n{complaints}"
        return said.strip()

    def failure(self) -> str:
        """What the client says of its failure. AssertionError if it succeeded."""
        said, complaints = self._process.communicate(timeout=TIMEOUT_S)
        assert self._process.returncode != 0, said
        return complaints

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        self._process.kill()
        self._process.communicate()
