"""The index that finds what is to be removed of one image, on databases that were made before there was one."""

from alembic import op

from blick.db.tables import location_deletes

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the index, unless it is there."""
    for index in location_deletes.indexes:
        index.create(op.get_bind(), checkfirst=True)
