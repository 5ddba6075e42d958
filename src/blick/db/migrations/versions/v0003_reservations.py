"""Reservations: what an upload was promised of a quota, and the rows that are held while one is made."""

from alembic import op
from sqlalchemy import BigInteger, Column, inspect

from blick.db.tables import project_locks

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what is missing: the first migration makes tables as they are described today."""
    connection = op.get_bind()
    if "reserved_bytes" not in {column["name"] for column in inspect(connection).get_columns("blick_leases")}:
        op.add_column("blick_leases", Column("reserved_bytes", BigInteger, nullable=False, server_default="0"))
    project_locks.create(connection, checkfirst=True)
