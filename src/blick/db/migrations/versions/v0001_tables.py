"""Glance's tables where they are missing, and Blick's own.

On an empty database this makes everything; on one that Glance has filled it only adds what is ours.
"""

from alembic import op

from blick.db import identity_tables, tables
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
    metadata.create_all(connection, checkfirst=True)
    for table in metadata.tables.values():
        for index in table.indexes:
            if (index.name or "").startswith("blick_"):
                index.create(connection, checkfirst=True)
