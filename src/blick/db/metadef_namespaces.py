"""Namespaces of metadata definitions."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Connection, select

from blick.db.tables import metadef_namespaces
from blick.model.errors import NotFound
from blick.model.metadef import MetadefNamespace

COLUMNS: Final = tuple(metadef_namespaces.c[name] for name in (
    "id", "namespace", "display_name", "description", "visibility", "protected", "owner", "created_at", "updated_at"
))  # fmt: skip


def record(row: Sequence[Any]) -> MetadefNamespace:
    """A row of `COLUMNS`."""
    return MetadefNamespace(*row)


def get(connection: Connection, name: str) -> MetadefNamespace | None:
    """The namespace of that name, compared as the database's collation says: so it is unique. One statement."""
    row = connection.execute(select(*COLUMNS).where(metadef_namespaces.c.namespace == name)).first()
    return None if row is None else record(row)


def hold(connection: Connection, namespace_id: int) -> MetadefNamespace:
    """Take the namespace's row for the rest of the transaction, so that it does not go while something comes into it.

    Every transaction that changes a namespace or what lies in it begins with this. Raises NotFound if it went away.
    """
    # SQLite knows no row locks and needs none: there a writing transaction is alone from its beginning.
    wanted = select(*COLUMNS).where(metadef_namespaces.c.id == namespace_id).with_for_update()
    row = connection.execute(wanted).first()
    if row is None:
        raise NotFound("The metadata definition namespace was deleted meanwhile.")
    return record(row)
