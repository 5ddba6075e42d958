"""TLS with a certificate that was made a moment ago: what a service beyond this machine needs."""

import hashlib
import os
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.process.conftest import ServerFactory
from tests.process.test_refusals import refusal_of
from tests.support.images_api import ImagesApi
from tests.support.parts import system_program
from tests.support.remains import leases, stored_files
from tests.support.server import BlickServer
from tests.support.waiting import eventually
from tests.support.wire import Wire

RAW = {"disk_format": "raw", "container_format": "bare"}
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate for the loopback address, and its key."""

    cert_file: Path
    key_file: Path

    @property
    def arguments(self) -> list[str]:
        return ["--cert-file", str(self.cert_file), "--key-file", str(self.key_file)]

    @property
    def trust(self) -> ssl.SSLContext:
        """How a client trusts this certificate, and no other."""
        return ssl.create_default_context(cafile=str(self.cert_file))


def make_certificate(folder: Path) -> Certificate:
    made = Certificate(folder / "cert.pem", folder / "key.pem")
    folder.mkdir(parents=True, exist_ok=True)
    command = [
        *(system_program("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
        *("-nodes", "-days", "2", "-subj", "/CN=blick", "-addext", "subjectAltName=IP:127.0.0.1"),
        *("-keyout", str(made.key_file), "-out", str(made.cert_file)),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return made


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Iterator[BlickServer]:
    """A server with that certificate, on every address: it needs no --insecure."""
    folder = tmp_path_factory.mktemp("tls")
    arguments = [*certificate.arguments, "--host", "0.0.0.0"]
    with BlickServer(folder, arguments=arguments, tls=certificate.trust) as running:
        yield running


@pytest.fixture
def api(server: BlickServer, certificate: Certificate) -> Iterator[ImagesApi]:
    auth = server.clouds()["blick"]["auth"] | {"auth_url": f"{server.url}/identity/v3"}
    with ImagesApi(server.url, auth, verify=certificate.trust) as client:
        yield client


def test_clients_are_told_of_https(server: BlickServer) -> None:
    assert server.clouds()["blick"]["auth"]["auth_url"].startswith("https://")


def test_links_say_https(server: BlickServer, api: ImagesApi) -> None:
    assert api.http.get("/").json()["versions"][0]["links"][0]["href"].startswith(server.url)


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_up_and_down(server: BlickServer, api: ImagesApi, certificate: Certificate, framing: str) -> None:
    data = os.urandom(9 * MIB + 99)
    image_id = api.create(name="secret", **RAW)["id"]
    with Wire(server.port, tls=certificate.trust) as wire:
        if framing == "length":
            wire.upload_head(api.token, image_id, content_length=str(len(data))).send(data)
        else:
            wire.upload_head(api.token, image_id, transfer_encoding="chunked").chunk(data).chunk(b"")
        assert wire.answer().status == 204
        answer = wire.head("GET", f"/v2/images/{image_id}/file", {"X-Auth-Token": api.token}).answer("GET")
    assert answer.body == data
    assert api.show(image_id)["os_hash_value"] == hashlib.sha512(data).hexdigest()
    part = api.http.get(f"/v2/images/{image_id}/file", headers={"Range": f"bytes={MIB}-{2 * MIB}"})
    assert (part.status_code, part.content) == (206, data[MIB : 2 * MIB + 1])


def test_a_client_that_vanishes(server: BlickServer, api: ImagesApi, certificate: Certificate) -> None:
    image_id = api.create(name="cut", **RAW)["id"]
    with Wire(server.port, tls=certificate.trust) as wire:
        wire.upload_head(api.token, image_id, content_length=str(8 * MIB)).send(bytes(3 * MIB))
        eventually(lambda: api.show(image_id)["status"] == "saving")
    eventually(lambda: api.show(image_id)["status"] == "queued")
    assert not [name for name in stored_files(server.data_dir) if image_id in name]
    assert leases(server.data_dir) == 0


def test_a_conflict_can_be_read_by_a_client_that_goes_on_sending(
    server: BlickServer, api: ImagesApi, certificate: Certificate
) -> None:
    image_id = api.create(name="twice", **RAW)["id"]
    for status in (204, 409):
        with Wire(server.port, tls=certificate.trust) as wire:
            wire.upload_head(api.token, image_id, content_length=str(16 * MIB)).send(bytes(16 * MIB))
            assert wire.answer().status == status


def test_plain_http_is_not_answered(server: BlickServer) -> None:
    with Wire(server.port) as wire:
        wire.head("GET", "/", {})
        assert wire.is_closed_by_server()
    assert server.is_healthy()


def test_certificates_that_do_not_work(make_server: ServerFactory, certificate: Certificate, tmp_path: Path) -> None:
    other = make_certificate(tmp_path / "other")
    refusals = [
        refusal_of(make_server(arguments=arguments))
        for arguments in (
            ["--cert-file", str(tmp_path / "absent.pem")],
            ["--cert-file", str(certificate.cert_file), "--key-file", str(other.key_file)],
            ["--cert-file", str(certificate.key_file)],
            ["--key-file", str(certificate.key_file)],
        )
    ]
    assert "absent.pem" in refusals[0]
    assert "No such file" in refusals[0]
    assert "mismatch" in refusals[1]
    assert "key.pem" in refusals[2]
    assert "--cert-file" in refusals[3]
