"""From a folder or a service into another service, under the same ids. May be killed at any moment: what a service
has not got whole it does not keep, and what is only registered there gets its data the next time.
"""

import time
from collections.abc import Callable, Iterator

from blick.cli.replication import documents
from blick.cli.replication.documents import Document
from blick.cli.replication.fingerprint import Check, Fingerprint, checked
from blick.cli.replication.folder import DumpFolder, file_pieces
from blick.cli.replication.progress import counted, transfer_bar
from blick.cli.replication.reading import RemoteData
from blick.cli.replication.service import ImageService
from blick.cli.replication.session import Session
from blick.model.errors import Conflict, Invalid, SourceBroken, SourceMissing

KINDS = ("copied", "updated", "unchanged", "skipped", "failed")

# An upload that was cut off is undone by the service, a killed service's by the next one: that takes seconds.
_SETTLES_WITHIN_S = 60.0
_LOOK_EVERY_S = 1.0
_UNSETTLED = frozenset({"saving"})

# Opens the data of the image that is being copied; None where only its document is.
Pieces = Callable[[], Iterator[bytes]]


def load(target: ImageService, folder: DumpFolder, session: Session) -> None:
    """Every image of the folder. Raises what says that nothing can go on: Unauthenticated, SourceUnavailable,
    StartRefused.
    """
    for image_id in folder.ids():
        with session.attempt(image_id):
            document = folder.document(image_id)
            if document is not None:
                _copy(target, session, document, _from_folder(folder, session, document))


def livecopy(source: ImageService, target: ImageService, session: Session) -> None:
    """Every image of the source; those that are not active are only kept up to date. Raises as `load` does."""
    for image_id in source.ids():
        with session.attempt(image_id):
            document = source.show(image_id)
            if document is None:
                continue
            if document.get("status") != "active" and target.show(image_id) is None:
                session.did("skipped", image_id)
                continue
            _copy(target, session, document, _from_service(source, session, document))


def _from_folder(folder: DumpFolder, session: Session, document: Document) -> Pieces | None:
    if session.choices.only_metadata or document.get("status") != "active":
        return None
    path = folder.data_path(str(document["id"]))
    if path is None:
        raise Invalid("its data is not in the folder; --metaonly registers images without their data.")
    return lambda: file_pieces(path, session.choices.chunk_bytes)


def _from_service(source: ImageService, session: Session, document: Document) -> Pieces | None:
    if session.choices.only_metadata or document.get("status") != "active":
        return None
    size = Fingerprint.of(document).size_bytes
    return lambda: RemoteData(source, str(document["id"]), size, session.choices.chunk_bytes).pieces()


def _copy(target: ImageService, session: Session, document: Document, pieces: Pieces | None) -> None:
    image_id = str(document["id"])
    there = target.show(image_id)
    is_new = there is None
    if there is None:
        try:
            there = target.create(documents.new_image(document, session.choices.left_out))
        except Conflict as error:
            # Deleted there once, or registered this moment by somebody else.
            session.complain(f"{image_id}: not registered: {error}")
            session.did("skipped", image_id)
            return
    updated = not is_new and _update(target, session, document, there)
    if pieces is not None and not _is_there(target, document, there):
        _upload(target, session, document, pieces)
        session.did("copied", image_id, "copied")
    elif is_new:
        session.did("copied", image_id, "registered, without data")
    else:
        session.did("updated" if updated else "unchanged", image_id, "updated" if updated else "")


def _update(target: ImageService, session: Session, document: Document, there: Document) -> bool:
    """Make the target's document the same. Raises Invalid for what cannot be changed there any more."""
    image_id = str(document["id"])
    found = documents.differences(document, there, session.choices.left_out)
    changes = documents.changes(found, document, there)
    if changes:
        target.change(image_id, changes)
    if settled := documents.unchangeable(found, there):
        raise Invalid(f"{target.url} has it with another {' and '.join(settled)}, and does not change that any more.")
    return bool(changes)


def _is_there(target: ImageService, document: Document, there: Document) -> bool:
    """Has the target the data? False: it can be uploaded. Raises Conflict where neither is so, or its data differs."""
    image_id = str(document["id"])
    give_up_at = time.monotonic() + _SETTLES_WITHIN_S
    while there.get("status") in _UNSETTLED and time.monotonic() < give_up_at:
        time.sleep(_LOOK_EVERY_S)
        there = target.show(image_id) or {}
    if there.get("status") == "queued":
        return False
    if not documents.has_data(there):
        raise Conflict(f"{target.url} has it with the status {there.get('status', 'deleted')}; try again later.")
    if not documents.is_same_data(document, there):
        raise Conflict(f"{target.url} has other data under this id; delete it there, or leave it.")
    return True


def _upload(target: ImageService, session: Session, document: Document, pieces: Pieces) -> None:
    """Send the data, and see what arrived. Raises SourceBroken where it is not what it has to be, at either end."""
    image_id, wanted = str(document["id"]), Fingerprint.of(document)
    check = Check(wanted, f"the data of {image_id}")
    with transfer_bar(image_id, wanted.size_bytes) as advance:
        target.upload(image_id, checked(counted(pieces(), advance), check), wanted.size_bytes)
    there = target.show(image_id)
    if there is None:
        raise SourceMissing(f"{target.url} has lost it: it was deleted meanwhile.")
    if not documents.has_data(there) or not documents.is_same_data(document, there):
        raise SourceBroken(f"{target.url} has taken other data than it was sent; delete the image there.")
    if not wanted.is_hashed:
        session.complain(f"{image_id}: no hash of it is known, so that only its size could be checked")
