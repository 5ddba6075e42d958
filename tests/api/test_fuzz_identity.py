"""Whatever is sent to the embedded identity: an answer in Keystone's form, never a fault of ours.

The requests are generated, the same ones in every run.
"""

import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.identity import Cloud, FilledDatabase, fill_database, running_cloud

generated = settings(
    max_examples=60,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)

texts = st.one_of(
    st.sampled_from(["", "admin", "demo", "default", "password", "token", "\x00", "\ud800", "😀"]), st.text()
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)


def maybe(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """An object with some of these members, or something else."""
    return st.one_of(st.fixed_dictionaries({}, optional=members), values)


domains = maybe(id=texts, name=texts)
users = maybe(id=texts, name=texts, domain=domains, password=texts)
methods = st.one_of(st.lists(st.sampled_from(["password", "token", "application_credential", "x"]), max_size=3), values)
identities = maybe(
    methods=methods,
    password=maybe(user=users),
    token=maybe(id=texts),
    application_credential=maybe(id=texts, name=texts, secret=texts, user=users),
)
scopes = maybe(project=maybe(id=texts, name=texts, domain=domains), domain=domains, system=maybe(all=st.booleans()))
bodies = st.one_of(maybe(auth=maybe(identity=identities, scope=scopes)).map(json.dumps).map(str.encode), st.binary())


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> FilledDatabase:
    return fill_database(tmp_path_factory.mktemp("identity") / "blick.sqlite3")


@pytest.fixture
async def cloud(tmp_path: Path, filled: FilledDatabase) -> AsyncIterator[Cloud]:
    async with running_cloud(tmp_path / "blick.sqlite3", filled) as made:
        yield made


def refused(answer: httpx.Response) -> bool:
    error = answer.json()["error"]
    return 400 <= answer.status_code < 500 and error["code"] == answer.status_code and bool(error["message"])


@generated
@given(bodies)
async def test_log_in(cloud: Cloud, caplog: pytest.LogCaptureFixture, body: bytes) -> None:
    answer = await cloud.client.post("/auth/tokens", content=body, headers={"content-type": "application/json"})
    assert refused(answer), answer.text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@generated
@given(st.binary(max_size=40).map(lambda raw: raw.translate(None, b"\r\n\0")), st.binary(max_size=40))
async def test_tokens(cloud: Cloud, caplog: pytest.LogCaptureFixture, token: bytes, subject: bytes) -> None:
    headers = [(b"x-auth-token", token), (b"x-subject-token", subject)]
    for method, path in (
        ("GET", "/auth/tokens"),
        ("DELETE", "/auth/tokens"),
        ("GET", "/users"),
        ("GET", "/projects"),
        ("GET", "/auth/catalog"),
    ):
        answer = await cloud.client.request(method, path, headers=headers)
        assert refused(answer), answer.text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
