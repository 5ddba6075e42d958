"""Unknown, retired, ignored and not yet built options: each is told once, and none stops a start."""

import pytest

from blick.conf.catalog import GROUPS
from blick.conf.retired import RETIRED, RETIRED_GROUPS
from tests.unit.conf.files import Config


def test_unknown_option_once(config: Config) -> None:
    assert config.warnings("[DEFAULT]\nwumm = 1\nwumm = 2\n") == [
        f"DEFAULT.wumm: is not an option that Blick knows. ({config.path}:3)"
    ]


def test_unknown_group_once_for_all_its_lines(config: Config) -> None:
    assert config.warnings("[Wumm]\na = 1\nb = 2\n") == [f"[wumm]: is not a group that Blick knows. ({config.path}:1)"]


def test_hyphens_are_explained(config: Config) -> None:
    assert "Names are written with _." in config.warnings("[DEFAULT]\nbind-port = 1\n")[0]


def test_groups_are_read_whatever_their_case(config: Config) -> None:
    loaded = config.load("[Glance_Store]\nfilesystem_store_datadir = /x\n[CORS]\nmax_age = 5\n")
    assert loaded.settings.cors.max_age_s == 5
    assert loaded.settings.stores.stores[0].options["filesystem_store_datadir"] == "/x"
    assert loaded.findings == ()


@pytest.mark.parametrize(("group", "name"), sorted(RETIRED))
def test_retired_options_never_stop_a_start(config: Config, group: str, name: str) -> None:
    value = "true" if name in ("owner_is_tenant", "enforce_scope") else "false"
    findings = config.load(f"[{group}]\n{name} = {value}\n").findings
    told = RETIRED[group, name].action == "warn"
    assert [(finding.kind, finding.group, finding.name) for finding in findings] == [("retired", group, name)] * told


@pytest.mark.parametrize("group", sorted(RETIRED_GROUPS))
def test_retired_groups_are_silent(config: Config, group: str) -> None:
    assert config.load(f"[{group}]\nanything = 1\n").findings == ()


def test_images_owned_by_users_are_refused(config: Config) -> None:
    assert "DEFAULT.owner_is_tenant: was removed in Wallaby" in config.refusal("[DEFAULT]\nowner_is_tenant = no\n")


def test_scope_is_enforced_whatever_the_file_says(config: Config) -> None:
    assert "oslo_policy.enforce_scope" in config.warnings("[oslo_policy]\nenforce_scope = False\n")[0]


def test_retired_value(config: Config) -> None:
    [warning] = config.warnings("[task]\ntask_executor = eventlet\n")
    assert warning.startswith("task.task_executor: eventlet was removed in 33.0.0")


def test_old_place_of_policy_options(config: Config) -> None:
    loaded = config.load("[DEFAULT]\npolicy_file = /p.yaml\npolicy_dirs = /d\n")
    assert str(loaded.settings.policy.policy_file) == "/p.yaml"
    assert [str(folder) for folder in loaded.settings.policy.policy_dirs] == ["/d"]
    assert [finding.kind for finding in loaded.findings] == ["deprecated", "deprecated"]


@pytest.mark.parametrize(
    ("group", "name"),
    [(group, option.name) for group, options in GROUPS.items() for option in options if option.keep == "no"],
)
def test_options_without_effect_get_one_warning(config: Config, group: str, name: str) -> None:
    [finding] = config.load(f"[{group}]\n{name} = 1\n").findings
    assert (finding.level, finding.kind, finding.group, finding.name) == ("warning", "ignored", group, name)


def test_features_to_come_are_told_without_a_warning(config: Config) -> None:
    text = "[DEFAULT]\nimage_cache_max_size = 10\nimage_cache_dir = /c\nimage_cache_stall_time = 86400\n"
    findings = config.load(text).findings
    assert {(finding.level, finding.kind, finding.name) for finding in findings} == {
        ("info", "not-yet", "image_cache_max_size"),
        ("info", "not-yet", "image_cache_dir"),
    }


def test_driver_options_beside_enabled_backends_have_no_effect(config: Config) -> None:
    text = (
        "[DEFAULT]\nenabled_backends = one:file\n[glance_store]\ndefault_backend = one\nfilesystem_store_datadir = /x\n"
        "default_store = file\n"
    )
    warnings = config.warnings(text)
    assert [warning.split(":")[0] for warning in warnings] == [
        "glance_store.filesystem_store_datadir",
        "glance_store.default_store",
    ]


def test_groups_of_multi_store_mode_without_it(config: Config) -> None:
    text = "[backend_defaults]\nweight = 1\n[os_glance_tasks_store]\nfilesystem_store_datadir = /x\n"
    assert [warning.split(" (")[0] for warning in config.warnings(text)] == [
        "[backend_defaults]: has no effect without enabled_backends.",
        "[os_glance_tasks_store]: has no effect without enabled_backends.",
    ]


def test_an_unknown_import_method_is_named(config: Config) -> None:
    [warning] = config.warnings("[DEFAULT]\nenabled_import_methods = [web-download,carrier-pigeon]\n")
    assert warning.startswith("DEFAULT.enabled_import_methods: 'carrier-pigeon' is not an import method")
    assert config.warnings("[DEFAULT]\nenabled_import_methods = [glance-download,copy-image]\n") == []
