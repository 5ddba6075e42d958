"""Metadata definitions by the real clients: `glance md-…`, `openstack image metadef …`, and openstacksdk.

Each test has namespaces of its own. A call takes a second or more, so each test is one story.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from blick.ops.metadefs.files import SHIPPED
from tests.support.clients import ClientFailedError, Clients
from tests.support.site import Site, sdk_connection

pytestmark = [
    pytest.mark.needs("clients"),
    # The library's own affairs, as are those of what it imports.
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning"),
]

WHOLE: dict[str, Any] = {
    "namespace": "Whole",
    "display_name": "A namespace with one of everything",
    "visibility": "public",
    "resource_type_associations": [{"name": "OS::Glance::Image", "prefix": "hw_"}, {"name": "OS::Nova::Flavor"}],
    "properties": {
        "disk": {"title": "Disk bus", "type": "string", "enum": ["virtio", "scsi"], "default": "virtio"},
        "count": {"title": "Count", "type": "integer", "minimum": 1, "maximum": 8, "operators": ["s=="]},
        "list": {
            "title": "List",
            "type": "array",
            "items": {"type": "string", "enum": ["a", "b"]},
            "uniqueItems": True,
        },
    },
    "objects": [
        {
            "name": "Disk",
            "description": "What a disk has",
            "required": ["size"],
            "properties": {"size": {"title": "Size", "type": "integer"}},
        }
    ],
    "tags": [{"name": "one"}, {"name": "two"}],
}


def names(rows: list[tuple[str, ...]]) -> set[str]:
    return {row[0] for row in rows}


def test_new_service_shows_its_catalog(demo: Clients, demo_by_openrc: Clients) -> None:
    catalog = {json.loads(file.read_text())["namespace"]: file for file in SHIPPED.glob("*.json")}
    assert len(catalog) > 40
    assert names(demo_by_openrc.glance_list("md-namespace-list")) >= set(catalog)
    listed = demo.openstack_json("image", "metadef", "namespace", "list", "--resource-types", "OS::Nova::Flavor")
    assert {"OS::Compute::CPUPinningFlavor", "OS::Compute::Quota"} <= {each["namespace"] for each in listed}

    shown = demo_by_openrc.glance_record("md-namespace-show", "OS::Compute::Watchdog", "--resource-type",
                                         "OS::Nova::Flavor")  # fmt: skip
    assert (shown["visibility"], shown["protected"]) == ("public", "True")
    assert json.loads(shown["properties"]) == ["hw:watchdog_action"]
    with pytest.raises(ClientFailedError, match="403"):
        demo_by_openrc.glance("md-namespace-delete", "OS::Compute::Watchdog")


def test_glance_makes_changes_and_deletes_a_namespace(admin_by_openrc: Clients, demo_by_openrc: Clients) -> None:
    glance = admin_by_openrc
    made = glance.glance_record(
        "md-namespace-create", "Life", "--display-name", "Life", "--description", "Of a namespace",
        "--protected", "True", "--visibility", "public",
    )  # fmt: skip
    assert (made["namespace"], made["visibility"], made["protected"]) == ("Life", "public", "True")
    assert made["owner"] == glance.glance_record("md-namespace-show", "Life")["owner"]
    with pytest.raises(ClientFailedError, match="409"):
        glance.glance("md-namespace-create", "Life")

    assert "Life" in names(demo_by_openrc.glance_list("md-namespace-list"))
    with pytest.raises(ClientFailedError, match="403"):
        demo_by_openrc.glance("md-namespace-update", "Life", "--display-name", "Mine")
    with pytest.raises(ClientFailedError, match="403"):
        glance.glance("md-namespace-delete", "Life")

    changed = glance.glance_record(
        "md-namespace-update", "Life", "--namespace", "New life", "--protected", "False", "--visibility", "private"
    )
    assert (changed["namespace"], changed["protected"], changed["visibility"]) == ("New life", "False", "private")
    assert changed["description"] == "Of a namespace"
    assert "New life" not in names(demo_by_openrc.glance_list("md-namespace-list"))
    assert "New life" in names(glance.glance_list("md-namespace-list", "--visibility", "private"))

    glance.glance("md-namespace-delete", "New life")
    with pytest.raises(ClientFailedError, match="404"):
        glance.glance("md-namespace-show", "New life")


def test_glance_imports_a_namespace_from_a_file(admin_by_openrc: Clients, tmp_path: Path) -> None:
    glance = admin_by_openrc
    file = tmp_path / "whole.json"
    file.write_text(json.dumps(WHOLE))
    made = glance.glance_record("md-namespace-import", "--file", file)
    assert made["namespace"] == "Whole"
    shown = glance.glance_record("md-namespace-show", "Whole", "--max-column-width", "200")
    assert sorted(json.loads(shown["properties"])) == ["count", "disk", "list"]
    assert json.loads(shown["objects"]) == ["Disk"]
    assert sorted(json.loads(shown["tags"])) == ["one", "two"]
    as_image = glance.glance_record("md-namespace-show", "Whole", "--resource-type", "OS::Glance::Image")
    assert sorted(json.loads(as_image["properties"])) == ["hw_count", "hw_disk", "hw_list"]

    assert names(glance.glance_list("md-namespace-resource-type-list", "Whole")) == {
        "OS::Glance::Image", "OS::Nova::Flavor",
    }  # fmt: skip
    assert names(glance.glance_list("md-resource-type-list")) >= {"OS::Glance::Image", "OS::Nova::Flavor"}
    assert names(glance.glance_list("md-namespace-list", "--resource-types", "OS::Nova::Flavor")) >= {"Whole"}
    assert glance.glance_list("md-namespace-list", "--resource-types", "Nobody::Has::This") == []

    for what in ("properties", "objects", "tags"):
        glance.glance(f"md-namespace-{what}-delete", "Whole")
    emptied = glance.glance_record("md-namespace-show", "Whole")
    assert not {"properties", "objects", "tags"} & set(emptied)
    glance.glance("md-namespace-delete", "Whole")


def test_glance_follows_the_pages_of_a_list(admin_by_openrc: Clients) -> None:
    glance = admin_by_openrc
    made = {f"Page {number}" for number in range(3)}
    for name in sorted(made):
        glance.glance("md-namespace-create", name)
    listed = [row[0] for row in glance.glance_list("md-namespace-list", "--page-size", "2")]
    assert made <= set(listed)
    assert len(set(listed)) == len(listed)
    for name in made:
        glance.glance("md-namespace-delete", name)


def test_glance_works_on_properties(admin_by_openrc: Clients) -> None:
    glance = admin_by_openrc
    glance.glance("md-namespace-create", "Properties")
    schema = {"enum": ["q35", "pc"], "default": "q35", "description": "Kind of machine"}
    made = glance.glance_record(
        "md-property-create", "Properties", "--name", "machine", "--title", "Machine", "--type", "string",
        "--schema", json.dumps(schema),
    )  # fmt: skip
    assert (made["name"], made["type"], made["default"]) == ("machine", "string", "q35")
    for schema_of_wrong_kind in ('{"enum": "q35"}', '{"nonsense": 1}'):
        with pytest.raises(ClientFailedError, match=r"is not of type 'array'|'nonsense' was unexpected"):
            glance.glance(
                "md-property-create", "Properties", "--name", "wrong", "--title", "Wrong", "--type", "string",
                "--schema", schema_of_wrong_kind,
            )  # fmt: skip

    glance.glance("md-property-update", "Properties", "machine", "--name", "machine_type", "--title", "Machine type")
    shown = glance.glance_record("md-property-show", "Properties", "machine_type", "--max-column-width", "200")
    assert (shown["title"], shown["description"]) == ("Machine type", "Kind of machine")
    assert json.loads(shown["enum"]) == ["q35", "pc"]
    assert glance.glance_list("md-property-list", "Properties") == [("machine_type", "Machine type", "string")]

    glance.glance("md-property-delete", "Properties", "machine_type")
    with pytest.raises(ClientFailedError, match="404"):
        glance.glance("md-property-show", "Properties", "machine_type")
    glance.glance("md-namespace-delete", "Properties")


def test_glance_works_on_objects(admin_by_openrc: Clients) -> None:
    glance = admin_by_openrc
    glance.glance("md-namespace-create", "Objects")
    schema = {
        "description": "What a disk has",
        "required": ["size"],
        "properties": {"size": {"title": "Size", "type": "integer", "minimum": 1}},
    }
    glance.glance_record("md-object-create", "Objects", "--name", "Disk", "--schema", json.dumps(schema))
    shown = glance.glance_record("md-object-show", "Objects", "Disk")
    assert json.loads(shown["properties"]) == ["size"]
    assert json.loads(shown["required"]) == ["size"]
    of_object = glance.glance_record("md-object-property-show", "Objects", "Disk", "size")
    assert (of_object["type"], of_object["minimum"]) == ("integer", "1")

    glance.glance("md-object-update", "Objects", "Disk", "--name", "Drive", "--schema", '{"description": "Renamed"}')
    assert glance.glance_list("md-object-list", "Objects") == [("Drive", "Renamed")]
    assert json.loads(glance.glance_record("md-object-show", "Objects", "Drive")["properties"]) == ["size"]

    glance.glance("md-object-delete", "Objects", "Drive")
    assert glance.glance_list("md-object-list", "Objects") == []
    glance.glance("md-namespace-delete", "Objects")


def test_glance_works_on_tags(admin_by_openrc: Clients) -> None:
    glance = admin_by_openrc
    glance.glance("md-namespace-create", "Tags")
    assert glance.glance_record("md-tag-create", "Tags", "--name", "first")["name"] == "first"
    with pytest.raises(ClientFailedError, match="409"):
        glance.glance("md-tag-create", "Tags", "--name", "first")
    with pytest.raises(ClientFailedError, match="quote_from_bytes"):  # its own fault: a header that is no text
        glance.glance("md-tag-create-multiple", "Tags", "--names", "second", "--append")
    assert names(glance.glance_list("md-tag-create-multiple", "Tags", "--names", "a;b", "--delim", ";")) == {"a", "b"}
    assert names(glance.glance_list("md-tag-list", "Tags")) == {"a", "b"}

    glance.glance("md-tag-update", "Tags", "a", "--name", "c")
    assert glance.glance_record("md-tag-show", "Tags", "c")["name"] == "c"
    glance.glance("md-tag-delete", "Tags", "c")
    assert names(glance.glance_list("md-tag-list", "Tags")) == {"b"}
    glance.glance("md-namespace-delete", "Tags")


def test_glance_associates_resource_types(admin_by_openrc: Clients) -> None:
    glance = admin_by_openrc
    glance.glance("md-namespace-create", "Associated")
    made = glance.glance_record(
        "md-resource-type-associate", "Associated", "--name", "Own::Type", "--prefix", "own:",
        "--properties-target", "image",
    )  # fmt: skip
    assert (made["name"], made["prefix"], made["properties_target"]) == ("Own::Type", "own:", "image")
    assert glance.glance_list("md-namespace-resource-type-list", "Associated") == [("Own::Type", "own:", "image")]
    assert "Own::Type" in names(glance.glance_list("md-resource-type-list"))

    glance.glance("md-resource-type-deassociate", "Associated", "Own::Type")
    assert glance.glance_list("md-namespace-resource-type-list", "Associated") == []
    with pytest.raises(ClientFailedError, match="404"):
        glance.glance("md-resource-type-deassociate", "Associated", "Own::Type")
    glance.glance("md-namespace-delete", "Associated")


def test_openstack_works_on_a_namespace(admin: Clients, demo: Clients) -> None:
    made = admin.openstack_json(
        "image", "metadef", "namespace", "create", "Openstack", "--display-name", "By openstack", "--public",
        "--protected",
    )  # fmt: skip
    assert (made["namespace"], made["visibility"], made["protected"]) == ("Openstack", "public", True)
    listed = demo.openstack_json("image", "metadef", "namespace", "list", "--visibility", "public")
    assert {"namespace": "Openstack"} in listed
    with pytest.raises(ClientFailedError, match="failed to delete"):
        admin.openstack("image", "metadef", "namespace", "delete", "Openstack")

    admin.openstack("image", "metadef", "namespace", "set", "Openstack", "--unprotected", "--description", "Changed",
                    "--tag", "one", "--tag", "two")  # fmt: skip
    shown = admin.openstack_json("image", "metadef", "namespace", "show", "Openstack")
    assert (shown["protected"], shown["description"]) == (False, "Changed")
    assert sorted(tag["name"] for tag in shown["tags"]) == ["one", "two"]
    admin.openstack("image", "metadef", "namespace", "unset", "Openstack", "--tag", "one")
    admin.openstack("image", "metadef", "namespace", "unset", "Openstack", "--all-tags")

    admin.openstack("image", "metadef", "namespace", "delete", "Openstack")
    with pytest.raises(ClientFailedError, match=r"404|No MetadefNamespace"):
        admin.openstack("image", "metadef", "namespace", "show", "Openstack")


def test_openstack_works_on_properties_and_objects(admin: Clients) -> None:
    metadef = ("image", "metadef")
    admin.openstack(*metadef, "namespace", "create", "Contents")
    made = admin.openstack_json(
        *metadef, "property", "create", "Contents", "--name", "bus", "--title", "Bus", "--type", "string",
        "--schema", '{"enum": ["virtio", "scsi"]}',
    )  # fmt: skip
    assert (made["name"], made["enum"]) == ("bus", ["virtio", "scsi"])
    assert admin.openstack_json(*metadef, "property", "list", "Contents") == [
        {"name": "bus", "title": "Bus", "type": "string"}
    ]
    assert admin.openstack_json(*metadef, "property", "show", "Contents", "bus")["title"] == "Bus"
    admin.openstack(*metadef, "property", "delete", "Contents", "bus")

    assert admin.openstack_json(*metadef, "object", "create", "--namespace", "Contents", "Disk")["name"] == "Disk"
    admin.openstack(*metadef, "object", "update", "Contents", "Disk", "--name", "Drive")
    assert admin.openstack_json(*metadef, "object", "show", "Contents", "Drive")["name"] == "Drive"
    assert [each["name"] for each in admin.openstack_json(*metadef, "object", "list", "Contents")] == ["Drive"]
    admin.openstack(*metadef, "object", "delete", "Contents", "Drive")
    admin.openstack(*metadef, "object", "delete", "Contents")
    admin.openstack(*metadef, "property", "delete", "Contents")
    admin.openstack(*metadef, "namespace", "delete", "Contents")


def test_openstack_associates_resource_types(admin: Clients) -> None:
    association = ("image", "metadef", "resource", "type", "association")
    admin.openstack("image", "metadef", "namespace", "create", "Typed", "--protected")
    made = admin.openstack_json(*association, "create", "Typed", "Own::Volume", "--properties-target", "image")
    assert (made["name"], made["properties_target"]) == ("Own::Volume", "image")
    assert admin.openstack_json(*association, "list", "Typed") == [{"Name": "Own::Volume"}]
    assert {"Name": "Own::Volume"} in admin.openstack_json("image", "metadef", "resource", "type", "list")

    with pytest.raises(ClientFailedError, match="failed to delete"):
        admin.openstack(*association, "delete", "Typed", "Own::Volume")
    admin.openstack(*association, "delete", "--force", "Typed", "Own::Volume")
    assert admin.openstack_json(*association, "list", "Typed") == []
    admin.openstack("image", "metadef", "namespace", "set", "Typed", "--unprotected")
    admin.openstack("image", "metadef", "namespace", "delete", "Typed")


@pytest.fixture
def images(site: Site, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The library's image service for an administrator."""
    with sdk_connection(site, "admin", monkeypatch) as connection:
        yield connection.image


