"""Values: where they come from, what they become, what is refused."""

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blick.conf.load import Loaded, examine, load, standalone
from blick.model.errors import StartRefused
from tests.unit.conf.files import DATABASE, Config

OLD_DEPLOYMENT = Path(__file__).parent / "data" / "glance-api.conf"


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return load([OLD_DEPLOYMENT], (), {})


class TestOldDeployment:
    def test_listener(self, loaded: Loaded) -> None:
        server = loaded.settings.server
        assert (server.bind_host, server.bind_port, server.workers) == ("192.0.2.10", 9292, 4)
        assert server.client_socket_timeout_s == 900

    def test_values_have_types_and_units(self, loaded: Loaded) -> None:
        quotas = loaded.settings.quotas
        assert quotas.user_storage_quota_bytes == 2 << 40
        assert quotas.image_property_quota == -1
        assert loaded.settings.api.limit_param_default == 50
        assert loaded.settings.database.connection.startswith("mysql+pymysql://glance:db-secret@")
        assert loaded.settings.policy.policy_file == Path("/etc/glance/policy.yaml")
        assert loaded.settings.cors.allowed_origin == ("https://dashboard.example.com", "https://other.example.com")
        assert loaded.settings.log.log_dir == Path("/var/log/glance")

    def test_stores(self, loaded: Loaded) -> None:
        stores = loaded.settings.stores
        assert [(store.id, store.type, store.weight) for store in stores.stores] == [
            ("ceph", "rbd", 10), ("local", "file", 0), ("web", "http", 0),
        ]  # fmt: skip
        assert stores.multi_store
        assert stores.default_store == "ceph"
        assert stores.stores[0].options["rbd_store_user"] == "glance"
        assert stores.stores[0].description == "Replicated pool"
        assert stores.stores[1].options["filesystem_store_file_perm"] == 640

    def test_identity(self, loaded: Loaded) -> None:
        identity = loaded.settings.identity
        assert identity.kind == "keystone"
        assert identity.keystone_authtoken["password"] == "pa$word"
        assert identity.keystone_authtoken["memcached_servers"] == ("192.0.2.10:11211", "192.0.2.11:11211")

    def test_one_warning_for_each_line_that_needs_one(self, loaded: Loaded) -> None:
        warned = [(finding.group, finding.name) for finding in loaded.findings if finding.level == "warning"]
        assert len(warned) == len(set(warned))
        assert set(warned) >= {
            ("DEFAULT", "registry_host"), ("DEFAULT", "lock_path"), ("DEFAULT", "rpc_response_timeout"),
            ("oslo_middleware", "max_request_body_size"), ("oslo_policy", "enforce_scope"), ("site_notes", ""),
            ("glance_store", "rbd_store_pool"), ("glance_store", "stores"), ("glance_store", "sheepdog_store_port"),
        }  # fmt: skip
        silent = {"verbose", "enable_v1_api", "owner_is_tenant", "idle_timeout", "scrubber_datadir"}
        assert not silent & {name for _, name in warned}

    def test_no_secret_in_any_finding(self, loaded: Loaded) -> None:
        assert not [finding for finding in loaded.findings if "secret@" in str(finding) or "pa$" in str(finding)]

    def test_settings_travel_to_worker_processes(self, loaded: Loaded) -> None:
        assert pickle.loads(pickle.dumps(loaded.settings)) == loaded.settings


