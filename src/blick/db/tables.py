"""Glance's tables, exactly as its release 33 makes them, and Blick's own beside them (spec: database).

Glance's tables are never altered: extra indexes are allowed, extra columns are not, and what Blick needs beyond
them lives in tables named `blick_*`, so that Glance can take the database back at any time.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    Dialect,
    Enum,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    func,
    literal_column,
)

from blick.db.location_cipher import LocationUri
from blick.db.metadata import metadata

# SQLite counts rows in INTEGER keys only.
_BIG = BigInteger().with_variant(Integer, "sqlite")
IMAGE_VISIBILITY = Enum("private", "public", "shared", "community", name="image_visibility", create_constraint=False)

images = Table(
    "images",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(255), nullable=True),
    Column("disk_format", String(20), nullable=True),
    Column("container_format", String(20), nullable=True),
    Column("size", _BIG, nullable=True),
    Column("virtual_size", _BIG, nullable=True),
    Column("status", String(30), nullable=False),
    Column("visibility", IMAGE_VISIBILITY, nullable=False, server_default="shared"),
    Column("checksum", String(32), nullable=True),
    Column("os_hash_algo", String(64), nullable=True),
    Column("os_hash_value", String(128), nullable=True),
    Column("min_disk", Integer, nullable=False),
    Column("min_ram", Integer, nullable=False),
    Column("owner", String(255), nullable=True),
    Column("protected", Boolean, nullable=False, server_default=false()),
    Column("os_hidden", Boolean, nullable=False, server_default=false()),
    Column("created_at", DateTime, nullable=False),
    Column("updated_at", DateTime, nullable=True),
    Column("deleted_at", DateTime, nullable=True),
    Column("deleted", Boolean, nullable=False),
    Index("os_hidden_image_idx", "os_hidden"),
    Index("visibility_image_idx", "visibility"),
    Index("checksum_image_idx", "checksum"),
    Index("os_hash_value_image_idx", "os_hash_value"),
    Index("ix_images_deleted", "deleted"),
    Index("owner_image_idx", "owner"),
    Index("created_at_image_idx", "created_at"),
    Index("updated_at_image_idx", "updated_at"),
)

image_properties = Table(
    "image_properties",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("image_id", String(36), ForeignKey("images.id"), nullable=False),
    Column("name", String(255), nullable=False),
    Column("value", Text, nullable=True),
    Column("created_at", DateTime, nullable=False),
    Column("updated_at", DateTime, nullable=True),
    Column("deleted_at", DateTime, nullable=True),
    Column("deleted", Boolean, nullable=False),
    Index("ix_image_properties_deleted", "deleted"),
    Index("ix_image_properties_image_id", "image_id"),
    UniqueConstraint("image_id", "name", name="ix_image_properties_image_id_name"),
)

image_tags = Table(
    "image_tags",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("image_id", String(36), ForeignKey("images.id"), nullable=False),
    Column("value", String(255), nullable=False),
    Column("created_at", DateTime, nullable=False),
    Column("updated_at", DateTime, nullable=True),
    Column("deleted_at", DateTime, nullable=True),
    Column("deleted", Boolean, nullable=False),
    Index("ix_image_tags_image_id_tag_value", "image_id", "value"),
    Index("ix_image_tags_image_id", "image_id"),
)

image_members = Table(
    "image_members",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("image_id", String(36), ForeignKey("images.id"), nullable=False),
    Column("member", String(255), nullable=False),
    Column("can_share", Boolean, nullable=False),
    Column("status", String(20), nullable=False, server_default="pending"),
    Column("created_at", DateTime, nullable=False),
    Column("updated_at", DateTime, nullable=True),
    Column("deleted_at", DateTime, nullable=True),
    Column("deleted", Boolean, nullable=False),
    Index("ix_image_members_deleted", "deleted"),
    Index("ix_image_members_image_id", "image_id"),
    Index("ix_image_members_image_id_member", "image_id", "member"),
    UniqueConstraint("image_id", "member", "deleted_at", name="image_members_image_id_member_deleted_at_key"),
)

image_locations = Table(
    "image_locations",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("image_id", String(36), ForeignKey("images.id"), nullable=False),
    Column("value", LocationUri, nullable=False),
    Column("meta_data", Text, nullable=True),
    Column("status", String(30), nullable=False, server_default="active"),
    Column("created_at", DateTime, nullable=False),
    Column("updated_at", DateTime, nullable=True),
    Column("deleted_at", DateTime, nullable=True),
    Column("deleted", Boolean, nullable=False),
    Index("ix_image_locations_deleted", "deleted"),
    Index("ix_image_locations_image_id", "image_id"),
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("type", String(30), nullable=False),
    Column("status", String(30), nullable=False),
    Column("owner", String(255), nullable=False),
    Column("expires_at", DateTime, nullable=True),
    Column("image_id", String(36), nullable=True),
    Column("request_id", String(64), nullable=True),
    Column("user_id", String(64), nullable=True),
    Column("created_at", DateTime, nullable=False),
    Column("updated_at", DateTime, nullable=True),
    Column("deleted_at", DateTime, nullable=True),
    Column("deleted", Boolean, nullable=False),
    Index("ix_tasks_status", "status"),
    Index("ix_tasks_type", "type"),
    Index("ix_tasks_deleted", "deleted"),
    Index("ix_tasks_updated_at", "updated_at"),
    Index("ix_tasks_owner", "owner"),
    Index("ix_tasks_image_id", "image_id"),
)

task_info = Table(
    "task_info",
    metadata,
    Column("task_id", String(36), ForeignKey("tasks.id"), primary_key=True),
    Column("input", Text, nullable=True),
    Column("result", Text, nullable=True),
    Column("message", Text, nullable=True),
)

node_reference = Table(
    "node_reference",
    metadata,
    Column("node_reference_id", _BIG, primary_key=True),
    Column("node_reference_url", String(255), nullable=False),
    UniqueConstraint("node_reference_url", name="uq_node_reference_node_reference_url"),
)

cached_images = Table(
    "cached_images",
    metadata,
    Column("id", _BIG, primary_key=True),
    Column("image_id", String(36), nullable=False),
    Column("last_accessed", DateTime, nullable=False),
    Column("last_modified", DateTime, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("hits", Integer, nullable=False),
    Column("checksum", String(32), nullable=True),
    Column("node_reference_id", _BIG, ForeignKey("node_reference.node_reference_id"), nullable=False),
    UniqueConstraint("image_id", "node_reference_id", name="ix_cached_images_image_id_node_reference_id"),
)

metadef_namespaces = Table(
    "metadef_namespaces",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("namespace", String(80), nullable=False),
    Column("display_name", String(80), nullable=True),
    Column("description", Text, nullable=True),
    Column("visibility", String(32), nullable=True),
    Column("protected", Boolean, nullable=True),
    Column("owner", String(255), nullable=False),
    Column("created_at", DateTime, nullable=False),
    Column("updated_at", DateTime, nullable=True),
    Index("ix_metadef_namespaces_owner", "owner"),
    UniqueConstraint("namespace", name="uq_metadef_namespaces_namespace"),
)

metadef_resource_types = Table(
    "metadef_resource_types",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(80), nullable=False),
    Column("protected", Boolean, nullable=False),
    Column("created_at", DateTime, nullable=False),
    Column("updated_at", DateTime, nullable=True),
    UniqueConstraint("name", name="uq_metadef_resource_types_name"),
)

metadef_namespace_resource_types = Table(
    "metadef_namespace_resource_types",
    metadata,
    Column("resource_type_id", Integer, ForeignKey("metadef_resource_types.id"), primary_key=True),
    Column("namespace_id", Integer, ForeignKey("metadef_namespaces.id"), primary_key=True),
    Column("properties_target", String(80), nullable=True),
    Column("prefix", String(80), nullable=True),
    Column("created_at", DateTime, nullable=False),
    Column("updated_at", DateTime, nullable=True),
    Index("ix_metadef_ns_res_types_namespace_id", "namespace_id"),
)

metadef_objects = Table(
    "metadef_objects",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("namespace_id", Integer, ForeignKey("metadef_namespaces.id"), nullable=False),
    Column("name", String(80), nullable=False),
    Column("description", Text, nullable=True),
    Column("required", Text, nullable=True),
    Column("json_schema", Text, nullable=False),
    Column("created_at", DateTime, nullable=False),
    Column("updated_at", DateTime, nullable=True),
    Index("ix_metadef_objects_name", "name"),
    UniqueConstraint("namespace_id", "name", name="uq_metadef_objects_namespace_id_name"),
)

metadef_properties = Table(
    "metadef_properties",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("namespace_id", Integer, ForeignKey("metadef_namespaces.id"), nullable=False),
    Column("name", String(80), nullable=False),
    Column("json_schema", Text, nullable=False),
    Column("created_at", DateTime, nullable=False),
    Column("updated_at", DateTime, nullable=True),
    Index("ix_metadef_properties_name", "name"),
    UniqueConstraint("namespace_id", "name", name="uq_metadef_properties_namespace_id_name"),
)

metadef_tags = Table(
    "metadef_tags",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("namespace_id", Integer, ForeignKey("metadef_namespaces.id"), nullable=False),
    Column("name", String(80), nullable=False),
    Column("created_at", DateTime, nullable=False),
    Column("updated_at", DateTime, nullable=True),
    Index("ix_metadef_tags_name", "name"),
    UniqueConstraint("namespace_id", "name", name="uq_metadef_tags_namespace_id_name"),
)


def _elsewhere(*_: Any, dialect: Dialect, **__: Any) -> bool:
    return dialect.name != "postgresql"


# The list (blick.db.image_pages): every way to see an image is one walk along an index in the list's order, whatever
# the table's size: as an administrator, as its owner, because of its visibility; sorted by name, size or last change.
_LISTED = (images.c.deleted, images.c.os_hidden)
Index("blick_images_page", *_LISTED, images.c.created_at, images.c.id)
for _column in (images.c.owner, images.c.visibility, images.c.status):
    Index(f"blick_images_{_column.name}", _column, *_LISTED, images.c.created_at, images.c.id)
for _column in (images.c.name, images.c.size, images.c.updated_at):
    _name, _ties = f"blick_images_{_column.name}", (images.c.created_at, images.c.id)
    Index(_name, *_LISTED, _column, *_ties).ddl_if(callable_=_elsewhere)
    # Null is the smallest everywhere but here.
    Index(_name, *_LISTED, _column.asc().nulls_first(), *_ties).ddl_if(dialect="postgresql")
# Children are gathered per image. Without statistics SQLite would take Glance's index of `deleted`, which is no choice.
for _children in (image_properties, image_tags, image_locations, image_members):
    Index(f"blick_{_children.name}_live", _children.c.image_id, _children.c.deleted)
# A member's list starts from the memberships.
Index("blick_image_members_member", image_members.c.member, image_members.c.deleted, image_members.c.image_id)
# Tags and properties are filtered by value. A property's may be longer than an index can hold.
Index("blick_image_tags_value", image_tags.c.value, image_tags.c.deleted, image_tags.c.image_id)
_INDEXED_CHARACTERS = 64


def beginning(value: ColumnElement[Any]) -> ColumnElement[str]:
    """What PostgreSQL's index of property values holds of one."""
    return func.left(value, literal_column(str(_INDEXED_CHARACTERS)))


