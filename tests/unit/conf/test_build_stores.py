"""enabled_backends and [glance_store]."""

from pathlib import Path

import pytest

from blick.conf.catalog import RESERVED_STORES, store_type
from blick.conf.settings import StoreSettings
from tests.unit.conf.files import Config

_TWO = "[DEFAULT]\nenabled_backends = one:file, two:file\n[glance_store]\ndefault_backend = two\n"


def _options(stores: tuple[StoreSettings, ...], name: str) -> list[object]:
    return [store.options[name] for store in stores]


def test_backend_defaults_fill_what_a_store_leaves_open(config: Config) -> None:
    stores = config.load(
        f"{_TWO}[backend_defaults]\nfilesystem_store_datadir = /shared\nweight = 3\n"
        "[one]\nfilesystem_store_datadir = /own\nweight = 0\nstore_description = First\n"
    ).settings.stores
    assert _options(stores.stores, "filesystem_store_datadir") == ["/own", "/shared"]
    assert [(store.weight, store.description) for store in stores.stores] == [(0, "First"), (3, None)]
    assert stores.default_store == "two"


def test_store_options_are_typed(config: Config) -> None:
    stores = config.load(f"{_TWO}[one]\nfilesystem_thin_provisioning = yes\nfilesystem_store_datadirs = /a:1\n"
                         "filesystem_store_datadirs = /b:2\n").settings.stores  # fmt: skip
    assert stores.stores[0].options["filesystem_thin_provisioning"] is True
    assert stores.stores[0].options["filesystem_store_datadirs"] == ("/a:1", "/b:2")
    assert stores.stores[0].options["filesystem_store_datadir"] is None


def test_one_folder_excludes_several(config: Config) -> None:
    text = f"{_TWO}[one]\nfilesystem_store_datadir = /a\nfilesystem_store_datadirs = /b:2\n"
    assert "one.filesystem_store_datadirs: excludes filesystem_store_datadir" in config.refusal(text)


def test_reserved_stores_come_along(config: Config) -> None:
    folders = "".join(f"[{name}]\nfilesystem_store_datadir = /{name}\n" for name in RESERVED_STORES)
    loaded = config.load(f"{_TWO}{folders}")
    assert [store.id for store in loaded.settings.stores.stores] == ["one", "two"]
    assert loaded.settings.imports.staging_dir == Path("/os_glance_staging_store")
    assert loaded.settings.imports.work_dir == Path("/os_glance_tasks_store")
    assert loaded.findings == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[DEFAULT]\nenabled_backends = os_glance_x:file\n[glance_store]\ndefault_backend = os_glance_x\n", "reserved"),
        ("[DEFAULT]\nenabled_backends = one:file\n", "glance_store.default_backend: is needed"),
        (
            "[DEFAULT]\nenabled_backends = one:file\n[glance_store]\ndefault_backend = two\n",
            "glance_store.default_backend: names no store",
        ),
        ("[DEFAULT]\nenabled_backends = one:file,one:rbd\n", "DEFAULT.enabled_backends: Duplicate key one"),
        (f"{_TWO}[one]\nfilesystem_store_chunk_size = 0\n", "one.filesystem_store_chunk_size"),
        (f"{_TWO}[backend_defaults]\nrbd_store_chunk_size = x\n", "backend_defaults.rbd_store_chunk_size"),
        ("[glance_store]\nstores = http\ndefault_store = file\n", "glance_store.default_store: names no driver"),
        ("[glance_store]\ndefault_store = tape\n", "glance_store.default_store: Valid values"),
    ],
)
def test_refused(config: Config, text: str, reason: str) -> None:
    assert reason in config.refusal(text)


def test_store_of_an_unknown_type_keeps_its_options(config: Config) -> None:
    text = "[DEFAULT]\nenabled_backends = t:tape\n[glance_store]\ndefault_backend = t\n[t]\ntape_drive = /dev/st0\n"
    loaded = config.load(text)
    [store] = loaded.settings.stores.stores
    assert (store.type, store.options) == ("tape", {"tape_drive": "/dev/st0"})
    assert [finding.name for finding in loaded.findings if finding.level == "warning"] == ["enabled_backends"]


def test_option_of_another_driver_is_unknown_in_a_store_group(config: Config) -> None:
    assert [
        "one.rbd_store_pool: is not an option" in text for text in config.warnings(f"{_TWO}[one]\nrbd_store_pool = x\n")
    ] == [True]


def test_single_store(config: Config) -> None:
    stores = config.load(
        "[glance_store]\nstores = glance.store.filesystem.Store, http\ndefault_store = filesystem\n"
        "filesystem_store_datadir = /images\nrbd_store_pool = unused\n"
    ).settings.stores
    assert not stores.multi_store
    assert [(store.id, store.type) for store in stores.stores] == [("file", "file"), ("http", "http")]
    assert stores.default_store == "file"
    assert stores.stores[0].options["filesystem_store_datadir"] == "/images"


def test_single_stores_of_long_ago(config: Config) -> None:
    loaded = config.load(
        "[glance_store]\nstores = glance.store.sheepdog.Store, glance.store.gridfs.Store\ndefault_store = sheepdog\n"
        "sheepdog_store_address = 192.0.2.1\nsheepdog_store_port = 7001\nmongodb_store_uri = mongodb://192.0.2.2/\n"
    )
    sheepdog, gridfs = loaded.settings.stores.stores
    assert sheepdog.options["sheepdog_store_address"] == "192.0.2.1"
    assert (sheepdog.options["sheepdog_store_port"], sheepdog.options["sheepdog_store_chunk_size"]) == (7001, 64)
    assert gridfs.options["mongodb_store_uri"] == "mongodb://192.0.2.2/"
    assert gridfs.options["mongodb_store_db"] == "mongodb"
    assert not [finding for finding in loaded.findings if "sheepdog_store" in finding.name or "mongo" in finding.name]


def test_single_store_defaults(config: Config) -> None:
    stores = config.load("").settings.stores
    assert [store.id for store in stores.stores] == ["file", "http"]
    assert stores.stores[0].options["filesystem_store_datadir"] == "/var/lib/glance/images"


def test_unused_driver_may_be_wrong(config: Config) -> None:
    assert config.load("[glance_store]\nrbd_store_chunk_size = x\n").findings == ()


def test_old_name_of_a_drivers_option(config: Config) -> None:
    text = "[DEFAULT]\nenabled_backends = c:cinder\n[glance_store]\ndefault_backend = c\n[c]\nos_region_name = North\n"
    loaded = config.load(text)
    assert loaded.settings.stores.stores[0].options["cinder_os_region_name"] == "North"
    assert [(finding.kind, finding.name) for finding in loaded.findings] == [("deprecated", "os_region_name")]


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("file", "file"), ("filesystem", "file"), ("glance.store.filesystem.Store", "file"), ("https", "http"),
        ("swift+config", "swift"), ("vsphere", "vmware"), ("glance.store.vmware_datastore.Store", "vmware"),
        ("glance.store.s3.Store", "s3"), ("something", "something"),
    ],
)  # fmt: skip
def test_store_type(name: str, type_: str) -> None:
    assert store_type(name) == type_