class TestOrigin:
    def test_environment_wins_over_files(self, config: Config) -> None:
        loaded = config.load("[DEFAULT]\nbind_port = 1\n", {"OS_DEFAULT__BIND_PORT": "2"})
        assert loaded.settings.server.bind_port == 2

    def test_overrides_win_over_the_environment(self, config: Config) -> None:
        loaded = config.load("[DEFAULT]\nbind_port = 1\n", {"OS_DEFAULT__BIND_PORT": "2"}, bind_port=3)
        assert loaded.settings.server.bind_port == 3

    def test_override_of_another_group(self, config: Config) -> None:
        loaded = config.load("", **{"database.max_pool_size": 9, "blick.insecure": True})
        assert loaded.settings.database.max_pool_size == 9
        assert loaded.settings.server.insecure

    def test_unknown_override_is_refused(self, config: Config) -> None:
        with pytest.raises(StartRefused, match=r"DEFAULT\.nonsense"):
            config.load("", nonsense=3)

    def test_environment_reaches_a_store(self, config: Config) -> None:
        loaded = config.load(
            "[DEFAULT]\nenabled_backends = one:file\n[glance_store]\ndefault_backend = one\n",
            {"OS_ONE__FILESYSTEM_STORE_DATADIR": "/elsewhere"},
        )
        assert loaded.settings.stores.stores[0].options["filesystem_store_datadir"] == "/elsewhere"

    def test_unknown_variable_is_told(self, config: Config) -> None:
        findings = config.load("", {"OS_DATABASE__CONECTION": "x", "OS_AUTH_URL": "y"}).findings
        assert [(finding.group, finding.name, finding.place) for finding in findings] == [
            ("database", "conection", "OS_DATABASE__CONECTION")
        ]

    def test_later_files_and_folders_win(self, config: Config, tmp_path: Path) -> None:
        first = config.write("[DEFAULT]\nbind_port = 1\nbacklog = 1\nworkers = 1\n")
        second = tmp_path / "second.conf"
        second.write_text("[DEFAULT]\nbacklog = 2\nworkers = 2\n")
        folder = tmp_path / "conf.d"
        folder.mkdir()
        (folder / "20.conf").write_text("[DEFAULT]\nworkers = 4\n")
        (folder / "10.conf").write_text("[DEFAULT]\nworkers = 3\n")
        (folder / "30.txt").write_text("[DEFAULT]\nworkers = 5\n")
        server = load([first, second], [folder], {}).settings.server
        assert (server.bind_port, server.backlog, server.workers) == (1, 2, 4)

    def test_old_name_in_a_later_file_wins(self, config: Config, tmp_path: Path) -> None:
        first = config.write("[DEFAULT]\nlog_file = new\n")
        second = tmp_path / "second.conf"
        second.write_text("[DEFAULT]\nlogfile = old\n")
        assert load([first, second], (), {}).settings.log.log_file == Path("old")
        assert load([second, first], (), {}).settings.log.log_file == Path("new")

    def test_repeated_lines_of_all_files_count(self, config: Config, tmp_path: Path) -> None:
        first = config.write("[oslo_policy]\npolicy_dirs = /a\npolicy_dirs = /b\n")
        second = tmp_path / "second.conf"
        second.write_text("[oslo_policy]\npolicy_dirs = /c\n")
        assert load([first, second], (), {}).settings.policy.policy_dirs == (Path("/a"), Path("/b"), Path("/c"))

    def test_place_of_every_set_option(self, config: Config) -> None:
        examined = config.examine("[DEFAULT]\nbind_port = 1\n", {"OS_DEFAULT__WORKERS": "3"})
        places = {known.option.name: known.place for known in examined.options}
        assert places["bind_port"] == f"{config.path}:2"
        assert places["workers"] == "OS_DEFAULT__WORKERS"

    def test_files_named_by_options_are_found_beside_the_configuration(self, config: Config) -> None:
        (config.folder / "policy.yaml").write_text("{}")
        (config.folder / "schema-image.json").write_text("{}")
        settings = config.load("").settings
        assert settings.policy.policy_file == config.folder / "policy.yaml"
        assert settings.api.schema_image_file == config.folder / "schema-image.json"

    def test_policies_that_are_not_there_yet_are_awaited_beside_the_configuration(self, config: Config) -> None:
        """Somebody may write them while the service runs."""
        settings = config.load("").settings
        assert settings.policy.policy_file == config.folder / "policy.yaml"
        assert settings.policy.policy_dirs == (config.folder / "policy.d",)
        parts = config.folder / "glance-api.conf.d"
        parts.mkdir()
        (parts / "10.conf").write_text("[oslo_policy]\npolicy_file = rules.yaml\npolicy_dirs = /etc/rules.d\n")
        settings = load([config.path], [parts], {}).settings
        assert settings.policy.policy_file == config.folder / "rules.yaml"
        assert settings.policy.policy_dirs == (Path("/etc/rules.d"),)


