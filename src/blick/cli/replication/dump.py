"""From a service into a folder. May be killed at any moment, and goes on from there when it is started again."""

from blick.cli.replication.documents import Document
from blick.cli.replication.fingerprint import Check, Fingerprint
from blick.cli.replication.folder import DumpFolder, PartialData, file_pieces
from blick.cli.replication.progress import counted, transfer_bar
from blick.cli.replication.reading import RemoteData
from blick.cli.replication.service import ImageService
from blick.cli.replication.session import Session
from blick.model.errors import Invalid

KINDS = ("dumped", "there already", "failed")


def dump(source: ImageService, folder: DumpFolder, session: Session) -> None:
    """Every image's document, and the data of the active ones. What the folder has whole is left as it is.

    Raises what says that nothing can go on: Unauthenticated, SourceUnavailable, StartRefused.
    """
    for image_id in source.ids():
        with session.attempt(image_id):
            # Not the one from the list: that may be hours old by now.
            document = source.show(image_id)
            if document is not None:
                _dump_one(source, folder, session, document)


def _dump_one(source: ImageService, folder: DumpFolder, session: Session, document: Document) -> None:
    image_id = str(document["id"])
    wants_data = document.get("status") == "active" and not session.choices.only_metadata
    known = _known(folder, image_id)
    if known is not None and (not wants_data or _has_data(folder, document)):
        session.did("there already", image_id)
        return
    if wants_data and not _is_whole(folder, session, document):
        _fetch(source, folder, session, document)
    # Last, because it says that the rest is there.
    folder.write_document(document)
    session.did("dumped", image_id, "dumped" if wants_data else "dumped, without data")


def _known(folder: DumpFolder, image_id: str) -> Document | None:
    """What is known of the image; a file that was never written to its end does not count."""
    try:
        return folder.document(image_id)
    except Invalid:
        return None


def _has_data(folder: DumpFolder, document: Document) -> bool:
    path, size = folder.data_path(str(document["id"])), document.get("size")
    return path is not None and (size is None or path.stat().st_size == size)


def _is_whole(folder: DumpFolder, session: Session, document: Document) -> bool:
    """Is there data under the final name, and is it right? Read to its end: its document is not there to vouch."""
    path = folder.data_path(str(document["id"]))
    if path is None or not _has_data(folder, document):
        return False
    check = Check(Fingerprint.of(document), str(path))
    for piece in file_pieces(path, session.choices.chunk_bytes):
        check.update(piece)
    return not check.fault()


def _fetch(source: ImageService, folder: DumpFolder, session: Session, document: Document) -> None:
    """Complete what there is of the data. Raises SourceBroken for data that is whole and wrong, and leaves nothing of
    it; and where the connection broke too often: what came stays for the next time.
    """
    with folder.partial_data(str(document["id"])) as partial:
        was_begun = partial.size_bytes > 0
        check = _fetch_rest(source, partial, session, document)
        if was_begun and check.fault():
            # What was there from before may have been wrong; what comes now is judged by itself.
            partial.clear()
            check = _fetch_rest(source, partial, session, document)
        if check.fault():
            partial.remove()
        check.require_whole()
        partial.complete()


def _fetch_rest(source: ImageService, partial: PartialData, session: Session, document: Document) -> Check:
    """Add what is missing, and give the check of all of it."""
    image_id, wanted = str(document["id"]), Fingerprint.of(document)
    chunk = session.choices.chunk_bytes
    if wanted.size_bytes is None or partial.size_bytes > wanted.size_bytes:
        partial.clear()
    check = Check(wanted, f"{source.url}: the data of {image_id}")
    for piece in partial.pieces(chunk):
        check.update(piece)
    data = RemoteData(source, image_id, wanted.size_bytes, chunk, check.passed_bytes)
    with transfer_bar(image_id, wanted.size_bytes, check.passed_bytes) as advance:
        for piece in counted(data.pieces(), advance):
            check.update(piece)
            partial.append(piece)
    if not wanted.is_hashed:
        session.complain(f"{image_id}: the service tells no hash of it, so that only its size could be checked")
    return check
