"""[paste_deploy] flavor and what comes with it."""

import re
from pathlib import Path

import pytest

from tests.unit.conf.files import Config


@pytest.mark.parametrize(
    ("flavor", "kind"),
    [
        ("", "none"),
        ("none", "none"),
        ("caching", "none"),
        ("cachemanagement", "none"),
        ("keystone", "keystone"),
        ("keystone+caching", "keystone"),
        ("keystone+cachemanagement", "keystone"),
        ("trusted-headers+caching", "trusted-headers"),
        ("trusted-headers+cachemanagement", "trusted-headers"),
        ("cachemanagement + caching + keystone", "keystone"),
        ("caching+trusted-auth", "trusted-headers"),
        ("standalone+caching", "standalone"),
        ("none+cachemanagement", "none"),
        ("standalone", "standalone"),
    ],
)
def test_flavor(config: Config, flavor: str, kind: str) -> None:
    assert config.load(f"[paste_deploy]\nflavor = {flavor}\n").settings.identity.kind == kind


def test_no_flavor(config: Config) -> None:
    assert config.load("").settings.identity.kind == "none"


@pytest.mark.parametrize(
    ("flavor", "reason"), [("kerberos", "knows no kerberos"), ("keystone+trusted-auth", "more than one")]
)
def test_flavor_refused(config: Config, flavor: str, reason: str) -> None:
    refusal = config.refusal(f"[paste_deploy]\nflavor = {flavor}\n")
    assert refusal.startswith("paste_deploy.flavor: ")
    assert reason in refusal


def test_auth_section_lends_its_credentials(config: Config) -> None:
    identity = config.load(
        "[paste_deploy]\nflavor = keystone\n"
        "[keystone_authtoken]\nauth_section = shared\nauth_uri = https://id.example.com\n"
        "[shared]\nauth_type = v3password\nusername = glance\npassword = hidden\n"
    )
    values = identity.settings.identity.keystone_authtoken
    assert (values["auth_type"], values["username"], values["password"]) == ("v3password", "glance", "hidden")
    assert values["www_authenticate_uri"] == "https://id.example.com"
    assert [(finding.kind, finding.name) for finding in identity.findings] == [("deprecated", "auth_uri")]


def test_credentials_of_every_kind(config: Config) -> None:
    values = config.load(
        "[paste_deploy]\nflavor = keystone\n[keystone_authtoken]\nauth_section = shared\n"
        "[shared]\nauth_type = v3oidcclientcredentials\nclient_id = c\nclient_secret = s\ntenant_name = t\n"
    ).settings.identity.keystone_authtoken
    assert (values["client_id"], values["client_secret"], values["project_name"]) == ("c", "s", "t")


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("", "www_authenticate_uri"),
        ("memcache_sasl_enabled = true\nwww_authenticate_uri = u\n", "memcache_sasl_enabled"),
        ("auth_version = v2.0\nwww_authenticate_uri = u\n", "auth_version"),
    ],
)
def test_doubts(config: Config, line: str, name: str) -> None:
    loaded = config.load(f"[paste_deploy]\nflavor = keystone\n[keystone_authtoken]\n{line}")
    assert [(finding.kind, finding.name) for finding in loaded.findings] == [("doubtful", name)]


@pytest.mark.parametrize("part", ["caching", "cachemanagement"])
def test_the_image_cache_is_not_there_yet(config: Config, part: str) -> None:
    loaded = config.load(f"[paste_deploy]\nflavor = trusted-headers+{part}\n")
    assert [(finding.kind, finding.name) for finding in loaded.findings] == [("not-yet", "flavor")]


def test_paste_file_decides_where_it_is_known(config: Config) -> None:
    paste = config.folder / "glance-api-paste.ini"
    paste.write_text("[pipeline:glance-api-mine]\npipeline = cors healthcheck authtoken context cache rootapp\n")
    loaded = config.load(f"[paste_deploy]\nflavor = mine\nconfig_file = {paste}\n")
    assert loaded.settings.identity.kind == "keystone"
    assert ("not-yet", "flavor") in [(finding.kind, finding.name) for finding in loaded.findings]


@pytest.mark.parametrize(
    ("filters", "kind"),
    [
        ("cors healthcheck unauthenticated-context rootapp", "none"),
        ("cors healthcheck context rootapp", "trusted-headers"),
        ("cors authtoken context cachemanage rootapp", "keystone"),
    ],
)
def test_filters_of_a_paste_file(config: Config, filters: str, kind: str) -> None:
    (config.folder / "paste.ini").write_text(f"[pipeline:glance-api]\npipeline = {filters}\n")
    assert config.load("[paste_deploy]\nconfig_file = paste.ini\n").settings.identity.kind == kind


@pytest.mark.parametrize("content", [None, "no section", "[pipeline:another]\npipeline = authtoken\n"])
def test_paste_file_that_says_nothing_leaves_it_to_the_flavor(config: Config, content: str | None) -> None:
    if content is not None:
        (config.folder / "paste.ini").write_text(content)
    loaded = config.load("[paste_deploy]\nflavor = keystone\nconfig_file = paste.ini\n")
    assert loaded.settings.identity.kind == "keystone"


def test_trusted_proxies(config: Config) -> None:
    text = "[paste_deploy]\nflavor = trusted-headers\n[blick]\ntrusted_proxies = "
    proxies = config.load(f"{text}10.0.0.1, 10.1.2.3/16, fd00::1\n").settings.identity.trusted_proxies
    assert [str(proxy) for proxy in proxies] == ["10.0.0.1/32", "10.1.0.0/16", "fd00::1/128"]
    assert config.load(text).settings.identity.trusted_proxies == ()
    assert "proxy.example.com is neither" in config.refusal(f"{text}proxy.example.com\n")


def test_the_examples_of_the_manual(config: Config) -> None:
    manual = (Path(__file__).parents[3] / "docs" / "identity.md").read_text("utf-8")
    examples = [config.load(text) for text in re.findall(r"^```ini\n(.*?)^```", manual, re.DOTALL | re.MULTILINE)]
    assert [example.settings.identity.kind for example in examples] == ["keystone", "trusted-headers"]
    assert [finding for example in examples for finding in example.findings] == []