class TestValues:
    def test_substitution(self, config: Config) -> None:
        text = "[DEFAULT]\nbind_port = 80\npublic_endpoint = http://$bind_host:$bind_port/${blick.token_ttl}\n"
        assert config.load(text).settings.api.public_endpoint == "http://0.0.0.0:80/3600"

    def test_substitution_of_what_is_not_there(self, config: Config) -> None:
        refusal = config.refusal("[keystone_authtoken]\npassword = top$hidden\n")
        assert "keystone_authtoken.password: refers with $" in refusal
        assert "hidden" not in refusal

    def test_substitution_of_itself(self, config: Config) -> None:
        assert "public_endpoint: refers with $ to itself" in config.refusal(
            "[DEFAULT]\npublic_endpoint = a$public_endpoint\n"
        )

    @pytest.mark.parametrize(
        ("text", "size_bytes"),
        [("0", 0), ("10", 10), ("10B", 10), ("1KB", 1024), ("3 MB", 3 << 20), ("2gb", 2 << 30), ("1.5TB", 3 << 39)],
    )
    def test_storage_quota(self, config: Config, text: str, size_bytes: int) -> None:
        loaded = config.load(f"[DEFAULT]\nuser_storage_quota = {text}\n")
        assert loaded.settings.quotas.user_storage_quota_bytes == size_bytes

    @pytest.mark.parametrize("text", ["5XB", "GB", "-1", "1,5GB"])
    def test_storage_quota_refused(self, config: Config, text: str) -> None:
        assert "DEFAULT.user_storage_quota" in config.refusal(f"[DEFAULT]\nuser_storage_quota = {text}\n")

    @pytest.mark.parametrize(
        ("group", "line", "reason"),
        [
            ("DEFAULT", "bind_port = 70000", "65535"),
            ("DEFAULT", "bind_port = http", "needs a whole number"),
            ("DEFAULT", "bind_host = not a host", "valid host address"),
            ("DEFAULT", "limit_param_default = 0", "greater than or equal to 1"),
            ("DEFAULT", "show_image_direct_url = maybe", "boolean"),
            ("DEFAULT", "property_protection_rule_format = people", "roles, policies"),
            ("DEFAULT", "enabled_import_methods = web-download", '"["'),
            ("DEFAULT", "enabled_backends = file", "NAME:VALUE"),
            ("DEFAULT", "image_size_cap =", "no value"),
            ("DEFAULT", "hashing_algorithm = md42", "hashlib"),
            ("DEFAULT", "hashing_algorithm = shake_128", "hashlib"),
            ("DEFAULT", "metadata_encryption_key = thirteen byte", "has 13 bytes; AES needs 16, 24 or 32"),
            ("DEFAULT", "default_log_levels = urllib3", "urllib3=WARN"),
            ("DEFAULT", "cert_file = /a", "together with cert_file"),
            ("import_filtering_opts", "allowed_ports = [80,eighty]", "whole number"),
            ("import_filtering_opts", "allowed_hosts = example.com", '"["'),
            ("database", "max_pool_size = many", "needs a whole number"),
            ("barbican", "auth_endpoint = nowhere", "auth_endpoint"),
            ("vault", "kv_version = 3", "Valid values"),
        ],
    )
    def test_wrong_value_names_option_reason_and_file(self, config: Config, group: str, line: str, reason: str) -> None:
        refusal = config.refusal(f"[{group}]\n{line}\n")
        name = "key_file" if line.startswith("cert_file") else line.split(" =")[0]
        assert f"{group}.{name}: " in refusal
        assert reason in refusal
        assert "cert_file" in line or str(config.path) in refusal

    def test_wrong_value_of_the_environment_names_the_variable(self, config: Config) -> None:
        assert "(OS_DEFAULT__BACKLOG)" in config.refusal("", {"OS_DEFAULT__BACKLOG": "long"})

    def test_every_wrong_value_is_told_at_once(self, config: Config) -> None:
        refusal = config.refusal("[DEFAULT]\nbind_port = x\nbacklog = y\n")
        assert refusal.count("\n") == 1

    def test_wrong_value_of_an_option_without_effect_does_not_matter(self, config: Config) -> None:
        assert len(config.warnings("[DEFAULT]\nrpc_response_timeout = long\n")) == 1

    def test_database_is_needed(self, config: Config) -> None:
        with pytest.raises(StartRefused, match=r"database\.connection"):
            load([config.write("[DEFAULT]\n", database="")], (), {})

    def test_connection_parameters_are_appended(self, config: Config) -> None:
        config.write("", database="[database]\nconnection = mysql://h/d?a=1\nconnection_parameters = b=2\n")
        assert load([config.path], (), {}).settings.database.connection == "mysql://h/d?a=1&b=2"

    @pytest.mark.parametrize(("line", "workers"), [("workers = 0", 1), ("workers = 3", 3)])
    def test_workers(self, config: Config, line: str, workers: int) -> None:
        assert config.load(f"[DEFAULT]\n{line}\n").settings.server.workers == workers

    def test_workers_unset_follow_the_machine(self, config: Config) -> None:
        assert 1 <= config.load("").settings.server.workers <= 8

    @pytest.mark.parametrize("text", ["[a,b]", "[ a , b ]", "[\"a\",'b']"])
    def test_bounded_list(self, config: Config, text: str) -> None:
        loaded = config.load(f"[DEFAULT]\nenabled_import_methods = {text}\n")
        assert loaded.settings.api.enabled_import_methods == ("a", "b")

    def test_empty_bounded_list(self, config: Config) -> None:
        assert config.load("[DEFAULT]\nenabled_import_methods = []\n").settings.api.enabled_import_methods == ()


