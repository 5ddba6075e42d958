"""The shapes of what goes over the wire, by the names that the route table has for them (JSON Schema 2020-12).

What an image looks like is the deployment's own: it may declare properties. The rest is the same everywhere.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from blick.http.metadefs.shapes import SHAPES as METADEF_SHAPES
from blick.model import metadef_query, metadef_tag_query
from blick.model.image_patch import MEDIA_TYPES
from blick.model.job_query import STATUSES
from blick.model.metadef import VISIBILITIES
from blick.model.schema import MEMBER_STATUSES, ImageSchema, documents
from blick.model.task import LEGACY_IMPORT, STATUS, TYPES
from blick.model.task_query import TEXTS, TIMES

Shape = Mapping[str, Any]

OCTETS: Final = "application/octet-stream"
PIECE: Final = "application/offset+octet-stream"
_TEXT: Shape = {"type": "string"}
# Existing databases have no place for characters that take four bytes in UTF-8, and none for NUL.
_STORABLE: Shape = {"type": "string", "pattern": "^[\\u0001-\\ud7ff\\ue000-\\uffff]*$"}
_MOMENT: Shape = {"type": "string", "format": "date-time"}
_PATCHED: Final = "JSON Patch, as the field's own media types restrict it"


def component(name: str) -> Shape:
    """A reference to the shape of that name."""
    return {"$ref": f"#/components/schemas/{name}"}


def components(schema: ImageSchema) -> dict[str, Shape]:
    """Every shape of a JSON body, by name."""
    described = documents(schema)
    return {
        "error": _object(message=_TEXT, code=_TEXT, title=_TEXT),
        "image": _image(described["image"]["properties"]),
        "images": _page("images", "image"),
        "new_image": _new_image(described["image"]),
        "image_patch": {"type": "array", "description": _PATCHED, "items": _change()},
        "image_patch_2_0": {"type": "array", "description": _PATCHED, "items": {"type": "object"}},
        "member": _object(
            member_id=_TEXT,
            image_id=_TEXT,
            status={"enum": list(MEMBER_STATUSES)},
            created_at=_MOMENT,
            updated_at=_MOMENT,
            schema=_TEXT,
        ),
        "members": _object(members=_list("member"), schema=_TEXT),
        "new_member": _object(member={**_STORABLE, "minLength": 1, "maxLength": 255}),
        "member_status": _object(status={"enum": list(MEMBER_STATUSES)}),
        "new_location": {
            "type": "object",
            "properties": {"url": {**_STORABLE, "minLength": 1}, "validation_data": {"type": "object"}},
            "required": ["url"],
        },
        "location": _object(url=_TEXT, metadata={"type": "object"}),
        "locations": _list("location"),
        "image_task": _object(id=_TEXT, type=_TEXT, status=_TEXT, image_id={"type": ["string", "null"]}),
        "image_tasks": _object(tasks=_list("image_task")),
        "task": _task(described["task"]["properties"], ("input", "message", "result")),
        "task_line": _task(described["tasks"]["properties"]["tasks"]["items"]["properties"], ()),
        "tasks": _page("tasks", "task_line"),
        "new_task": _object(type={"enum": list(TYPES)}, input={"type": ["object", "null"]}),
        "job": _job(),
        "jobs": _object(jobs=_list("job"), first=_TEXT),
        "import": _object(method={"type": "object", "properties": {"name": _TEXT}, "required": ["name"]}),
        "import_methods": _object(**{"import-methods": {"type": "object"}}),
        "store": {"type": "object", "properties": {"id": _TEXT}, "required": ["id"]},
        "stores": _object(stores=_list("store")),
        "usage": _object(usage={"type": "object", "additionalProperties": component("one_usage")}),
        "one_usage": _object(usage={"type": "integer"}, limit={"type": "integer"}),
        **METADEF_SHAPES,
        "json_schema": _object(name=_TEXT, properties={"type": "object"}),
        "versions": _object(versions={"type": "array", "items": _object(id=_TEXT, status=_TEXT)}),
    }


def media_types(name: str) -> dict[str, Shape]:
    """The media types in which a body of that shape comes, each with its schema."""
    if name == "piece":
        return {PIECE: {"schema": {"type": "string", "format": "binary"}}}
    if name == "data":
        return {OCTETS: {"schema": {"type": "string", "format": "binary"}}}
    if name == "image_patch":
        of_version = {"2.1": "image_patch", "2.0": "image_patch_2_0"}
        return {kind: {"schema": component(of_version[version])} for kind, version in MEDIA_TYPES.items()}
    return {"application/json": {"schema": component(name)}}


def parameters(name: str) -> list[Shape]:
    """The query parameters that count, by the name of their set."""
    return [{"in": "query", "required": False, **each} for each in _PARAMETERS[name]]


def request_headers(name: str) -> list[Shape]:
    """The request headers that count, by the name of their set."""
    return [{"in": "header", "required": each["name"] in _REQUIRED_HEADERS, **each} for each in _HEADERS[name]]


def _object(**properties: Shape) -> dict[str, Any]:
    """An object that has all of these at least."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _list(name: str) -> Shape:
    return {"type": "array", "items": component(name)}


