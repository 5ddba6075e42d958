"""Where tasks came from, in databases of a Glance that had no columns for it."""

from alembic import op

from blick.db.tables import task_origins

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, unless it is there."""
    task_origins.create(op.get_bind(), checkfirst=True)
