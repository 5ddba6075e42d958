"""Background work: the table of jobs, in databases that were made before there was one."""

from alembic import op

from blick.db.tables import jobs

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table, unless it is there."""
    jobs.create(op.get_bind(), checkfirst=True)
