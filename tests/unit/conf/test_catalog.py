"""The table of options: whole, without contradictions, and fit for other tools."""

import pytest

from blick.conf import listing
from blick.conf.catalog import GROUPS
from blick.conf.options import stores
from blick.conf.options.option import Option
from blick.conf.oslo_options import oslo_option
from blick.conf.retired import RETIRED
from blick.conf.sample import sample, written
from tests.unit.conf.files import Config

EVERY = [(group, option) for group, options in listing.groups() for option in options]


def test_no_name_stands_twice_in_a_group() -> None:
    places = [(group, option.name) for group, option in EVERY]
    assert len(places) == len(set(places))


def test_no_option_is_retired_or_an_old_name_at_the_same_time() -> None:
    places = {(group, option.name) for group, option in EVERY}
    assert not places & set(RETIRED)
    olds = [old for group, options in GROUPS.items() for option in options for old in option.old_places(group)]
    assert len(olds) == len(set(olds))
    assert not set(olds) & set(RETIRED)


@pytest.mark.parametrize(("group", "option"), EVERY, ids=lambda value: getattr(value, "name", value))
def test_defaults_are_values_of_their_own_kind(group: str, option: Option) -> None:
    made = oslo_option(option, group=group)
    assert option.meaning
    assert "password" not in option.name or option.secret
    if option.default is None or option.kind == "multi-str":
        return
    text = written(option, option.default)
    if option.kind in ("dict", "list"):
        text = text or ""
    read = made.type(text)
    assert (tuple(read) if isinstance(read, list) else read) == option.default


def test_size_of_the_table() -> None:
    assert sum(map(len, GROUPS.values())) > 400
    assert set(stores.DRIVERS) >= {"sheepdog", "gridfs", "file", "http", "rbd", "s3", "swift", "cinder", "vmware"}


def test_listing_offers_every_group_once() -> None:
    groups = [group for group, _ in listing.list_options()]
    assert len(groups) == len(set(groups))
    assert {"DEFAULT", "database", "glance_store", "backend_defaults", "os_glance_tasks_store"} <= set(groups)
    for some in (listing.list_manage_options(), listing.list_cache_options(), listing.list_scrubber_options()):
        assert {group for group, _ in some} < set(groups)


def test_sample_can_be_loaded_as_it_is(config: Config) -> None:
    assert config.load(sample()).findings == ()


def test_sample_can_be_loaded_with_everything_in_it(config: Config) -> None:
    lines = [line.removeprefix("#") for line in sample().splitlines() if not line.startswith("# ")]
    wanted = [line for line in lines if "<unset>" not in line]
    examined = config.examine("\n".join(wanted))
    assert examined.errors == ()
    assert {finding.kind for finding in examined.findings} <= {"ignored", "deprecated"}
    assert examined.settings == config.load("").settings
