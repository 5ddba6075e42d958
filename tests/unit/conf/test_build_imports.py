"""[import_filtering_opts] and the options of tasks."""

from ipaddress import ip_network
from pathlib import Path

from blick.conf.settings import FetchSettings
from blick.model.uri_filter import UriFilter
from tests.unit.conf.files import Config


def test_defaults(config: Config) -> None:
    settings = config.load("").settings
    assert settings.imports.uri_filter == UriFilter()
    assert (settings.imports.do_secure_hash, settings.imports.http_retries) == (True, 3)
    assert settings.imports.task_time_to_live_h == 48


def test_lists_reach_the_store_too(config: Config) -> None:
    lists = """
[import_filtering_opts]
allowed_schemes = [HTTP]
disallowed_hosts = [bad.example,192.0.2.1]
allowed_ports = [80, 8080]
"""
    settings = config.load(lists).settings
    wanted = UriFilter(
        allowed_schemes=("http",), disallowed_hosts=("bad.example", "192.0.2.1"), allowed_ports=(80, 8080)
    )
    assert settings.imports.uri_filter == wanted
    options = {store.id: store.options for store in settings.stores.stores}
    assert options["http"]["uri_filter"] == wanted
    backends = "[DEFAULT]\nenabled_backends = a:file,web:http\n[glance_store]\ndefault_backend = a\n"
    options = {store.id: store.options for store in config.load(backends + lists).settings.stores.stores}
    assert options["web"]["uri_filter"] == wanted
    assert "uri_filter" not in options["a"]


def test_wrong_lists_refuse_the_start(config: Config) -> None:
    for line in ("allowed_ports = [80,x]", "allowed_ports = [70000]", "allowed_schemes = http"):
        assert "import_filtering_opts" in config.refusal(f"[import_filtering_opts]\n{line}\n")


def test_fetching(config: Config) -> None:
    settings = config.load("").settings
    assert settings.fetch == FetchSettings()
    text = """
[blick]
fetch_networks = 10.0.0.0/8, fd00::/8
fetch_proxies = http:proxy:3128,https:http://user:s%40crit@proxy:3129
fetch_ca_file = /etc/ca.pem
fetch_insecure = true
fetch_retries = 0
"""
    settings = config.load(text).settings
    assert settings.imports.uri_filter.allowed_networks == (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    proxies = {"http": "proxy:3128", "https": "http://user:s%40crit@proxy:3129"}
    assert settings.fetch == FetchSettings(proxies, Path("/etc/ca.pem"), True, 0)
    assert "crit" not in repr(settings)


def test_wrong_ways_to_fetch_refuse_the_start(config: Config) -> None:
    for line in (
        "fetch_networks = here",
        "fetch_proxies = ftp:proxy:21",
        "fetch_proxies = http:proxy:port",
        "fetch_proxies = https:https://user:s3cr3t@proxy:3129",
        "fetch_retries = -1",
    ):
        text = config.refusal(f"[blick]\n{line}\n")
        assert line.partition(" ")[0] in text
        assert "s3cr3t" not in text


BACKENDS = """
[DEFAULT]
enabled_backends = a:file,web:http,volumes:cinder
[glance_store]
default_backend = a
"""


def test_staged_data_may_wait_in_a_store(config: Config) -> None:
    assert config.load(BACKENDS).settings.imports.staging_store is None
    assert config.load(f"{BACKENDS}[blick]\nstaging_store = a\n").settings.imports.staging_store == "a"


def test_not_every_store_is_for_staged_data(config: Config) -> None:
    for store, said in (("b", "enabled_backends"), ("web", "type http"), ("volumes", "type cinder")):
        refusal = config.refusal(f"{BACKENDS}[blick]\nstaging_store = {store}\n")
        assert "staging_store" in refusal
        assert said in refusal
    assert "staging_store" in config.refusal("[blick]\nstaging_store = file\n")


def test_staged_data_does_not_wait_in_accounts_of_users(config: Config) -> None:
    text = """
[DEFAULT]
enabled_backends = a:file,cloud:swift
[glance_store]
default_backend = a
[blick]
staging_store = cloud
[cloud]
swift_store_auth_address = https://identity.example.com/v3
swift_store_user = service:glance
swift_store_key = secret
"""
    assert config.load(text).settings.imports.staging_store == "cloud"
    refusal = config.refusal(f"{text}swift_store_multi_tenant = true\n")
    assert "cloud has swift_store_multi_tenant: data cannot wait in the accounts of users." in refusal
    assert refusal.count("\n") == 0
    assert config.load(f"{text}swift_store_multi_tenant = true\n".replace("= cloud\n", "= a\n")).settings


def test_plugins(config: Config) -> None:
    defaults = config.load("").settings.imports
    assert (defaults.plugins, defaults.convert_to, dict(defaults.inject)) == ((), "raw", {})
    assert defaults.inject_ignored_roles == {"admin"}
    assert defaults.python_interpreter is None
    imports = config.load("""
[image_import_opts]
image_import_plugins = [image_decompression, image_conversion]
[image_conversion]
output_format = qcow2
[inject_metadata_properties]
inject = os_type:linux,"quoted":'as it is',url:http://a:80/b
ignore_user_roles = Admin,SERVICE
[wsgi]
python_interpreter = /opt/python/bin/python3
[blick]
convert_memory = 2048
convert_cpu_time = 60
decompress_ratio = 20
""").settings.imports
    assert imports.plugins == ("image_decompression", "image_conversion")
    for text in ("no_op", "[no_op]", "['no_op']", '["no_op",]'):
        same = config.load(f"[image_import_opts]\nimage_import_plugins = {text}\n").settings.imports
        assert same.plugins == ("no_op",), text
    assert config.load("[image_import_opts]\nimage_import_plugins = []\n").settings.imports.plugins == ()
    assert imports.convert_to == "qcow2"
    assert imports.inject == {"os_type": "linux", '"quoted"': "'as it is'", "url": "http://a:80/b"}
    assert imports.inject_ignored_roles == {"admin", "service"}
    assert imports.python_interpreter == Path("/opt/python/bin/python3")
    assert (imports.convert_memory_mib, imports.convert_cpu_time_s, imports.decompress_ratio) == (2048, 60, 20)
