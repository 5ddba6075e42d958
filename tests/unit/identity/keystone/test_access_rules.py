"""Which requests a restricted application credential is good for."""

from typing import Any

import pytest

from blick.identity.keystone.access_rules import allows
from blick.identity.keystone.token import Token, read_token
from tests.unit.identity.keystone.answers import answer


def restricted(*rules: tuple[str, str], service: str = "image", **changes: Any) -> Token:
    listed = [{"id": "1", "service": service, "method": method, "path": path} for method, path in rules]
    return read_token(answer(application_credential={"id": "c", "access_rules": listed}, **changes))


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("/v2/images", "/v2/images", True),
        ("/v2/images", "/v2/images/", False),
        ("/v2/images", "/v2/images/1", False),
        ("/v2/images", "/x/v2/images", False),
        ("/v2/images/*", "/v2/images/1", True),
        ("/v2/images/*", "/v2/images/", False),
        ("/v2/images/*", "/v2/images/1/file", False),
        ("/v2/images/*/file", "/v2/images/1/file", True),
        ("/v2/images/{image_id}", "/v2/images/1", True),
        ("/v2/images/{image_id}", "/v2/images/1/file", False),
        ("/v2/images/{image_id}/members/{member}", "/v2/images/1/members/2", True),
        ("/v2/**", "/v2/images/1/file", True),
        ("/v2/**", "/v3/images", False),
        ("**", "/anything", True),
        ("/v2/images/**/file", "/v2/images/1/file", True),
        ("/v2/images/ab*", "/v2/images/abc", True),
        ("/v2/image.", "/v2/images", False),
        ("/v2/[a-z]+", "/v2/images", False),
        ("/v2/images/*", "/v2/images/a\nb", True),
        ("/v2/images", "/v2/images\n", False),
    ],
)
def test_paths(pattern: str, path: str, matches: bool) -> None:
    assert allows(restricted(("GET", pattern)), "image", "GET", path) is matches


def test_method_and_service_count_too() -> None:
    token = restricted(("GET", "/v2/images"), ("POST", "/v2/images"))
    assert allows(token, "image", "POST", "/v2/images")
    assert not allows(token, "image", "DELETE", "/v2/images")
    assert not allows(token, "image", "get", "/v2/images")
    assert not allows(restricted(("GET", "/v2/images"), service="compute"), "image", "GET", "/v2/images")


def test_no_rule_allows_nothing_and_no_restriction_everything() -> None:
    assert not allows(restricted(), "image", "GET", "/v2/images")
    assert allows(read_token(answer()), None, "DELETE", "/v2/images/1")


def test_without_a_type_of_our_own_nothing_is_allowed() -> None:
    assert not allows(restricted(("GET", "/v2/images")), None, "GET", "/v2/images")
    assert not allows(restricted(("GET", "/v2/images"), catalog=[]), "image", "GET", "/v2/images")
    assert allows(restricted(("GET", "/v2/images"), catalog=None), "image", "GET", "/v2/images")