_WORD = st.text("abcdefghijklmnopqrstuvwxyz0123456789-._", min_size=1, max_size=12)
_PADDING = st.sampled_from(["", " ", "  "])


@given(st.lists(_WORD, min_size=1, max_size=6), _PADDING)
def test_lists_come_back_as_written(tmp_path_factory: pytest.TempPathFactory, words: list[str], padding: str) -> None:
    path = tmp_path_factory.mktemp("lists") / "a.conf"
    path.write_text(f"[image_format]\ndisk_formats = {(padding + ',' + padding).join(words)}\n{DATABASE}")
    assert load([path], (), {}).settings.image_format.disk_formats == tuple(words)


@given(st.dictionaries(_WORD.filter(lambda word: word[0].isalpha()), _WORD, min_size=1, max_size=5), _PADDING)
def test_dictionaries_come_back_as_written(
    tmp_path_factory: pytest.TempPathFactory, pairs: dict[str, str], padding: str
) -> None:
    path = tmp_path_factory.mktemp("pairs") / "a.conf"
    text = ",".join(f"{padding}{key}{padding}:{padding}{value}" for key, value in pairs.items())
    path.write_text(f"[inject_metadata_properties]\ninject = {text}\n{DATABASE}")
    [inject] = [known for known in examine([path], (), {}).options if known.option.name == "inject"]
    assert inject.value == pairs


class TestFiles:
    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(StartRefused, match=r"absent\.conf: no such"):
            load([tmp_path / "absent.conf"], (), {})

    def test_missing_folder(self, tmp_path: Path) -> None:
        with pytest.raises(StartRefused, match="no such configuration folder"):
            load([], [tmp_path / "absent.d"], {})

    @pytest.mark.parametrize(
        "text",
        ["[DEFAULT]\npassword hunter2\n", "password = hunter2\n", "[DEFAULT\nhunter2 = 1\n", "[DEFAULT]\n = hunter2\n"],
    )
    def test_broken_line_is_named_by_number_and_not_shown(self, config: Config, text: str) -> None:
        refusal = config.refusal(text)
        assert f"{config.path}:" in refusal
        assert "hunter2" not in refusal

    def test_binary_file(self, config: Config) -> None:
        config.path.write_bytes(b"\x80\xff\x00")
        with pytest.raises(StartRefused, match="not a text file"):
            load([config.path], (), {})


class TestStandalone:
    def test_everything_lies_in_the_data_folder(self, tmp_path: Path) -> None:
        settings = standalone(tmp_path, "127.0.0.1", 9393, 2)
        assert settings.database.connection == f"sqlite:///{tmp_path}/blick.sqlite3"
        assert settings.stores.stores[0].options == {"filesystem_store_datadir": str(tmp_path / "images")}
        assert (settings.stores.default_store, settings.stores.multi_store) == ("file", False)
        assert settings.identity.kind == "standalone"
        assert (settings.server.bind_host, settings.server.bind_port, settings.server.workers) == ("127.0.0.1", 9393, 2)
        assert not list(tmp_path.iterdir())

    def test_relative_folder_becomes_absolute(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert standalone(Path("data")).imports.staging_dir == tmp_path / "data" / "staging"

    def test_loopback_unless_told_otherwise(self, tmp_path: Path) -> None:
        assert (standalone(tmp_path).server.bind_host, standalone(tmp_path).server.bind_port) == ("127.0.0.1", 9292)

    def test_question_mark_in_the_path_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(StartRefused, match="question mark"):
            standalone(tmp_path / "what?")
