"""Locations of RBD images: `rbd://<fsid>/<pool>/<image>/<snapshot>`, each part percent-encoded; Nova and Cinder parse
them. Very old records say `rbd://<image>` only."""

from dataclasses import dataclass
from urllib.parse import quote, unquote

SCHEME = "rbd://"
SNAPSHOT = "snap"
"""The snapshot that makes an image whole: images are read, and cloned, from it."""


@dataclass(frozen=True, slots=True)
class RbdPlace:
    """Where an image is. An old record tells neither cluster nor pool, and has no snapshot."""

    image: str
    fsid: str | None = None
    pool: str | None = None
    snapshot: str | None = None

    @property
    def uri(self) -> str:
        """The place as a location's URI."""
        parts = [self.image] if self.pool is None else [self.fsid, self.pool, self.image, self.snapshot]
        return SCHEME + "/".join(quote(part or "", safe="") for part in parts)


def place_of(uri: str) -> RbdPlace | None:
    """The place that `uri` means, None if it is no location of an RBD image."""
    if not uri.startswith(SCHEME) or not uri.isascii():
        return None
    parts = [unquote(part) for part in uri.removeprefix(SCHEME).split("/")]
    if not all(parts) or any("\0" in part for part in parts):
        return None
    match parts:
        case [image]:
            return RbdPlace(image)
        case [fsid, pool, image, snapshot]:
            return RbdPlace(image, fsid, pool, snapshot)
    return None
