"""Run by alembic: migrate over the connection, and in the transaction, of `blick.db.upgrade`."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], version_table="blick_alembic_version")
context.run_migrations()
