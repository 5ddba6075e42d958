"""Azurite, Microsoft's own emulator of Azure Blob Storage; in memory, and strict about signatures."""

from base64 import b64encode

from tests.support import npm_packages
from tests.support.loopback_server import LoopbackServer
from tests.support.server import HOST

ACCOUNT = "blicktests"
KEY = b64encode(b"a key that everybody may know").decode()


class Azurite(LoopbackServer):
    """The blob service alone, with one account. Use it in a `with`; what it keeps ends with it."""

    name = "azurite"
    account = ACCOUNT
    key = KEY

    @property
    def endpoint(self) -> str:
        """The URL of the account."""
        return f"http://{self.address}/{ACCOUNT}"

    def command(self) -> list[str]:
        program = npm_packages.folder_of("azurite") / "node_modules/azurite/dist/src/blob/main.js"
        where = ["--blobHost", HOST, "--blobPort", str(self.port)]
        manner = ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
        return ["node", str(program), *where, *manner]

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"}
