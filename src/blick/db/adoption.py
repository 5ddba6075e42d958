"""Whose tables are in a database, and may Blick work with them (adr/0005).

Glance tells the revision of its tables in `alembic_version`. Blick reads that row and never changes it, except that a
database which Blick made itself is marked with the revision its tables correspond to, so that Glance can take it over.
"""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import (
    Column,
    Connection,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    delete,
    insert,
    inspect,
    select,
)
from sqlalchemy.exc import DBAPIError

from blick.model.errors import StartRefused

OUR_VERSION_TABLE = "blick_alembic_version"

# The revision whose tables `blick.db.tables` describes.
GLANCE_HEAD = "2024_1_contract01"

# Glance's releases that changed the revision, since the oldest that can be adopted. From one to the next only
# `tasks` (wallaby) and the cache's tables (2024_1) differ; every other step is empty.
RELEASES = ("train", "ussuri", "wallaby", "xena", "yoga", "zed", "2023_1", "2024_1")
CONTRACTED = tuple(f"{release}_contract01" for release in RELEASES)
EXPANDED = tuple(f"{release}_expand01" for release in RELEASES)

_TOO_OLD = frozenset({"liberty", "mitaka01", "mitaka02", "rocky_expand02", "rocky_contract02"}) | {
    f"{release}_{phase}01" for release in ("ocata", "pike", "queens", "rocky") for phase in ("expand", "contract")
}
_TABLES = frozenset(
    {"images", "image_properties", "image_tags", "image_members", "image_locations", "tasks", "task_info"}
    | {"metadef_namespaces", "metadef_objects", "metadef_properties", "metadef_tags", "metadef_resource_types"}
    | {"metadef_namespace_resource_types"}
)
_CACHE_TABLES = frozenset({"node_reference", "cached_images"})
_FIRST_WITH_CACHE_TABLES = RELEASES.index("2024_1")
_FIRST_WITH_TASK_ORIGIN = RELEASES.index("wallaby")

_HINT = "Upgrade it with Glance first (`glance-manage db sync` of any release from Train to 33), then start Blick."

# Not in our metadata: it is Glance's, and made only where there is no Glance.
_alembic_version = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)


@dataclass(frozen=True, slots=True)
class Found:
    """What a database holds. `revisions` are Glance's, the newest contracted one first; empty: Glance named none."""

    tables: frozenset[str]
    revisions: tuple[str, ...]

    @property
    def is_glances(self) -> bool:
        """Did Glance make or mark the tables? Then none of them is ours to create."""
        return bool(self.revisions)

    @property
    def is_empty(self) -> bool:
        """Neither Glance nor Blick has been here."""
        return not self.tables & (_TABLES | {OUR_VERSION_TABLE})


def find(connection: Connection) -> Found:
    """Look at the database; nothing is judged."""
    tables = frozenset(inspect(connection).get_table_names())
    revisions: tuple[str, ...] = ()
    if _alembic_version.name in tables:
        found = connection.execute(select(_alembic_version.c.version_num)).scalars()
        revisions = tuple(sorted(found, key=lambda revision: ("_contract" not in revision, revision)))
    return Found(tables, revisions)


def require_adoptable(connection: Connection) -> Found:
    """What the database holds, if Blick can work with it. Raises StartRefused, saying what was found and what to do."""
    try:
        found = find(connection)
    except DBAPIError as error:
        if _alembic_version.name not in str(error):
            raise
        raise StartRefused("The table alembic_version is not one of Glance's.") from error
    if not found.is_glances:
        _require_ours(connection, found)
        return found
    _require_known(found.revisions)
    contracted = [revision for revision in found.revisions if revision in CONTRACTED]
    if not contracted:
        raise StartRefused(
            f"The database is in the middle of an upgrade by Glance (revision {', '.join(found.revisions)}). "
            "Let Glance end it with `glance-manage db migrate` and `glance-manage db contract`, then start Blick."
        )
    needed = _TABLES | (_CACHE_TABLES if GLANCE_HEAD in contracted else frozenset())
    if missing := needed - found.tables:
        raise StartRefused(
            f"The database says that it is at Glance's revision {contracted[0]}, but it has no table "
            f"{', '.join(sorted(missing))}. Restore a backup that is whole."
        )
    return found


