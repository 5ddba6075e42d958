"""Uploads that come in pieces, and may be broken off and taken up again: what is known of one, and what is asked of it.

The rules are those of tus 1.0 (https://tus.io/protocols/resumable-upload), a protocol that others' clients speak.
"""

from dataclasses import dataclass
from typing import Final

from blick.model.blob import Location
from blick.model.errors import Invalid

OPEN: Final = "open"
"""More may come."""
FINISHING: Final = "finishing"
"""Everything is there; a job is giving it to the image."""
FINISHED: Final = "finished"
"""The job is over, well or badly; the upload is kept for a while so that its client can learn of it."""
REMOVED: Final = "removed"
"""Given up: nobody is told of it any more, and its bytes are to be removed, if they are not gone yet."""

WHOLE: Final = ""
PARTIAL: Final = "partial"
FINAL: Final = "final"

FILE_SUFFIX: Final = ".part"
"""What the names of files end with in which uploads grow."""

MOST_OPEN: Final = 64
"""How many unfinished uploads one image may have: parts that are sent in parallel, and some that were forgotten."""


@dataclass(frozen=True, slots=True)
class ResumableUpload:
    """One upload, as it was read.

    `kind` is one of the three above. `length_bytes` None: the client does not know it yet. `offset_bytes` is how much
    was told to be there: the bytes themselves may be more, if a process died. `unverified_from_bytes` is where a
    piece with a checksum begins that nobody has compared yet. `store` is the one that the image's data shall go to.
    `client_metadata` and `concatenation` are what the client said of it, as it said it. `token`, `holder` and
    `lease_until_ms` tell who is adding to it; the token is empty while nobody is. `job_id` is that of the job that
    finishes it.
    """

    id: str
    image_id: str
    owner: str | None
    node: str
    kind: str
    state: str
    store: str
    length_bytes: int | None
    offset_bytes: int
    unverified_from_bytes: int | None
    client_metadata: str
    concatenation: str
    token: str
    holder: str
    lease_until_ms: int
    created_at_ms: int
    expires_at_ms: int
    job_id: str | None = None

    @property
    def file_name(self) -> str:
        """Under which name its bytes grow in a folder of staged data; the image's other files begin alike."""
        return f"{self.image_id}.{self.id}{FILE_SUFFIX}"


def partials_of(concatenation: str) -> tuple[str, ...]:
    """The ids of the uploads that a final one is made of, by the header that says so: `final;URL URL …`.

    Raises Invalid where there are none, or one twice.
    """
    kind, _, urls = concatenation.partition(";")
    found = tuple(url.rstrip("/").rpartition("/")[2] for url in urls.split())
    if kind != FINAL or not found or len(set(found)) < len(found):
        raise Invalid("Upload-Concat has to name the uploads that the final one is made of, each once.")
    return found


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of an upload that lie somewhere by themselves, under the name `key`; in the order of their numbers."""

    number: int
    key: str
    location: Location
    size_bytes: int


@dataclass(frozen=True, slots=True)
class NewUpload:
    """What is asked for. `partials` are the ids of the uploads that a final one is made of, in order."""

    kind: str = WHOLE
    length_bytes: int | None = None
    store: str | None = None
    client_metadata: str = ""
    concatenation: str = ""
    partials: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Checksum:
    """What a piece has to come to. `algorithm` is one of ALGORITHMS."""

    algorithm: str
    digest: bytes


ALGORITHMS: Final = ("sha1", "md5", "sha256", "sha512", "crc32")


@dataclass(frozen=True, slots=True)
class Piece:
    """What a request adds at `offset_bytes`. `size_bytes` None: it ends where it ends.

    `total_bytes` tells the length of the whole upload, where it was not known before.
    """

    offset_bytes: int
    size_bytes: int | None = None
    total_bytes: int | None = None
    checksum: Checksum | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an upload is, as clients are told. `offset_bytes` is there for good."""

    upload: ResumableUpload
    offset_bytes: int
    length_bytes: int | None
    expires_at_ms: int
