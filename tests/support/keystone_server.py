"""Keystone from PyPI on SQLite as a process, and the filled database that every one of the tests starts from."""

import base64
import configparser
import os
import secrets
import shutil
import sqlite3
import subprocess
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from tests.support import environments, keystone_accounts
from tests.support.daemon import DaemonFailedError
from tests.support.keystone_api import KeystoneApi, password_identity
from tests.support.loopback_server import LoopbackServer

DATABASE = "keystone.db"
PASSWORD = "password"
KEYS = ("fernet/0", "fernet/1", "credential/0", "credential/1")
OWN_URL, IMAGE_URL = "http://identity.invalid/v3", "http://image.invalid"
"""What the filled database says where a running Keystone's own addresses belong."""

TOKEN_TTL_S = 4 * 3600
THREADS = 1  # SQLite lets one write at a time, and Keystone answers 500 to who comes second
# Keystone reads the command line of whatever imports it, so `waitress-serve` cannot have one.
PROGRAM = """
import sys
import waitress
_, address, threads = sys.argv
del sys.argv[1:]
from keystone.wsgi.api import application
waitress.serve(application, listen=address, threads=int(threads))
"""
Options = Mapping[str, Mapping[str, object]]


class KeystoneServer(LoopbackServer):
    """One Keystone process with Fernet tokens, on the database and the keys in its folder."""

    name = "keystone"

    def __init__(
        self, folder: Path, *, port: int | None = None, token_ttl_s: int = TOKEN_TTL_S, options: Options | None = None
    ) -> None:
        """`options` are further options of keystone.conf, by group and name."""
        super().__init__(folder, port)
        self.token_ttl_s = token_ttl_s
        self._options = options or {}

    @property
    def url(self) -> str:
        """What clients call auth_url."""
        return f"http://{self.address}/v3"

    def prepare(self) -> None:
        super().prepare()
        configuration = configparser.RawConfigParser()
        configuration.read_dict(
            {
                "DEFAULT": {"public_endpoint": f"http://{self.address}"},
                "database": {"connection": f"sqlite:///{self.folder / DATABASE}"},
                "token": {"provider": "fernet", "expiration": self.token_ttl_s},
                "fernet_tokens": {"key_repository": self.folder / "fernet"},
                "fernet_receipts": {"key_repository": self.folder / "fernet"},
                "credential": {"key_repository": self.folder / "credential"},
                # Without it a validation costs most of a second.
                "cache": {"enabled": "true", "backend": "dogpile.cache.memory"},
                "identity": {"password_hash_algorithm": "bcrypt", "password_hash_rounds": 4},  # only to be quick
                "oslo_policy": {"enforce_scope": "true", "enforce_new_defaults": "true"},
            }
        )
        for group, options in self._options.items():
            configuration.read_dict({group: options})
        with (self.folder / "keystone.conf").open("w") as file:
            configuration.write(file)

    def command(self) -> list[str]:
        return [str(self._bin / "python"), "-c", PROGRAM, self.address, str(THREADS)]

    def environment(self) -> Mapping[str, str]:
        own = {"OS_KEYSTONE_CONFIG_DIR": str(self.folder), "OS_KEYSTONE_CONFIG_FILES": "keystone.conf"}
        return {**super().environment(), **own, "PYTHONWARNINGS": "ignore"}

    def is_ready(self) -> bool:
        if not super().is_ready():
            return False
        try:
            with urllib.request.urlopen(self.url, timeout=60) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.HTTPError):
            return False

    def manage(self, *arguments: str) -> None:
        """Runs keystone-manage; DaemonFailedError carries what it said."""
        command = [str(self._bin / "keystone-manage"), "--config-file", str(self.folder / "keystone.conf"), *arguments]
        done = subprocess.run(command, env=dict(self.environment()), capture_output=True, text=True, timeout=300)
        if done.returncode:
            raise DaemonFailedError(f"keystone-manage {arguments[0]} ended with {done.returncode}:\n{done.stderr}")

    @property
    def _bin(self) -> Path:
        return environments.environment("keystone") / "bin"


def filled_folder() -> Path:
    """The folder with a filled database, its keys and its password, made once and kept in the cache."""
    made_from = [Path(module.__file__ or "").read_text() for module in (keystone_accounts,)]
    made_from += [Path(__file__).read_text(), environments.requirements_file("keystone").read_text()]
    return environments.kept(environments.cache_folder() / f"keystone-{environments.fingerprint(*made_from)}", _fill)


def copy_filled(folder: Path, own_url: str, image_url: str) -> None:
    """Puts database, keys and password into `folder`, with these addresses in the catalog."""
    filled = filled_folder()
    for name in {key.split("/")[0] for key in KEYS}:
        shutil.copytree(filled / name, folder / name)
    shutil.copy(filled / PASSWORD, folder)
    shutil.copy(filled / DATABASE, folder)
    database = sqlite3.connect(folder / DATABASE)
    with database:
        for placeholder, url in ((OWN_URL, own_url), (IMAGE_URL, image_url)):
            database.execute("UPDATE endpoint SET url = ? WHERE url = ?", (url, placeholder))
    database.close()


def _fill(folder: Path) -> None:
    password = secrets.token_hex(16)
    (folder / PASSWORD).write_text(password)
    for key in KEYS:
        path = folder / key
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.write_bytes(base64.urlsafe_b64encode(os.urandom(32)))
        path.chmod(0o600)
    server = KeystoneServer(folder)
    server.prepare()
    server.manage("db_sync")
    urls = [f"--bootstrap-{interface}-url={OWN_URL}" for interface in ("public", "internal", "admin")]
    region = f"--bootstrap-region-id={keystone_accounts.REGION}"
    server.manage("bootstrap", f"--bootstrap-password={password}", region, *urls)
    with server, KeystoneApi(server.url) as api:
        scope = {"project": {"name": "admin", "domain": {"id": keystone_accounts.DOMAIN_ID}}}
        login = api.token(password_identity("admin", password), scope)
        api.http.headers["X-Auth-Token"] = login.headers["X-Subject-Token"]
        keystone_accounts.fill(api, password, IMAGE_URL)
