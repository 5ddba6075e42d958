"""Resource types, and which namespaces of metadata definitions are of use for them."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select
from sqlalchemy.exc import IntegrityError

from blick.db.exact import can_hold
from blick.db.metadef_namespaces import hold
from blick.db.tables import metadef_namespace_resource_types, metadef_resource_types
from blick.model.errors import Conflict, Forbidden, NotFound
from blick.model.metadef import Association, ResourceType

_links, _types = metadef_namespace_resource_types, metadef_resource_types

COLUMNS: Final = (_types.c.name, _links.c.prefix, _links.c.properties_target, _links.c.created_at, _links.c.updated_at)
"""Of an association; its type's table is joined."""

_NO_SUCH: Final = "Failed to find resource type {} to delete"


def record(row: Sequence[Any]) -> Association:
    """A row of `COLUMNS`."""
    return Association(*row)


def every(connection: Connection) -> list[ResourceType]:
    """All types, in the order in which they came. One statement."""
    statement = select(_types.c.name, _types.c.protected, _types.c.created_at, _types.c.updated_at)
    return [ResourceType(*row) for row in connection.execute(statement.order_by(_types.c.id))]


def of_namespace(connection: Connection, namespace_id: int) -> list[Association]:
    """A namespace's associations, in the order in which they came. One statement."""
    joined = _links.join(_types, _types.c.id == _links.c.resource_type_id)
    statement = select(*COLUMNS).select_from(joined).where(_links.c.namespace_id == namespace_id)
    return [record(row) for row in connection.execute(statement.order_by(_links.c.created_at, _types.c.id))]


def associate(connection: Connection, namespace_id: int, new: Association, now: datetime) -> Association:
    """Associate a namespace with a type, which is made if there is none. Raises Conflict (it is already), NotFound."""
    hold(connection, namespace_id)
    insert_all(connection, namespace_id, [new], now)
    return Association(new.name, new.prefix, new.properties_target, now, now)


def dissociate(connection: Connection, namespace_id: int, name: str) -> None:
    """End an association; the type stays. Raises NotFound (no such one), Forbidden (the namespace is protected)."""
    held = hold(connection, namespace_id)
    if not can_hold(connection, name):
        raise NotFound(_NO_SUCH.format(name))
    type_id = select(_types.c.id).where(_types.c.name == name).scalar_subquery()
    wanted = (_links.c.namespace_id == namespace_id, _links.c.resource_type_id == type_id)
    if connection.execute(select(_links.c.namespace_id).where(*wanted)).first() is None:
        raise NotFound(_NO_SUCH.format(name))
    if held.protected:
        raise Forbidden(f"Metadata definition resource-type-association {name} is protected and cannot be deleted.")
    connection.execute(delete(_links).where(*wanted))


def insert_all(
    connection: Connection,
    namespace_id: int,
    associations: Sequence[Association],
    now: datetime,
) -> None:
    """Associate a namespace that is held. Raises Conflict."""
    for each in associations:
        link = {
            "resource_type_id": type_id(connection, each.name, now),
            "namespace_id": namespace_id,
            "properties_target": each.properties_target,
            "prefix": each.prefix,
            "created_at": now,
            "updated_at": now,
        }
        try:
            connection.execute(insert(_links), link)
        except IntegrityError as error:
            raise Conflict(
                f"The metadata definition resource-type association of resource-type={each.name} to this namespace "
                "already exists."
            ) from error


def type_id(connection: Connection, name: str, now: datetime, *, from_file: bool = False) -> int:
    """The type of that name, compared as the database's collation says; made where there is none."""
    known = select(_types.c.id).where(_types.c.name == name)
    found: int | None = connection.execute(known).scalar()
    if found is not None:
        return found
    values = {"name": name, "protected": from_file, "created_at": now, "updated_at": None if from_file else now}
    try:
        with _undone_alone(connection):
            key = connection.execute(insert(_types), values).inserted_primary_key
    except IntegrityError as error:
        # Somebody else was first, and is done. A locking read sees that, whatever this transaction saw before.
        row = connection.execute(known.with_for_update(read=True)).first()
        if row is None:
            raise Conflict(f"The resource type {name} is being removed. Try again.") from error
        return int(row[0])
    assert key is not None
    return int(key[0])


def _undone_alone(connection: Connection) -> AbstractContextManager[object]:
    """For one statement that may fail, and the transaction go on.

    Elsewhere a statement that fails is undone alone anyway. MariaDB would lose the savepoint at a deadlock, and its
    absence, not the deadlock, would be what is told.
    """
    return connection.begin_nested() if connection.dialect.name == "postgresql" else nullcontext()
