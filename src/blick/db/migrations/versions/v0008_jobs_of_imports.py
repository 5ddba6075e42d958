"""Jobs that carry imports: whom they are for, where they run, how far they are and how they ended."""

from alembic import op
from sqlalchemy import Column, inspect

from blick.db.tables import jobs

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what is missing: the first migration makes tables as they are described today."""
    connection = op.get_bind()
    present = {column["name"] for column in inspect(connection).get_columns(jobs.name)}
    for column in jobs.columns:
        if column.name not in present:
            default = getattr(column.server_default, "arg", None)
            op.add_column(jobs.name, Column(column.name, column.type, nullable=column.nullable, server_default=default))
    for index in jobs.indexes:
        index.create(connection, checkfirst=True)
