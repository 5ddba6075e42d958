"""[oslo_limit]: how to ask Keystone for limits."""

from tests.unit.conf.files import Config

ON = "[DEFAULT]\nuse_keystone_limits = true\n"


def test_every_option_that_has_a_value(config: Config) -> None:
    text = (
        f"{ON}[oslo_limit]\nauth_url = http://k/v3\nauth_type = password\nuser_name = glance\npassword = s\n"
        "system_scope = all\nendpoint_id = e\ntimeout = 5\nvalid_interfaces = internal,public\nconnect_retries = 3\n"
    )
    quotas = config.load(text).settings.quotas
    assert quotas.use_keystone_limits
    assert dict(quotas.oslo_limit) == {
        "auth_url": "http://k/v3",
        "auth_type": "password",
        "username": "glance",
        "password": "s",
        "system_scope": "all",
        "endpoint_id": "e",
        "endpoint_interface": "public",
        "insecure": False,
        "timeout": 5.0,
        "valid_interfaces": ("internal", "public"),
        "connect_retries": 3,
    }
    assert "password" not in repr(quotas)


def test_nothing_while_it_is_off(config: Config) -> None:
    loaded = config.load("[oslo_limit]\nauth_url = http://k/v3\nendpoint_id = e\n")
    assert dict(loaded.settings.quotas.oslo_limit) == {}
    assert loaded.findings == ()


def test_credentials_of_another_group(config: Config) -> None:
    text = (
        f"{ON}[oslo_limit]\nauth_section = keystone_authtoken\nendpoint_service_type = image\nproject_name = own\n"
        "[keystone_authtoken]\nauth_type = password\nusername = glance\nproject_name = service\nmemcached_servers = m\n"
    )
    options = config.load(text).settings.quotas.oslo_limit
    assert (options["auth_type"], options["username"], options["project_name"]) == ("password", "glance", "service")
    assert options["endpoint_service_type"] == "image"
    assert not {"auth_section", "memcached_servers"} & options.keys()
    elsewhere = config.load(f"{ON}[oslo_limit]\nauth_section = own\n[own]\nauth_type = token\nusername = x\n")
    assert elsewhere.settings.quotas.oslo_limit["auth_type"] == "token"
    assert elsewhere.findings == ()


def test_quotas_are_no_features_to_come(config: Config) -> None:
    assert config.load("[DEFAULT]\nuser_storage_quota = 5GB\nuse_keystone_limits = true\n").findings == ()
