"""Where data lies that waits for its import, if that is no folder of a node's."""

from alembic import op

from blick.db.tables import staged_data

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, unless it is there."""
    staged_data.create(op.get_bind(), checkfirst=True)