def test_sdk_works_on_metadata_definitions(images: Any) -> None:
    from openstack.exceptions import ForbiddenException, NotFoundException

    images.create_metadef_namespace(**{**WHOLE, "namespace": "Sdk", "protected": True})
    namespace = images.get_metadef_namespace("Sdk")
    assert (namespace.is_protected, namespace.visibility) == (True, "public")
    assert {each.name for each in images.metadef_resource_type_associations("Sdk")} == {
        "OS::Glance::Image", "OS::Nova::Flavor",
    }  # fmt: skip
    with pytest.raises(ForbiddenException):
        images.delete_metadef_namespace("Sdk", ignore_missing=False)
    images.update_metadef_namespace("Sdk", is_protected=False, visibility="public")
    assert "Sdk" in {each.namespace for each in images.metadef_namespaces(limit=2)}

    namespace.set_tags(images, ["one", "two"])
    namespace.set_tags(images, ["three"], append=True)
    assert {each["name"] for each in images.get_metadef_namespace("Sdk").tags} == {"one", "two", "three"}

    for name, definition in WHOLE["properties"].items():  # the library leaves them out of a namespace's body
        images.create_metadef_property("Sdk", name=name, **definition)
    assert {each.name for each in images.metadef_properties("Sdk")} == {"count", "disk", "list"}
    count = images.get_metadef_property("count", "Sdk")
    assert (count.minimum, count.maximum, count.operators) == (1, 8, ["s=="])
    images.create_metadef_property("Sdk", name="new", type="boolean", title="New", default="true")
    images.update_metadef_property("new", "Sdk", name="newer", type="boolean", title="Newer")
    assert images.get_metadef_property("newer", "Sdk").title == "Newer"
    images.delete_metadef_property("newer", "Sdk", ignore_missing=False)
    images.delete_all_metadef_properties("Sdk")
    assert list(images.metadef_properties("Sdk")) == []

    images.create_metadef_object("Sdk", **WHOLE["objects"][0])
    disk = images.get_metadef_object("Disk", "Sdk")
    assert (disk.required, set(disk.properties)) == (["size"], {"size"})
    images.update_metadef_object("Disk", "Sdk", name="Disk", description="Other")
    assert images.get_metadef_object("Disk", "Sdk").description == "Other"
    images.delete_all_metadef_objects("Sdk")
    assert list(images.metadef_objects("Sdk")) == []

    for what in ("namespace", "namespaces", "object", "objects", "property", "properties", "tag", "tags"):
        assert getattr(images, f"get_metadef_{what}_schema")().name == what
    for what in ("resource_type", "resource_types"):
        assert getattr(images, f"get_metadef_{what}_schema")().name == what.replace("type", "type_association")
    images.delete_metadef_namespace("Sdk", ignore_missing=False)
    with pytest.raises(NotFoundException):
        images.get_metadef_namespace("Sdk")
