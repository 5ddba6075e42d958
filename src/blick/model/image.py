"""The image record, what its status may become, and who may see it (spec: image-model §1, §3, §4)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from blick.model.context import RequestContext

QUEUED: Final = "queued"
SAVING: Final = "saving"
UPLOADING: Final = "uploading"
IMPORTING: Final = "importing"
ACTIVE: Final = "active"
DEACTIVATED: Final = "deactivated"
PENDING_DELETE: Final = "pending_delete"
DELETED: Final = "deleted"
KILLED: Final = "killed"

# What each status may become. `killed` is only met in old databases. Nothing leaves `deleted`.
STATUS: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        QUEUED: frozenset({SAVING, UPLOADING, IMPORTING, ACTIVE, DELETED}),
        SAVING: frozenset({ACTIVE, QUEUED, DELETED}),
        UPLOADING: frozenset({IMPORTING, QUEUED, DELETED}),
        # Back to uploading: a store failed, and what is staged waits for another try.
        IMPORTING: frozenset({ACTIVE, UPLOADING, QUEUED, DELETED}),
        ACTIVE: frozenset({DEACTIVATED, PENDING_DELETE, DELETED}),
        DEACTIVATED: frozenset({ACTIVE, PENDING_DELETE, DELETED}),
        PENDING_DELETE: frozenset({DELETED, ACTIVE}),
        KILLED: frozenset({DELETED}),
        DELETED: frozenset(),
    }
)

# While an image has one of these, somebody is still working on its data.
UNFINISHED: Final = frozenset({QUEUED, SAVING, UPLOADING, IMPORTING})

PUBLIC: Final = "public"
COMMUNITY: Final = "community"
SHARED: Final = "shared"
PRIVATE: Final = "private"

STAGE_HOST: Final = "os_glance_stage_host"
"""The property that names the node whose disk has an image's staged data; only ever written by the service."""

# Internal properties that no answer shows (spec: image-model §2).
HIDDEN_PROPERTIES: Final = frozenset({STAGE_HOST, "os_glance_hash_op_host"})


@dataclass(frozen=True, slots=True)
class ImageLocation:
    """One place where an image's bytes lie, as the database has it."""

    uri: str
    metadata: Mapping[str, Any]
    id: int | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """One image. Times are naive UTC; sizes are bytes; `min_disk` is GB, `min_ram` MB.

    `member_id` is the project through whose membership the caller of this request sees the image, if any;
    `member_status` is that membership's status.
    """

    id: str
    name: str | None
    status: str
    visibility: str
    owner: str | None
    disk_format: str | None
    container_format: str | None
    size: int | None
    virtual_size: int | None
    checksum: str | None
    os_hash_algo: str | None
    os_hash_value: str | None
    min_disk: int
    min_ram: int
    protected: bool
    os_hidden: bool
    created_at: datetime
    updated_at: datetime
    properties: Mapping[str, str | None] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    locations: tuple[ImageLocation, ...] = ()
    member_id: str | None = None
    member_status: str | None = None


def may_become(status: str, next_status: str) -> bool:
    """Does the table above allow `status` → `next_status`?"""
    return next_status in STATUS.get(status, frozenset())


def is_visible(image: Image, context: RequestContext) -> bool:
    """May the caller know that this image exists? Policy may still deny every action on it."""
    return (
        context.is_admin
        or image.owner is None
        or image.owner == context.project_id
        or image.visibility in (PUBLIC, COMMUNITY)
        or (image.visibility == SHARED and image.member_id is not None)
    )
