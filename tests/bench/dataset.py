"""Image records for the metadata metrics, written straight into a service's database: identical on both sides."""

import random
import sqlite3
import uuid
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

CHILD_TABLES = ("image_properties", "image_tags", "image_locations", "image_members")
FIRST_CREATED = datetime(2026, 1, 1)  # noqa: DTZ001 - the columns hold UTC without a zone
LOCK_TIMEOUT_S = 60
GIB = 1024**3


@dataclass(frozen=True, slots=True)
class Shape:
    """How many images, and how many properties and tags each of them has."""

    images: int
    properties: int
    tags: int


def fill(database: Path, shape: Shape) -> list[str]:
    """Replace every image in the SQLite file; returns the ids, the same for the same shape."""
    chance = random.Random(shape.images)  # a fixed seed: both services get the same ids
    ids = [str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(shape.images)]
    with closing(sqlite3.connect(database, timeout=LOCK_TIMEOUT_S)) as connection, connection:
        for table in (*CHILD_TABLES, "images"):
            connection.execute(f"DELETE FROM {table}")
        for number, image_id in enumerate(ids):
            _insert(connection, number, image_id, shape)
    return ids


def _insert(connection: sqlite3.Connection, number: int, image_id: str, shape: Shape) -> None:
    created = (FIRST_CREATED + timedelta(minutes=number)).strftime("%Y-%m-%d %H:%M:%S.%f")
    common = {"created_at": created, "updated_at": created, "deleted": 0}
    image = {
        "id": image_id,
        "name": f"image {number}",
        "disk_format": "qcow2",
        "container_format": "bare",
        "size": GIB,
        "virtual_size": 4 * GIB,
        "status": "active",
        "visibility": "public",
        "checksum": f"{number:032x}",
        "os_hash_algo": "sha512",
        "os_hash_value": f"{number:0128x}",
        "min_disk": 4,
        "min_ram": 512,
        "owner": f"{number % 10:032x}",
        "protected": 0,
        "os_hidden": 0,
    }
    _rows(connection, "images", [{**image, **common}])
    child = {"image_id": image_id, **common}
    properties = [{"name": f"property_{i:02}", "value": f"value {i} of {number}"} for i in range(shape.properties)]
    _rows(connection, "image_properties", [{**child, **row} for row in properties])
    _rows(connection, "image_tags", [{**child, "value": f"tag-{i:02}"} for i in range(shape.tags)])
    location = {"value": f"file:///nowhere/{image_id}", "meta_data": "{}", "status": "active"}
    _rows(connection, "image_locations", [{**child, **location}])


def _rows(connection: sqlite3.Connection, table: str, rows: list[dict[str, object]]) -> None:
    if not rows:
        return
    columns = list(rows[0])
    statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join(':' + name for name in columns)})"
    connection.executemany(statement, rows)
