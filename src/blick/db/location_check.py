"""A look, before a service starts, at whether the locations in its database can be read at all."""

from sqlalchemy import Connection, Text, select, type_coerce

from blick.db.engine import Database
from blick.db.location_cipher import cipher_of
from blick.db.tables import image_locations
from blick.model.errors import StartRefused


def require_readable(database: Database) -> None:
    """Raises StartRefused where the newest location is encrypted and the key is missing, or another one.

    Nothing is changed. Older locations may differ: each is judged when it is read.
    """
    value = database.read_now(_newest)
    if value is None or ":" in value:  # which every URI has, and nothing encrypted
        return
    cipher = cipher_of(database.engine.dialect)
    if cipher is None:
        raise StartRefused(
            "The locations of images in the database are encrypted: set metadata_encryption_key to the key that was "
            "used so far."
        )
    if not cipher.opens(value):
        raise StartRefused(
            "The locations of images in the database cannot be decrypted with metadata_encryption_key: it is not the "
            "key that was used so far. Nothing was changed."
        )


def _newest(connection: Connection) -> str | None:
    """The value as it is stored."""
    stored = type_coerce(image_locations.c.value, Text)
    return connection.execute(select(stored).order_by(image_locations.c.id.desc()).limit(1)).scalar()