_property = image_properties.c
Index(
    "blick_image_properties_value", _property.name, _property.value, mysql_length={"value": _INDEXED_CHARACTERS}
).ddl_if(callable_=_elsewhere)
Index("blick_image_properties_beginning", _property.name, beginning(_property.value)).ddl_if(dialect="postgresql")

# Who is working on an image's data at present. A lease that has lapsed, or whose holder is known to be dead,
# may be taken by anyone, who then has to clean up. Every write of a holder carries its token.
leases = Table(
    "blick_leases",
    metadata,
    Column("image_id", String(36), primary_key=True),
    Column("token", String(32), nullable=False),
    Column("holder", String(255), nullable=False),
    Column("store", String(255), nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    # What the upload was promised of its image owner's quota; it ends with the lease.
    Column("reserved_bytes", BigInteger, nullable=False, server_default="0"),
    Index("blick_leases_holder", "holder"),
    Index("blick_leases_expires", "expires_at_ms"),
)

# Held, by writing, for the length of a transaction that takes from a project's quota. Projects share these rows by a
# hash of their id, so there are at most that many and nothing needs to be cleaned up.
PROJECT_LOCKS = 64
project_locks = Table(
    "blick_project_locks",
    metadata,
    Column("slot", Integer, primary_key=True, autoincrement=False),
    Column("taken", BigInteger, nullable=False),
)

# Bytes that no image needs any more; written in the transaction that gave them up, worked off later.
location_deletes = Table(
    "blick_location_deletes",
    metadata,
    Column("id", _BIG, primary_key=True, autoincrement=True),
    Column("image_id", String(36), nullable=False),
    Column("uri", LocationUri, nullable=False),
    Column("meta_data", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("not_before_ms", BigInteger, nullable=False),
    Column("last_error", Text, nullable=True),
    Index("blick_location_deletes_not_before", "not_before_ms"),
    Index("blick_location_deletes_image", "image_id"),
)

# Work that outlives the request that asked for it. A job is free while its token is empty; a worker that takes it
# writes its own token, and names it in every later write. `step` is how far the job has come, `state` what the steps
# before found out. A job that has ended has an `outcome` and stays for a while, to be looked at and done again.
jobs = Table(
    "blick_jobs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("kind", String(64), nullable=False),
    Column("payload", Text, nullable=False),
    Column("step", String(64), nullable=False),
    Column("token", String(32), nullable=False),
    Column("holder", String(255), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("available_at_ms", BigInteger, nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("last_error", Text, nullable=True),
    Column("state", Text, nullable=True),
    # Whom it is done for: projects get their turns.
    Column("project_id", String(255), nullable=False, server_default=""),
    Column("image_id", String(36), nullable=True),
    # The node whose disk has what the job needs; empty: any.
    Column("node", String(255), nullable=False, server_default=""),
    Column("priority", Integer, nullable=False, server_default="0"),
    # What people see of it: what is being done, and how far that is.
    Column("phase", String(255), nullable=False, server_default=""),
    Column("bytes_done", BigInteger, nullable=False, server_default="0"),
    Column("bytes_total", BigInteger, nullable=True),
    Column("cancel_requested", Boolean, nullable=False, server_default=false()),
    # What the job needs of its caller, a token among it; sealed (blick.jobs.sealing), and only while it is unfinished.
    Column("secret", Text, nullable=True),
    Column("outcome", String(16), nullable=False, server_default=""),
    Column("message", Text, nullable=True),
    Column("ended_at_ms", BigInteger, nullable=True),
    Index("blick_jobs_available", "available_at_ms"),
    Index("blick_jobs_open", "outcome", "token", "available_at_ms"),
    Index("blick_jobs_image", "image_id"),
)

# Data that waits for its import in a store that has images too ([blick] staging_store): where it lies. Written before
# the first byte, with an empty `uri` until the data is whole. Data that is staged again has another key, and row.
staged_data = Table(
    "blick_staged_data",
    metadata,
    Column("object_key", String(36), primary_key=True),
    Column("image_id", String(36), nullable=False),
    Column("store", String(255), nullable=False),
    Column("uri", LocationUri, nullable=False),
    Column("meta_data", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=True),
    Column("created_at_ms", BigInteger, nullable=False),
    Index("blick_staged_data_image", "image_id"),
)

# Uploads that come in pieces and may be broken off (blick.model.resumable_upload): the bytes lie in a folder of staged
# data, in a file that grows, or in parts. Who adds to one has a lease on it, as in blick_leases; `wanted` asks him to
# let go if his client has gone silent.
resumable_uploads = Table(
    "blick_resumable_uploads",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("image_id", String(36), nullable=False),
    Column("owner", String(255), nullable=True),
    # The node whose folder has the bytes; empty: any reaches them.
    Column("node", String(255), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("store", String(255), nullable=False),
    Column("length_bytes", BigInteger, nullable=True),
    Column("offset_bytes", BigInteger, nullable=False),
    Column("unverified_from_bytes", BigInteger, nullable=True),
    Column("client_metadata", Text, nullable=False),
    Column("concatenation", Text, nullable=False),
    Column("token", String(32), nullable=False),
    Column("holder", String(255), nullable=False),
    Column("lease_until_ms", BigInteger, nullable=False),
    Column("wanted", Boolean, nullable=False, server_default=false()),
    Column("job_id", String(36), nullable=True),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger, nullable=False),
    Index("blick_resumable_uploads_image", "image_id"),
    Index("blick_resumable_uploads_owner", "owner"),
    Index("blick_resumable_uploads_expires", "state", "expires_at_ms"),
)

# Bytes of such an upload that lie by themselves. A row is there before the first byte, with an empty `uri` until the
# part is whole.
upload_parts = Table(
    "blick_upload_parts",
    metadata,
    Column("upload_id", String(36), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("store", String(255), nullable=False),
    Column("object_key", String(255), nullable=False),
    Column("uri", LocationUri, nullable=False),
    Column("meta_data", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Index("blick_upload_parts_key", "object_key"),
)

# What `tasks` has columns for since Wallaby, in databases of an older Glance (blick.db.task_origins).
task_origins = Table(
    "blick_task_origins",
    metadata,
    Column("task_id", String(36), primary_key=True),
    Column("image_id", String(36), nullable=True),
    Column("request_id", String(64), nullable=True),
    Column("user_id", String(64), nullable=True),
    Index("blick_task_origins_image", "image_id"),
)
