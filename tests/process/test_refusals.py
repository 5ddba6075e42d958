"""What a start refuses: one line that says why, exit status 1, and everything as it was before."""

import socket
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from tests.process.conftest import ServerFactory
from tests.support.command import run_command
from tests.support.confined import obeying_permissions
from tests.support.images_api import ImagesApi
from tests.support.remains import DATABASE
from tests.support.server import HOST, BlickServer, free_port


def refusal_of(server: BlickServer) -> str:
    """The one line that a start of `server` ends with."""
    said = subprocess.run(
        server.command,
        env=server.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert said.returncode == 1, said
    assert said.stdout == ""
    lines = [line for line in said.stderr.splitlines() if not line.startswith("warning:")]
    assert len(lines) == 1, said.stderr
    assert lines[0].startswith("ERROR: ")
    return lines[0]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file, but for those by which SQLite and the lock know who is there."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock" and not path.name.endswith(("-wal", "-shm"))
    }


def test_a_port_in_use(make_server: ServerFactory) -> None:
    server = make_server()
    with socket.socket() as other:
        other.bind((HOST, server.port))
        other.listen()
        refusal = refusal_of(server)
    assert f"port {server.port}" in refusal
    assert "Address already in use" in refusal
    assert "--port" in refusal
    server.start()


def test_an_address_of_another_machine(make_server: ServerFactory) -> None:
    refusal = refusal_of(make_server(arguments=["--host", "192.0.2.1", "--insecure"]))
    assert "192.0.2.1" in refusal
    assert "Cannot assign requested address" in refusal


def test_a_second_server_on_the_same_data(make_server: ServerFactory) -> None:
    first = make_server().start()
    second = make_server()
    second.port = free_port()
    refusal = refusal_of(second)
    assert str(first.data_dir) in refusal
    assert f"in use by process {first.process.pid}" in refusal
    assert first.is_healthy()
    with ImagesApi(first.url, first.clouds()["blick"]["auth"]) as api:
        api.create(name="the first goes on")
    assert first.clouds()["blick"]["auth"]["auth_url"].startswith(first.url)


def test_data_of_a_newer_release(make_server: ServerFactory) -> None:
    server = make_server().start()
    server.stop()
    with closing(sqlite3.connect(server.data_dir / DATABASE)) as connection, connection:
        connection.execute("UPDATE blick_alembic_version SET version_num = '9999'")
    before = contents(server.data_dir)
    refusal = refusal_of(server)
    assert "9999" in refusal
    assert "newer" in refusal
    assert contents(server.data_dir) == before


def test_a_data_folder_that_is_a_file(make_server: ServerFactory) -> None:
    server = make_server()
    server.folder.mkdir()
    server.data_dir.write_text("mine")
    process = subprocess.run(server.command, env=server.environment, capture_output=True, text=True, timeout=120)
    assert process.returncode in (1, 2)
    assert str(server.data_dir) in process.stderr.replace("\n", "")
    assert "is a file" in process.stderr
    assert "Traceback" not in process.stderr
    assert server.data_dir.read_text() == "mine"


def test_a_data_folder_that_may_not_be_written(make_server: ServerFactory) -> None:
    server = make_server(prefix=obeying_permissions()).start()
    server.stop()
    server.data_dir.chmod(0o500)
    (server.data_dir / "lock").unlink()
    try:
        refusal = refusal_of(server)
    finally:
        server.data_dir.chmod(0o700)
    assert str(server.data_dir) in refusal
    assert "Permission denied" in refusal
    server.start()


def test_a_database_that_may_not_be_written(make_server: ServerFactory) -> None:
    server = make_server(prefix=obeying_permissions()).start()
    server.stop()
    (server.data_dir / DATABASE).chmod(0o400)
    refusal = refusal_of(server)
    assert DATABASE in refusal
    assert "readonly" in refusal


def test_a_database_that_is_none(make_server: ServerFactory) -> None:
    server = make_server()
    server.data_dir.mkdir(parents=True)
    (server.data_dir / DATABASE).write_bytes(b"something else entirely\n" * 100)
    refusal = refusal_of(server)
    assert DATABASE in refusal
    assert "file is not a database" in refusal


def test_a_folder_in_place_of_the_client_files(make_server: ServerFactory) -> None:
    server = make_server()
    (server.data_dir / "clouds.yaml" / "mine").mkdir(parents=True)
    refusal = refusal_of(server)
    assert str(server.data_dir) in refusal
    (server.data_dir / "clouds.yaml" / "mine").rmdir()
    (server.data_dir / "clouds.yaml").rmdir()
    server.start()
    with ImagesApi(server.url, server.clouds()["blick"]["auth"]) as api:
        api.create(name="the passwords are known")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_passwords_in_the_clear_beyond_this_machine(make_server: ServerFactory, host: str) -> None:
    server = make_server(arguments=["--host", host])
    refusal = refusal_of(server)
    assert host in refusal
    assert "--cert-file" in refusal
    assert "--insecure" in refusal
    assert not server.data_dir.exists()


def test_insecure_is_taken_at_its_word(make_server: ServerFactory) -> None:
    server = make_server(arguments=["--host", "0.0.0.0", "--insecure"]).start()
    assert server.is_healthy()


def test_a_wrong_option_of_the_command_line(tmp_path: Path) -> None:
    for arguments in (["--port", "70000"], ["--workers", "0"], ["--no-such-option"]):
        refused = run_command(tmp_path, "serve", *arguments)
        assert refused.returncode == 2
        assert arguments[0] in refused.stderr
    assert list(tmp_path.iterdir()) == []
