"""A running server gives the answers that its OpenAPI document promises: schemathesis makes the requests."""

import subprocess
from pathlib import Path

import pytest

from tests.process.conftest import ServerFactory
from tests.support.images_api import ImagesApi
from tests.support.parts import VENV_BIN
from tests.support.server import BlickServer

# The same requests in every run.
_SEED = 33
_MOST_EXAMPLES = 15
"""For each operation, besides those that the document's limits give."""

_CONFIGURATION = f"""
seed = {_SEED}
color = false

[generation]
max-examples = {_MOST_EXAMPLES}
deterministic = true
no-shrink = true

[phases.examples]
enabled = false

[phases.coverage]
# Which methods a path has is a test of its own: some answers to others are customary, and not 405.
unexpected-methods = []

[checks]
unsupported_method.enabled = false
# The document cannot say which parameters exclude each other, nor what the state of an image forbids.
positive_data_acceptance.enabled = false
# A request of another version of tus, or of none, is 412 by that protocol.
missing_required_header.expected-statuses = [400, 401, 403, 406, 412, 415, 422]
negative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 406, 409, 412, 415, 422, 428, 429, "5xx"]
"""


def run_schemathesis(server: BlickServer, folder: Path, token: str | None) -> str:
    """What it reports; AssertionError with the report where an answer is not as the document says."""
    (folder / "schemathesis.toml").write_text(_CONFIGURATION)
    headers = [] if token is None else ["--header", f"X-Auth-Token: {token}"]
    root = Path(__file__).parents[2]
    said = subprocess.run(
        [
            *(VENV_BIN / "schemathesis", "--config-file", folder / "schemathesis.toml"),
            *("run", f"{server.url}/openapi.json", "--continue-on-failure", *headers),
        ],
        env=server.environment | {"SCHEMATHESIS_HOOKS": "tests.support.schemathesis_hooks", "PYTHONPATH": str(root)},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert said.returncode == 0, said.stdout
    return said.stdout


@pytest.mark.parametrize("cloud", ["blick", "blick-admin"])
def test_answers_are_as_the_document_says(make_server: ServerFactory, tmp_path: Path, cloud: str) -> None:
    server = make_server().start()
    with ImagesApi(server.url, server.clouds()[cloud]["auth"]) as api:
        report = run_schemathesis(server, tmp_path, api.token)
    assert "✅ Stateful" in report, report
    log = server.log_text()
    assert "Traceback" not in log
    assert " ERROR " not in log