def _page(noun: str, item: str) -> Shape:
    page = _object(**{noun: _list(item)}, first=_TEXT, schema=_TEXT)
    return {**page, "properties": {**page["properties"], "next": _TEXT}}


# What every answer with an image has; which others there are depends on the options.
_ALWAYS_SHOWN = (
    "id", "name", "status", "visibility", "protected", "os_hidden", "checksum", "os_hash_algo", "os_hash_value",
    "owner", "size", "virtual_size", "container_format", "disk_format", "created_at", "updated_at", "tags", "min_ram",
    "min_disk", "self", "file", "schema",
)  # fmt: skip


def _image(properties: Mapping[str, Shape]) -> Shape:
    # An id is whatever the database of an adopted deployment has.
    shown = {**properties, "id": _TEXT}
    extra = {"type": ["string", "null"]}
    return {"type": "object", "properties": shown, "required": list(_ALWAYS_SHOWN), "additionalProperties": extra}


_ALWAYS_SHOWN_OF_TASKS = ("id", "type", "status", "owner", "created_at", "updated_at", "self", "schema")


def _task(properties: Mapping[str, Shape], more: Sequence[str]) -> Shape:
    # Owners and ids are whatever the identity service and the database of an adopted deployment have.
    shown = {**properties, "id": _TEXT, "image_id": _TEXT}
    return {"type": "object", "properties": shown, "required": [*_ALWAYS_SHOWN_OF_TASKS, *more]}


def _job() -> Shape:
    text_or_null = {"type": ["string", "null"]}
    return _object(
        id=_TEXT,
        kind=_TEXT,
        status={"enum": list(STATUSES)},
        image_id=text_or_null,
        project_id=_TEXT,
        method=text_or_null,
        source=text_or_null,
        stores={"type": ["array", "null"], "items": _TEXT},
        step=_TEXT,
        phase=_TEXT,
        bytes_done={"type": "integer"},
        bytes_total={"type": ["integer", "null"]},
        attempts={"type": "integer"},
        cancel_requested={"type": "boolean"},
        message=text_or_null,
        last_error=text_or_null,
        node=_TEXT,
        priority={"type": "integer"},
        created_at=_MOMENT,
        not_before=text_or_null,
        ended_at=text_or_null,
        self=_TEXT,
    )


def _new_image(described: Mapping[str, Any]) -> Shape:
    writable = {
        name: each
        for name, each in described["properties"].items()
        if not each.get("readOnly") and name not in ("locations", "direct_url")
    }
    required = {"required": list(described["required"])} if described.get("required") else {}
    return {"type": "object", "properties": writable, "additionalProperties": _STORABLE, **required}


def _change() -> Shape:
    return {
        "type": "object",
        "properties": {"op": {"enum": ["add", "replace", "remove"]}, "path": _TEXT, "value": {}},
        "required": ["op", "path"],
    }


def _parameter(name: str, description: str, schema: Shape = _TEXT, *, repeats: bool = False) -> Shape:
    if repeats:
        schema = {"type": "array", "items": schema}
    return {"name": name, "description": description, "schema": schema}


