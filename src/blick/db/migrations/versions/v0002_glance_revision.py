"""Tell Glance which of its revisions the tables correspond to, in a database that Blick made from nothing."""

from alembic import op

from blick.db import adoption

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Mark the tables, unless Glance has."""
    connection = op.get_bind()
    if not adoption.find(connection).is_glances:
        adoption.mark_as_made_here(connection)
