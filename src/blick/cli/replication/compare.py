"""What one service has and another has not, or has otherwise. Changes nothing."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from blick.cli.replication import documents
from blick.cli.replication.service import ImageService
from blick.cli.replication.session import Session

COLUMNS = ("image", "field", "source", "target")


@dataclass(frozen=True, slots=True)
class Finding:
    """One field of one image that differs, or a whole image that the target has not (`field` is empty)."""

    image: str
    field: str
    source: Any
    target: Any

    def __str__(self) -> str:
        if self.field:
            return f"{self.image}: {self.field} differs: source {self.source!r}, target {self.target!r}"
        return f"{self.image}: is missing on the target"


def compare(source: ImageService, target: ImageService, session: Session) -> Iterator[Finding]:
    """Every difference, image by image; what only the target has is its own.

    Raises what says that nothing can go on: Unauthenticated, SourceUnavailable.
    """
    for document in source.images():
        image_id = str(document["id"])
        session.did("compared", image_id)
        with session.attempt(image_id):
            yield from _differences(image_id, document, target.show(image_id), session)


def _differences(
    image_id: str, source: documents.Document, target: documents.Document | None, session: Session
) -> Iterator[Finding]:
    left_out = session.choices.left_out
    if target is None:
        yield Finding(image_id, "", source.get("status"), None)
        return
    found = documents.differences(source, target, left_out)
    if not session.choices.only_metadata:
        found += documents.data_differences(source, target, left_out)
    for one in found:
        yield Finding(image_id, one.field, one.source, one.target)
