"""Tags of metadata definitions."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from blick.db.metadef_namespaces import hold
from blick.db.tables import metadef_tags
from blick.model.errors import Conflict, NotFound
from blick.model.metadef import MetadefTag, require_unprotected
from blick.model.metadef_tag_query import TagQuery

COLUMNS: Final = (metadef_tags.c.name, metadef_tags.c.created_at, metadef_tags.c.updated_at)


def record(row: Sequence[Any]) -> MetadefTag:
    """A row of `COLUMNS`."""
    return MetadefTag(*row)


def insert_all(connection: Connection, namespace_id: int, tags: Sequence[MetadefTag], now: datetime) -> None:
    """Put them into a namespace that is held. Raises Conflict where one of them is there already."""
    if not tags:
        return
    rows = [{"namespace_id": namespace_id, "name": each.name, "created_at": now, "updated_at": now} for each in tags]
    try:
        connection.execute(insert(metadef_tags), rows)
    except IntegrityError as error:
        raise taken([each.name for each in tags]) from error


def taken(names: Sequence[str]) -> Conflict:
    """The answer where one of these tags, which were to come into a namespace, is there already."""
    return Conflict(f"A metadata definition tag of this name exists already: {', '.join(names):.200}")


def page(connection: Connection, namespace_id: int, query: TagQuery) -> list[MetadefTag]:
    """A namespace's tags as `query` wants them. Raises NotFound for a marker that is no tag of it.

    At most two statements. There is no usual page: so all tags of the namespace are read, whatever the page.
    """
    table = metadef_tags
    after = None if query.marker is None else _id_of(connection, namespace_id, query.marker)
    keys = (table.c[query.sort.name], table.c.created_at, table.c.id)
    order = [key.desc() if query.sort.descending else key.asc() for key in dict.fromkeys(keys)]
    rows = connection.execute(
        select(table.c.id, *COLUMNS).where(table.c.namespace_id == namespace_id).order_by(*order)
    ).all()
    begin = 0 if after is None else 1 + next((place for place, row in enumerate(rows) if row[0] == after), len(rows))
    end = None if query.limit is None else begin + query.limit
    return [record(row[1:]) for row in rows[begin:end]]


def _id_of(connection: Connection, namespace_id: int, name: str) -> int:
    number: int | None = connection.execute(select(metadef_tags.c.id).where(_is(namespace_id, name))).scalar()
    if number is None:
        raise NotFound(f"Could not find metadata tag {name}.")
    return number


def get(connection: Connection, namespace_id: int, name: str) -> MetadefTag | None:
    """The tag of that name, compared as the database's collation says: so it is unique. One statement."""
    row = connection.execute(select(*COLUMNS).where(_is(namespace_id, name))).first()
    return None if row is None else record(row)


def add(connection: Connection, namespace_id: int, item: MetadefTag, now: datetime) -> MetadefTag:
    """Put it into the namespace; give it as it is kept. Raises Conflict where it is there already, NotFound."""
    hold(connection, namespace_id)
    insert_all(connection, namespace_id, [item], now)
    return MetadefTag(item.name, now, now)


def add_many(
    connection: Connection, namespace_id: int, tags: Sequence[MetadefTag], now: datetime, *, append: bool
) -> None:
    """Put them into the namespace: beside those that are there (`append`), or in their place; no tags change nothing.

    Raises Conflict where one of them is there already, or comes twice, and then nothing is changed; NotFound.
    """
    hold(connection, namespace_id)
    if tags and not append:
        connection.execute(delete(metadef_tags).where(metadef_tags.c.namespace_id == namespace_id))
    insert_all(connection, namespace_id, tags, now)


def rename(connection: Connection, namespace_id: int, name: str, item: MetadefTag, now: datetime) -> MetadefTag | None:
    """Make `item` of the tag `name`; None: there is none.

    Raises Conflict where the new name is taken, NotFound where the namespace went away.
    """
    hold(connection, namespace_id)
    statement = update(metadef_tags).where(_is(namespace_id, name)).values(name=item.name, updated_at=now)
    try:
        count = connection.execute(statement).rowcount
    except IntegrityError as error:
        raise taken([item.name]) from error
    return get(connection, namespace_id, item.name) if count else None


def remove(connection: Connection, namespace_id: int, name: str) -> bool:
    """Delete it. False: there is none. Raises Forbidden where there is one in a protected namespace, NotFound."""
    namespace = hold(connection, namespace_id)
    is_removed = connection.execute(delete(metadef_tags).where(_is(namespace_id, name))).rowcount > 0
    if is_removed:
        require_unprotected(namespace)  # takes the deletion back, with the transaction
    return is_removed


def remove_all(connection: Connection, namespace_id: int) -> None:
    """Delete all tags of the namespace. Raises Forbidden where it is protected, NotFound."""
    require_unprotected(hold(connection, namespace_id))
    connection.execute(delete(metadef_tags).where(metadef_tags.c.namespace_id == namespace_id))


def _is(namespace_id: int, name: str) -> ColumnElement[bool]:
    return and_(metadef_tags.c.namespace_id == namespace_id, metadef_tags.c.name == name)
