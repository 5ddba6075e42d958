"""Options of the vmware store, and the URIs that it knows."""

from typing import Any

import pytest

from blick.model.errors import StartRefused
from blick.stores.vmware.options import Datastore, read_options

OPTIONS: dict[str, Any] = {
    "vmware_server_host": "vcenter.example.com",
    "vmware_server_username": "glance",
    "vmware_server_password": "s3cret",
    "vmware_datastores": ["DC one:fast:20", "folder/DC two:slow"],
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"vmware_server_host": None}, "vmware_server_host is not set"),
        ({"vmware_server_username": ""}, "vmware_server_username is not set"),
        ({"vmware_server_password": None}, "vmware_server_password is not set"),
        ({"vmware_datastores": None}, "vmware_datastores is not set"),
        ({"vmware_datastores": []}, "vmware_datastores is not set"),
        ({"vmware_server_host": "https://vcenter/"}, "vmware_server_host is not a host"),
        ({"vmware_datastores": ["fast"]}, "wants datacenter:datastore"),
        ({"vmware_datastores": [":fast"]}, "wants datacenter:datastore"),
        ({"vmware_datastores": ["DC:"]}, "wants datacenter:datastore"),
        ({"vmware_datastores": ["DC:fast:heavy"]}, "wants datacenter:datastore"),
        ({"vmware_datastores": ["DC:fast:-1"]}, "wants datacenter:datastore"),
        ({"vmware_datastores": ["DC:fast:1:2"]}, "wants datacenter:datastore"),
        ({"vmware_datastores": ["DC:fast", "/DC:fast:3"]}, "twice"),
        ({"vmware_store_image_dir": "/a/../b"}, "vmware_store_image_dir is not a folder"),
        ({"vmware_store_image_dir": "/"}, "vmware_store_image_dir is not a folder"),
    ],
)
def test_refused_options(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(StartRefused, match=said) as refused:
        read_options("vsphere", OPTIONS | changes)
    assert "Store vsphere" in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_options() -> None:
    options = read_options("vsphere", OPTIONS)
    assert options.weights == {Datastore("DC one", "fast"): 20, Datastore("folder/DC two", "slow"): 0}
    assert (options.folder, options.verify, options.address) == ("openstack_glance", True, ("vcenter.example.com", 443))
    assert "s3cret" not in repr(options)
    assert not read_options("vsphere", OPTIONS | {"vmware_insecure": True}).verify
    assert read_options("vsphere", OPTIONS | {"vmware_insecure": True, "vmware_ca_file": "/ca.pem"}).verify


@pytest.mark.parametrize(
    ("host", "address"),
    [("10.0.0.1:8443", ("10.0.0.1", 8443)), ("[fd00::1]", ("fd00::1", 443)), ("[fd00::1]:99", ("fd00::1", 99))],
)
def test_hosts(host: str, address: tuple[str, int]) -> None:
    assert read_options("vsphere", OPTIONS | {"vmware_server_host": host}).address == address


def test_uris_come_back_as_places() -> None:
    options = read_options("vsphere", OPTIONS)
    for datastore in options.weights:
        place = options.place(datastore, "some-image")
        uri = options.uri_of(place)
        assert options.place_of(uri) == place
        assert " " not in uri
    assert options.place(Datastore("DC one", "fast"), "x").path == "[fast] openstack_glance/x"


OLD = "vsphere://vcenter.example.com/folder/openstack_glance/x?dcPath=DC+one&dsName=fast"


@pytest.mark.parametrize(
    "uri",
    [
        OLD,
        OLD.replace("+", "%20"),
        OLD.replace("vcenter", "VCenter"),
        "vsphere://vcenter.example.com/folder/openstack_glance/x?dsName=fast&dcPath=/DC%20one",
    ],
)
def test_uris_as_others_write_them(uri: str) -> None:
    place = read_options("vsphere", OPTIONS).place_of(uri)
    assert place is not None
    assert place.datastore == Datastore("DC one", "fast")
    assert place.name == "x"


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "vsphere://",
        "vsphere://[",
        OLD.replace("vsphere", "https"),
        OLD.replace("vcenter", "other"),
        OLD.replace("vcenter.example.com", "user:secret@vcenter.example.com"),
        OLD.replace("openstack_glance", "vm"),
        OLD.replace("/x?", "/../vm/x?"),
        OLD.replace("/x?", "/..%2Fvm%2Fx?"),
        OLD.replace("/x?", "/?"),
        OLD.replace("/x?", "/x/y?"),
        OLD.partition("&")[0],
        OLD.replace("DC+one", ""),
    ],
)
def test_uris_of_others(uri: str) -> None:
    assert read_options("vsphere", OPTIONS).place_of(uri) is None
