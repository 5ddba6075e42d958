"""From Keystone's answer to a caller."""

import pytest

from blick.identity.keystone.token import AccessRule, read_token
from tests.unit.identity.keystone.answers import EXPIRES_AT_S, answer


def test_a_token_of_a_project() -> None:
    token = read_token(answer())
    context = token.context
    assert token.expires_at_s == EXPIRES_AT_S
    assert (context.user_id, context.user_name) == ("u", "U")
    assert (context.user_domain_id, context.user_domain_name) == ("default", "Default")
    assert (context.project_id, context.project_name) == ("p", "P")
    assert (context.project_domain_id, context.project_domain_name) == ("default", "Default")
    assert context.roles == {"member", "reader"}
    assert (context.system_scope, context.domain_id, context.is_admin_project) == (None, None, True)
    assert (context.is_admin, context.auth_token, context.request_id) == (False, None, "")
    assert context.service_catalog is not None
    assert context.service_catalog.url("image") == "http://i"
    assert (token.access_rules, token.service_types) == (None, {"image"})


def test_other_scopes() -> None:
    system = read_token(answer(project=None, system={"all": True}))
    assert (system.context.system_scope, system.context.project_id) == ("all", None)
    domain = read_token(answer(project=None, domain={"id": "d", "name": "D"}))
    assert (domain.context.domain_id, domain.context.domain_name) == ("d", "D")
    nothing = read_token(answer(project=None, roles=None, catalog=None))
    assert (nothing.context.project_id, nothing.context.roles) == (None, frozenset())
    assert (nothing.context.service_catalog, nothing.service_types) == (None, None)
    assert not read_token(answer(is_admin_project=False)).context.is_admin_project


def test_access_rules() -> None:
    rules = [{"id": "1", "service": "image", "method": "GET", "path": "/v2/images"}]
    restricted = read_token(answer(application_credential={"id": "c", "access_rules": rules, "restricted": True}))
    assert restricted.access_rules == (AccessRule("image", "GET", "/v2/images"),)
    assert read_token(answer(application_credential={"id": "c", "access_rules": []})).access_rules == ()
    assert read_token(answer(application_credential={"id": "c", "restricted": True})).access_rules is None


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"token": {}}',
        answer(user=None),
        answer(expires_at=None),
        answer(expires_at="soon"),
        answer(catalog={"image": 1}),
        answer(roles=["admin"]),
    ],
)
def test_no_description(text: bytes) -> None:
    with pytest.raises(ValueError, match="no description"):
        read_token(text)
