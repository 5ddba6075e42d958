"""Glance's tables where there are none, and Blick's own.

On an empty database this makes everything; on one that Glance has made it only adds what is ours. Tables that an older
Glance did not have yet stay away too: Glance's own upgrade would stumble over them.
"""

from alembic import op

from blick.db import adoption, identity_tables, tables
from blick.db.metadata import metadata

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# The modules that describe the tables; importing them is what fills `metadata`.
DESCRIBED_IN = (tables, identity_tables)


def upgrade() -> None:
    """Create what is missing; existing tables stay exactly as they are."""
    connection = op.get_bind()
    ours_only = adoption.find(connection).is_glances
    wanted = [table for table in metadata.sorted_tables if table.name.startswith("blick_") or not ours_only]
    metadata.create_all(connection, wanted, checkfirst=True)
    for table in metadata.tables.values():
        for index in table.indexes:
            # Glance's as well: a process that was killed may have made a table and not yet its indexes.
            if (index.name or "").startswith("blick_") or not ours_only:
                index.create(connection, checkfirst=True)
