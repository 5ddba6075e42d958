"""NX-27017: a server that speaks MongoDB's protocol and keeps everything in SQLite. There is no MongoDB in Debian.

Where it differs from MongoDB: collections called `*.files` and `*.chunks` are kept in tables of their own. There it
enforces no unique ids of files, replaces a file of the same id, and knows few queries.
"""

from tests.support import environments
from tests.support.loopback_server import LoopbackServer
from tests.support.server import HOST


class Nx27017(LoopbackServer):
    """One database server with its file; use it in a `with`."""

    name = "nx27017"

    @property
    def uri(self) -> str:
        """Where clients find it; they give up soon, since it is near."""
        return f"mongodb://{self.address}/?serverSelectionTimeoutMS=5000"

    def command(self) -> list[str]:
        """See LoopbackServer."""
        folder = environments.environment("nx27017") / "bin"
        files = ["--db", str(self.folder / "data.db"), "--pid-file", str(self.folder / "pid")]
        return [str(folder / "nx-27017"), *files, "--host", HOST, "-p", str(self.port)]
