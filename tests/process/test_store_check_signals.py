"""Ctrl-C at a check of stores: it ends at once, says so, and leaves nothing."""

import hashlib
import os
import signal
import subprocess
from pathlib import Path
from uuid import uuid4

import pytest

from blick.conf.settings import DatabaseSettings
from blick.db import images
from blick.db.engine import open_database
from blick.db.upgrade import ensure_current
from tests.support.config_file import ini_text
from tests.support.parts import VENV_BIN
from tests.support.records import NOW, image
from tests.support.server import clean_environment
from tests.support.web_server import WebServer

DATA = os.urandom(3_000_000)


@pytest.mark.parametrize("arguments", [(), ("--repair",)], ids=["check", "repair"])
def test_ctrl_c(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with WebServer() as web:
        config = prepare(tmp_path, web.put(DATA, "waiting"), web.port)
        (tmp_path / "temporary").mkdir()
        process = subprocess.Popen(
            [str(VENV_BIN / "blick"), "stores", "check", "--verify", *arguments, "--config-file", str(config)],
            env=clean_environment(tmp_path) | {"TMPDIR": str(tmp_path / "temporary")},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert web.waiting.wait(120)
        assert len(list((tmp_path / "temporary").iterdir())) == 1
        process.send_signal(signal.SIGINT)
        said, complained = process.communicate(timeout=120)
        web.go.set()
    assert (process.returncode, said) == (130, "")
    assert complained == "Interrupted. What was under way was undone or finished; nothing else has changed.\n"
    assert list((tmp_path / "temporary").iterdir()) == []


def prepare(folder: Path, url: str, port: int) -> Path:
    """A site with one image, whose data lies on a web server."""
    url_of_database = f"sqlite:///{folder / 'blick.sqlite3'}"
    database = open_database(DatabaseSettings(connection=url_of_database))
    image_id = str(uuid4())
    hashes = {
        "size": len(DATA),
        "checksum": hashlib.md5(DATA).hexdigest(),
        "os_hash_algo": "sha512",
        "os_hash_value": hashlib.sha512(DATA).hexdigest(),
    }
    try:
        ensure_current(database)
        database.write_now(images.insert_image, image(image_id, status="active", **hashes))
        database.write_now(images.add_location, image_id, url, {"store": "web"}, NOW)
    finally:
        database.close()
    config = folder / "glance-api.conf"
    config.write_text(
        ini_text(
            {
                "DEFAULT": {"enabled_backends": "files:file,web:http"},
                "glance_store": {"default_backend": "files"},
                "files": {"filesystem_store_datadir": folder / "files"},
                "database": {"connection": url_of_database},
                "import_filtering_opts": {"allowed_hosts": "[127.0.0.1]", "allowed_ports": f"[{port}]"},
                "paste_deploy": {"flavor": "none"},
            }
        )
    )
    return config
