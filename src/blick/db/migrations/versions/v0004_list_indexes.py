"""The indexes that image lists walk along, on databases that were made before they were thought of."""

from alembic import op

from blick.db import tables

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make each index of ours that is not there."""
    connection = op.get_bind()
    for table in (tables.images, tables.image_properties):
        for index in table.indexes:
            if (index.name or "").startswith("blick_"):
                index.create(connection, checkfirst=True)
