"""Another region: a real service with images to be taken over, which asks nobody who he is and is left alone."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.config_file import configured_server
from tests.support.images_api import ImagesApi
from tests.support.import_world import MIB, data_of

NAME = "RegionTwo"
SIZES_BYTES = (1, 300_000, MIB, 2 * MIB + 7, 5 * MIB)
FORMATS = {"disk_format": "raw", "container_format": "bare"}


@dataclass(frozen=True, slots=True)
class RegionImage:
    """One of its images: what `data_of` makes of seed and size."""

    id: str
    seed: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Region:
    """Where it is, and what it has."""

    port: int
    images: Sequence[RegionImage]

    def headers(self) -> dict[str, str]:
        """What tells a service that believes headers where this region is, and whom to be there."""
        endpoint = {"region": NAME, "publicURL": f"http://127.0.0.1:{self.port}"}
        catalog = [{"type": "image", "name": "glance", "endpoints": [endpoint]}]
        return {"X-Auth-Token": "whoever", "X-Service-Catalog": json.dumps(catalog)}


@contextmanager
def running_region(folder: Path) -> Iterator[Region]:
    with configured_server(folder) as server, ImagesApi(server.url, None) as api:
        images = []
        for seed, size_bytes in enumerate(SIZES_BYTES):
            image_id = api.create(**FORMATS)["id"]
            headers = {"Content-Type": "application/octet-stream"}
            put = api.http.put(f"/v2/images/{image_id}/file", content=data_of(seed, size_bytes), headers=headers)
            put.raise_for_status()
            images.append(RegionImage(image_id, seed, size_bytes))
        yield Region(server.port, images)
