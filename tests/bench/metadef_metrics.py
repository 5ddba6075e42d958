"""What is measured of metadata definitions, and the namespaces it is measured on: many, with many properties each."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.bench.client import Job
from tests.bench.loading import Row
from tests.bench.metrics import SERVICES, Figures, run_client
from tests.bench.servers import WORKERS, Server
from tests.bench.targets import Target, at_least

NAMESPACES, PROPERTIES, OBJECTS, TAGS = 1000, 50, 4, 3
RESOURCE_TYPES = (
    "OS::Glance::Image",
    "OS::Nova::Flavor",
    "OS::Cinder::Volume",
    "OS::Nova::Aggregate",
    "OS::Nova::Server",
)
OBJECT_PROPERTIES = 5
ASSOCIATIONS = 2
PATH = "/v2/metadefs/namespaces"
ONE = f"{PATH}/{{name}}"
LIST_FACTOR = 10
_FIRST_CREATED = datetime(2026, 1, 1)  # noqa: DTZ001 - the columns hold UTC without a zone
_STAMP = ("created_at", "updated_at")

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "metadef_resource_types": ("id", "name", "protected", *_STAMP),
    "metadef_namespaces": (
        "id",
        "namespace",
        "display_name",
        "description",
        "visibility",
        "protected",
        "owner",
        *_STAMP,
    ),
    "metadef_namespace_resource_types": ("resource_type_id", "namespace_id", "properties_target", "prefix", *_STAMP),
    "metadef_properties": ("id", "namespace_id", "name", "json_schema", *_STAMP),
    "metadef_objects": ("id", "namespace_id", "name", "description", "required", "json_schema", *_STAMP),
    "metadef_tags": ("id", "namespace_id", "name", *_STAMP),
}


@dataclass(frozen=True, slots=True)
class MetadefMetric:
    """Requests of one kind by an administrator. `{name}` in the path is a namespace in the middle of the list."""

    name: str
    label: str
    path: str
    kind: str = "path"
    target: float | None = None  # how many times less CPU than upstream's
    subjects: tuple[str, ...] = SERVICES
    units: dict[str, str] = field(default_factory=lambda: {"wall": "ms", "cpu": "CPU-s/1,000"})


METRICS: tuple[MetadefMetric, ...] = (
    MetadefMetric("list", "list 25 of 1,000 namespaces", f"{PATH}?limit=25", target=LIST_FACTOR),
    MetadefMetric("list-all", "list all 1,000 namespaces", f"{PATH}?limit=1000", target=LIST_FACTOR),
    MetadefMetric(
        "list-type",
        "list 25, of a resource type",
        f"{PATH}?limit=25&resource_types=OS::Nova::Flavor",
        target=LIST_FACTOR,
    ),
    MetadefMetric("list-name", "list 25, sorted by name", f"{PATH}?limit=25&sort_key=namespace", target=LIST_FACTOR),
    MetadefMetric("walk", "paging by 200, per page", f"{PATH}?limit=200", kind="walk", target=LIST_FACTOR),
    MetadefMetric("get", "GET one namespace, 50 properties in it", ONE),
    MetadefMetric("get-type", "GET one as for a resource type", f"{ONE}?resource_type=OS::Nova::Flavor"),
    MetadefMetric("properties", "list the properties of one", f"{ONE}/properties"),
    MetadefMetric("objects", "list the objects of one", f"{ONE}/objects"),
    MetadefMetric("resource-types", "list the resource types", "/v2/metadefs/resource_types"),
)
TARGETS: tuple[Target, ...] = tuple(
    at_least(f"{metric.label}: at least {metric.target:g} times less CPU", metric.name, "cpu", metric.target)
    for metric in METRICS
    if metric.target is not None
)


def measure(metric: MetadefMetric, server: Server, limit_s: float) -> Figures:
    """Milliseconds per request, and CPU seconds per 1,000 of them: of the service, and of a database server it has."""
    job: Job = {
        "job": "requests",
        "port": server.port,
        "kind": metric.kind,
        "path": metric.path.format(name=name_of(NAMESPACES // 2)),
        "warm_up": WORKERS,
        "count": 5000,
        "limit_s": limit_s,
    }
    os.sync()  # what earlier work left to be written must not slow down this one
    run_client({**job, "count": 0})  # each worker has seen the statement
    before = server.cpu_s()
    outcome = run_client({**job, "warm_up": 0})
    amount = outcome["amount"] / 1000
    return {"wall": outcome["wall_s"] / amount, "cpu": (server.cpu_s() - before) / amount}


def name_of(number: int) -> str:
    """The name of a namespace; the larger the number, the newer."""
    return f"OS::Bench::Namespace{number:04}"


def rows(namespaces: int = NAMESPACES, properties: int = PROPERTIES) -> Iterator[tuple[str, Sequence[Row]]]:
    """Everything in the tables, the same every time."""
    first = _stamp(0)
    yield "metadef_resource_types", [(number + 1, name, 1, *first) for number, name in enumerate(RESOURCE_TYPES)]
    for number in range(namespaces):
        namespace_id, stamp = number + 1, _stamp(number)
        description = f"What the drivers of service {number} take from their images and flavors, and what it means"
        public = "public" if number % 4 else "private"
        owner = f"{number % 40:032x}"
        yield (
            "metadef_namespaces",
            [(namespace_id, name_of(number), f"Namespace {number}", description, public, number % 2, owner, *stamp)],
        )
        yield (
            "metadef_namespace_resource_types",
            [
                ((number + step) % len(RESOURCE_TYPES) + 1, namespace_id, None, f"hw{step}_", *stamp)
                for step in range(ASSOCIATIONS)
            ],
        )
        yield (
            "metadef_properties",
            [
                (number * properties + each + 1, namespace_id, f"property_{each:02}", _definition(each), *stamp)
                for each in range(properties)
            ],
        )
        in_object = ", ".join(f'"size_{each}": {_definition(each)}' for each in range(OBJECT_PROPERTIES))
        yield (
            "metadef_objects",
            [
                (
                    number * OBJECTS + each + 1,
                    namespace_id,
                    f"Object {each}",
                    "An object",
                    None,
                    f"{{{in_object}}}",
                    *stamp,
                )
                for each in range(OBJECTS)
            ],
        )
        yield (
            "metadef_tags",
            [(number * TAGS + each + 1, namespace_id, f"tag-{each}", *stamp) for each in range(TAGS)],
        )


def _stamp(number: int) -> tuple[str, str]:
    at = (_FIRST_CREATED + timedelta(minutes=number)).isoformat(" ")
    return at, at


def _definition(number: int) -> str:
    """A property as the catalogs of deployments have them."""
    common = {
        "title": f"Property {number}",
        "description": f"Whether and how the device of kind {number} is given to the guest, and what happens if not",
    }
    kinds: Sequence[Mapping[str, object]] = (
        {"type": "string", "enum": ["virtio", "scsi", "ide", "usb", "none"], "default": "virtio"},
        {"type": "integer", "minimum": 0, "maximum": 64, "default": "1"},
        {"type": "boolean", "default": "true", "readonly": False},
        {"type": "array", "items": {"type": "string", "enum": ["a", "b", "c"]}, "operators": ["<in>", "<all-in>"]},
        {"type": "string", "pattern": "[a-z]+", "maxLength": 40},
    )
    return json.dumps({**common, **kinds[number % len(kinds)]})