def mark_as_made_here(connection: Connection) -> None:
    """Tell Glance which of its revisions the tables correspond to. Only for a database that Blick made."""
    _alembic_version.create(connection, checkfirst=True)
    if connection.execute(select(_alembic_version.c.version_num)).first() is None:
        connection.execute(insert(_alembic_version), {"version_num": GLANCE_HEAD})


def place_at(connection: Connection, revision: str | None) -> str:
    """Write by hand which of Glance's revisions the tables are at; None: the newest that they fit.

    Gives the revision. Raises StartRefused where the tables are not what that revision has.
    """
    found = find(connection)
    if missing := _TABLES - found.tables:
        raise StartRefused(
            f"The database has no table {', '.join(sorted(missing))}. `glance-manage db sync` makes a database from "
            "nothing and places it under version control."
        )
    fitting = _fitting(connection, found.tables)
    chosen = fitting[-1] if revision is None else revision
    if chosen not in fitting:
        raise StartRefused(f"The tables are not those of {chosen}; they fit {', '.join(fitting)}.")
    _alembic_version.create(connection, checkfirst=True)
    connection.execute(delete(_alembic_version))
    connection.execute(insert(_alembic_version), {"version_num": chosen})
    return chosen


def require_reached(connection: Connection, revision: str) -> None:
    """Raises StartRefused unless Glance's tables are at `revision`, or will be once Blick has made them, or beyond.

    Blick runs none of Glance's migrations.
    """
    if revision not in CONTRACTED + EXPANDED and revision not in _TOO_OLD:
        raise StartRefused(f"There is no revision {revision!r} of Glance's.")
    reached = require_adoptable(connection).revisions or (GLANCE_HEAD,)
    if revision not in _TOO_OLD and _age(revision) > _age(reached[0]) and revision not in reached:
        raise StartRefused(
            f"Glance's tables are at {', '.join(reached)}, and Blick leaves them so; it works with them as they are. "
            f"Only Glance's own `glance-manage db sync` takes them to {revision}."
        )


def _age(revision: str) -> int:
    return RELEASES.index(revision.rpartition("_")[0])


def _fitting(connection: Connection, tables: frozenset[str]) -> tuple[str, ...]:
    """The revisions whose tables look like these; several, because most revisions change nothing."""
    if "os_hidden" not in {column["name"] for column in inspect(connection).get_columns("images")}:
        raise StartRefused(f"The tables are older than Glance's Train release. {_HINT}")
    if tables >= _CACHE_TABLES:
        return CONTRACTED[_FIRST_WITH_CACHE_TABLES:]
    if has_task_origin(connection):
        return CONTRACTED[_FIRST_WITH_TASK_ORIGIN:_FIRST_WITH_CACHE_TABLES]
    return CONTRACTED[:_FIRST_WITH_TASK_ORIGIN]


def has_task_origin(connection: Connection) -> bool:
    """Has `tasks` the columns image_id, request_id and user_id? Glance made it without them until Wallaby."""
    return "image_id" in {column["name"] for column in inspect(connection).get_columns("tasks")}


def _require_known(revisions: Collection[str]) -> None:
    strange = [revision for revision in revisions if revision not in CONTRACTED + EXPANDED]
    if not strange:
        return
    named = ", ".join(strange)
    if all(revision in _TOO_OLD for revision in strange):
        raise StartRefused(f"The database was made by a Glance older than Train (revision {named}). {_HINT}")
    raise StartRefused(
        f"The database is at revision {named}, which this release does not know: it was made by a Glance newer than "
        "33, or by another service. Check [database] connection, or install a newer Blick."
    )


def _require_ours(connection: Connection, found: Found) -> None:
    """Tables that no revision of Glance's goes with have to be Blick's own."""
    if OUR_VERSION_TABLE in found.tables or not found.tables & _TABLES:
        return
    if "migrate_version" in found.tables:
        old = Table("migrate_version", MetaData(), Column("version"))
        version = connection.execute(select(old.c.version)).scalar()
        raise StartRefused(
            f"The database was made by a Glance older than Ocata (version {version} in migrate_version). {_HINT}"
        )
    raise StartRefused(
        "The database holds Glance's tables, but not their revision (alembic_version). If they are those of a release "
        "since Train, say so with `glance-manage db version_control`; else restore a backup that is whole."
    )
