"""The one collection of tables that Blick knows."""

from sqlalchemy import MetaData

metadata = MetaData()
