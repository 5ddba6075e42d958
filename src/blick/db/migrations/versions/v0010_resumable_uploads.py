"""Uploads that come in pieces, and the parts in which their bytes lie."""

from alembic import op

from blick.db.tables import resumable_uploads, upload_parts

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables, unless they are there."""
    for table in (resumable_uploads, upload_parts):
        table.create(op.get_bind(), checkfirst=True)