_DIRECTION: Shape = {"enum": ["asc", "desc"]}
_PARAMETERS: Mapping[str, tuple[Shape, ...]] = {
    "image_list": (
        _parameter("limit", "Images a page", {"type": "integer", "minimum": 0}),
        _parameter("marker", "The id of the image to go on after"),
        _parameter("sort", "key[:direction], with commas between"),
        _parameter("sort_key", "In the place of sort", repeats=True),
        _parameter("sort_dir", "One for all keys, or one for each", _DIRECTION, repeats=True),
        _parameter("visibility", "Who may see them", {"enum": ["public", "community", "shared", "private", "all"]}),
        _parameter("member_status", "Of images shared with the caller", {"enum": [*MEMBER_STATUSES, "all"]}),
        _parameter("os_hidden", "Hidden images, or the others", {"enum": ["true", "false"]}),
        _parameter("protected", "Protected images, or the others", {"enum": ["true", "false"]}),
        _parameter("tag", "All of these", repeats=True),
        *(
            _parameter(name, "A value, eq:value or in:value,value")
            for name in ("id", "name", "status", "disk_format", "container_format")
        ),
        *(
            _parameter(name, "A time, with gt:, gte:, lt:, lte:, eq: or neq: before it")
            for name in ("created_at", "updated_at")
        ),
        *(_parameter(name, "Exactly that") for name in ("owner", "checksum", "os_hash_algo", "os_hash_value")),
        *(
            _parameter(name, "A number")
            for name in ("size", "size_min", "size_max", "virtual_size", "min_disk", "min_ram")
        ),
    ),
    "task_list": (
        _parameter("limit", "Tasks a page", {"type": "integer", "minimum": 0}),
        _parameter("marker", "The id of the task to go on after"),
        _parameter("sort_key", "What to sort by", {"enum": sorted((*TEXTS, *TIMES))}),
        _parameter("sort_dir", "In which direction", _DIRECTION),
        _parameter("status", "Tasks that have come so far", {"enum": list(STATUS)}),
        _parameter("type", "Tasks of this type", {"enum": [LEGACY_IMPORT]}),
        *(_parameter(name, "Exactly that") for name in (*TEXTS, *TIMES) if name not in ("status", "type")),
    ),
    "job_list": (
        _parameter("limit", "Jobs a page", {"type": "integer", "minimum": 0}),
        _parameter("marker", "The id of the job to go on after"),
        _parameter("status", "Jobs that are so", {"enum": list(STATUSES)}),
        _parameter("image_id", "Jobs that work on this image"),
        _parameter("kind", "Jobs of this kind"),
    ),
    "metadef_namespace_list": (
        _parameter("limit", "Namespaces a page", {"type": "integer", "minimum": 0}),
        _parameter("marker", "The name of the namespace to go on after"),
        _parameter("sort_key", "What to sort by", {"enum": list(metadef_query.SORT_KEYS)}),
        _parameter("sort_dir", "In which direction", _DIRECTION),
        _parameter("visibility", "Who may see them", {"enum": list(VISIBILITIES)}),
        _parameter("resource_types", "Of use for any of these, with commas between"),
    ),
    "metadef_namespace": (
        _parameter("resource_type", "Name properties as they are named on resources of this type"),
        _parameter("visibility", "Without effect, but checked", {"enum": list(VISIBILITIES)}),
    ),
    "metadef_object_list": (
        _parameter("limit", "Without effect, but checked", {"type": "integer", "minimum": 1}),
        _parameter("sort_dir", "Without effect, but checked", _DIRECTION),
        _parameter("visibility", "Without effect, but checked", {"enum": ["public", "private", "shared"]}),
    ),
    "metadef_property": (
        _parameter("resource_type", "The path has the name that the property has on resources of this type"),
    ),
    "metadef_tag_list": (
        _parameter("limit", "Tags a page; all without it", {"type": "integer", "minimum": 0}),
        _parameter("marker", "The tag to go on after"),
        _parameter("sort_key", "What to sort by", {"enum": list(metadef_tag_query.SORT_KEYS)}),
        _parameter("sort_dir", "In which direction", _DIRECTION),
        _parameter("visibility", "Without effect, but checked", {"enum": ["public", "private", "shared"]}),
    ),
    "download": (_parameter("prefer", "Ids of stores to read from first, with commas between"),),
}

_COUNT: Shape = {"type": "integer", "minimum": 0}
_SPOKEN = _parameter("Tus-Resumable", "The version of tus that the client speaks", {"const": "1.0.0"})
_REQUIRED_HEADERS = frozenset({"Tus-Resumable", "Upload-Offset"})
_HEADERS: Mapping[str, tuple[Shape, ...]] = {
    "upload": (_SPOKEN,),
    "new_upload": (
        _SPOKEN,
        _parameter("Upload-Length", "How many bytes there will be", _COUNT),
        _parameter("Upload-Defer-Length", "That is not known yet", {"const": "1"}),
        _parameter("Upload-Metadata", "Pairs of a key and a Base64 value, with commas between; store names the store"),
        _parameter("Upload-Concat", "partial, or final; and the URLs of the parts"),
        _parameter("X-Image-Meta-Store", "The store that the image's data shall go to"),
    ),
    "metadef_tags": (
        _parameter("X-Openstack-Append", "true: put the tags beside those that are there, not in their place"),
    ),
    "piece": (
        _SPOKEN,
        _parameter("Upload-Offset", "Where the piece belongs: the end of what is there", _COUNT),
        _parameter("Upload-Length", "How many bytes there will be, where that was not known before", _COUNT),
        _parameter("Upload-Checksum", "sha1, md5, sha256, sha512 or crc32 of the piece, in Base64"),
    ),
}
