"""A stand-in for a Sheepdog cluster of one node, with the command `dog` that belongs to it."""

import subprocess
import sys
from pathlib import Path

from tests.support.loopback_server import LoopbackServer

HERE = Path(__file__).parent


class Sheepdog(LoopbackServer):
    """One sheep; use it in a `with`. What it holds is gone when it ends."""

    name = "sheep"

    def __init__(self, folder: Path, room_mib: int = 4096) -> None:
        """It has room for so many MiB."""
        super().__init__(folder)
        self._room_mib = room_mib

    def prepare(self) -> None:
        """Makes the command `dog`, the only one in `bin`."""
        super().prepare()
        self.bin.mkdir(exist_ok=True)
        dog = self.bin / "dog"
        dog.write_text(f"#!{sys.executable} -IS\n{(HERE / 'dog.py').read_text()}")
        dog.chmod(0o755)

    @property
    def bin(self) -> Path:
        """The folder for PATH."""
        return self.folder / "bin"

    def command(self) -> list[str]:
        """See LoopbackServer."""
        return [sys.executable, "-I", str(HERE / "sheep.py"), str(self.port), str(self._room_mib)]

    def dog(self, *words: str, data: bytes = b"") -> bytes:
        """What an operator types."""
        noun, verb, *rest = words
        command = [str(self.bin / "dog"), noun, verb, "-a", "127.0.0.1", "-p", str(self.port), *rest]
        return subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout
