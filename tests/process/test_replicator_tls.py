"""glance-replicator over https, log-in included: whom it trusts, and what it says of those whom it does not."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.process.test_replicator import MODULE
from tests.process.test_tls import Certificate, make_certificate
from tests.support.command import run_program
from tests.support.images_api import ImagesApi
from tests.support.server import BlickServer

DATA = b"data of an image"
SIZE = f"Total size is {len(DATA)} bytes ({len(DATA)} bytes) across 1 images\n"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, certificate: Certificate) -> Iterator[BlickServer]:
    """With one active image of its user's."""
    folder = tmp_path_factory.mktemp("source")
    with BlickServer(folder, arguments=certificate.arguments, tls=certificate.trust) as server:
        (folder / "data").write_bytes(DATA)
        with api_of(server, certificate) as api:
            image_id = api.create(name="one", disk_format="raw", container_format="bare")["id"]
            assert api.upload(image_id, folder / "data").status_code == 204
        yield server


def api_of(server: BlickServer, certificate: Certificate) -> ImagesApi:
    return ImagesApi(server.url, server.clouds()["blick"]["auth"], verify=certificate.trust)


class Program:
    """One of the two names of the command, in a folder of its own."""

    def __init__(self, folder: Path, *words: str) -> None:
        self._folder = folder
        self._words = words

    def __call__(self, *arguments: object, environment: Mapping[str, str]) -> CompletedProcess[str]:
        done = run_program(self._folder, *self._words, *arguments, environment=environment)
        assert "Traceback" not in done.stderr, done.stderr
        assert "Warning" not in done.stderr, done.stderr
        return done


@pytest.fixture(params=["glance-replicator", "blick replicate"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Program:
    return Program(tmp_path, *((MODULE,) if request.param == "glance-replicator" else ("blick.cli.main", "replicate")))


def test_a_stranger_is_refused_in_one_line(run: Program, source: BlickServer) -> None:
    refused = run("size", source.url, environment=source.openrc())
    assert (refused.returncode, refused.stdout) == (1, "")
    log_in = f"{source.url}/identity/v3/auth/tokens"
    assert refused.stderr == f"ERROR: {log_in} is not trusted: self-signed certificate (see --ca-file).\n"
    service = run("size", "--token", "secret", source.url, environment={})
    assert service.returncode == 1
    assert service.stderr == f"ERROR: {source.url} is not trusted: self-signed certificate (see --ca-file).\n"


def test_who_is_to_be_trusted(run: Program, source: BlickServer, certificate: Certificate) -> None:
    login = source.openrc()
    for arguments, environment in (
        (("--ca-file", certificate.cert_file), {}),
        (("--insecure",), {}),
        ((), {"OS_CACERT": str(certificate.cert_file)}),
    ):
        done = run("size", *arguments, source.url, environment={**login, **environment})
        assert (done.returncode, done.stdout, done.stderr) == (0, SIZE, "")


def test_a_certificate_of_another_name(run: Program, source: BlickServer, certificate: Certificate) -> None:
    url = source.url.replace("127.0.0.1", "localhost")
    refused = run("size", "-t", "secret", "--ca-file", certificate.cert_file, url, environment={})
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"ERROR: {url} is not trusted: Hostname mismatch")
    assert refused.stderr.count("\n") == 1


def test_a_file_without_certificates(run: Program, source: BlickServer, certificate: Certificate) -> None:
    refused = run("size", "--ca-file", certificate.key_file, source.url, environment=source.openrc())
    assert refused.returncode == 1
    assert refused.stderr == f"ERROR: {certificate.key_file}: there is no certificate in it.\n"


def test_https_is_not_spoken_to_whom_is_named_without(run: Program, source: BlickServer) -> None:
    refused = run("size", "-t", "secret", f"127.0.0.1:{source.port}", environment={})
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"ERROR: http://127.0.0.1:{source.port} does not answer: Remote end closed")
    assert "(" not in refused.stderr


def test_from_side_to_side(run: Program, source: BlickServer, certificate: Certificate, tmp_path: Path) -> None:
    target = BlickServer(tmp_path / "target", arguments=certificate.arguments, tls=certificate.trust)
    with target:
        variables = {f"SOURCE_{name}": value for name, value in source.openrc().items()}
        variables |= {f"TARGET_{name}": value for name, value in target.openrc().items()}
        # Their projects are not the same.
        trusting = ("--ca-file", certificate.cert_file, "-D", "owner created_at updated_at")
        copied = run("livecopy", *trusting, source.url, target.url, environment=variables)
        assert copied.returncode == 0, copied.stderr
        with api_of(target, certificate) as api:
            [image] = api.http.get("/v2/images").json()["images"]
            assert api.http.get(f"/v2/images/{image['id']}/file").content == DATA
        same = run("compare", *trusting, "--exit-code", source.url, target.url, environment=variables)
        assert same.returncode == 0, same.stdout
        half = {name: value for name, value in variables.items() if not name.startswith("TARGET_")}
        assert run("compare", *trusting, source.url, target.url, environment=half).returncode == 1
