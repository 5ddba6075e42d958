"""Uploads that come in pieces: every statement that reads or changes them (design: ops/resumable_uploads).

    create → take → … → settle → take → … → finish → end → drop
                                 remove ─────────────────→ drop

Who adds to an upload, or finishes it, holds a lease on it; each of his writes names its token, so that one who lost it
(he stalled, somebody took over) changes nothing any more: his transaction raises Gone.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, and_, delete, false, func, insert, or_, select, update

from blick.db import images as image_rows
from blick.db import import_lock, jobs
from blick.db.jobs import NewJob
from blick.db.rows import hold
from blick.db.tables import images, resumable_uploads, upload_parts
from blick.db.tables import jobs as job_rows
from blick.model.blob import Location
from blick.model.errors import Conflict, Gone, LimitExceeded, NotFound
from blick.model.image import IMPORTING, QUEUED, SAVING, UPLOADING
from blick.model.resumable_upload import (
    FINAL,
    FINISHED,
    FINISHING,
    MOST_OPEN,
    OPEN,
    REMOVED,
    Part,
    ResumableUpload,
)

_FREE = ""
_upload = resumable_uploads.c


def create(connection: Connection, upload: ResumableUpload) -> str | None:
    """Note a new upload; gives None, or the node that has the image's other uploads: it is to be created there.

    Raises NotFound, Conflict (the image is not queued), LimitExceeded (it has too many unfinished ones).
    """
    _require_queued(connection, upload.image_id)
    others = connection.execute(
        select(_upload.node).where(_upload.image_id == upload.image_id, _upload.state == OPEN)
    ).all()
    elsewhere = next((row.node for row in others if row.node != upload.node), None)
    if elsewhere is not None:
        return str(elsewhere)
    if len(others) >= MOST_OPEN:
        raise LimitExceeded(f"Image {upload.image_id} has {len(others)} unfinished uploads already.")
    connection.execute(insert(resumable_uploads), _values(upload))
    return None


def get(connection: Connection, image_id: str, upload_id: str) -> ResumableUpload | None:
    """The upload, unless it was given up; None if the image has none of that id."""
    if not image_rows.plausible_id(upload_id):
        return None
    wanted = and_(_upload.id == upload_id, _upload.image_id == image_id, _upload.state != REMOVED)
    row = connection.execute(select(resumable_uploads).where(wanted)).one_or_none()
    return None if row is None else _record(row)


def node_of(connection: Connection, image_id: str, upload_id: str | None) -> str | None:
    """The node that has the upload; without an id, the image's unfinished ones. None: there is no such upload."""
    if not image_rows.plausible_id(image_id) or not image_rows.plausible_id(upload_id or ""):
        return None
    wanted = _upload.state == OPEN if upload_id is None else _upload.id == upload_id
    found = select(_upload.node).where(_upload.image_id == image_id, wanted).limit(1)
    node: str | None = connection.execute(found).scalar()
    return node


def finals_of(connection: Connection, image_id: str) -> list[ResumableUpload]:
    """The image's uploads that were made of others, as far as they are told of."""
    wanted = and_(_upload.image_id == image_id, _upload.kind == FINAL, _upload.state != REMOVED)
    return [_record(row) for row in connection.execute(select(resumable_uploads).where(wanted))]


def waiting_bytes(connection: Connection, owner: str | None, except_upload: str | None = None) -> int:
    """How much lies in the unfinished uploads to this owner's images, as far as it was told."""
    owned = _upload.owner == owner if owner is not None else _upload.owner.is_(None)
    total = select(func.sum(_upload.offset_bytes)).where(owned, _upload.state == OPEN)
    if except_upload is not None:
        total = total.where(_upload.id != except_upload)
    return int(connection.execute(total).scalar() or 0)


# The lease


def take(connection: Connection, upload: ResumableUpload, token: str, holder: str, until_ms: int) -> bool:
    """Have the upload, which nobody has, or nobody alive, until `until_ms`. False: somebody else was faster."""
    values = {"token": token, "holder": holder, "lease_until_ms": until_ms, "wanted": False}
    free = and_(_upload.id == upload.id, _upload.token == upload.token, _upload.state == OPEN)
    return connection.execute(update(resumable_uploads).where(free).values(values)).rowcount == 1


def ask_for(connection: Connection, upload: ResumableUpload) -> None:
    """Let whoever has the upload know that he is waited for."""
    held = and_(_upload.id == upload.id, _upload.token == upload.token)
    connection.execute(update(resumable_uploads).where(held).values(wanted=True))


def is_asked_for(connection: Connection, upload: ResumableUpload) -> bool:
    """Does somebody wait for us, who have it? Raises Gone if it is not ours any more."""
    wanted: bool | None = connection.execute(select(_upload.wanted).where(_ours(upload))).scalar()
    if wanted is None:
        raise _lost(upload)
    return wanted


def renew(connection: Connection, upload: ResumableUpload, until_ms: int) -> None:
    """Have it longer. Raises Gone if it is not ours any more."""
    _change(connection, upload, {"lease_until_ms": until_ms})


def settle(connection: Connection, upload: ResumableUpload, values: Mapping[str, Any]) -> None:
    """Give the upload back, as it is now: `values` are columns. Raises Gone if it is not ours any more."""
    _change(connection, upload, {**values, "token": _FREE, "holder": "", "wanted": False})


def set_length(connection: Connection, upload: ResumableUpload, length_bytes: int) -> None:
    """Tell how long it will be, once. Raises Gone if it is not ours any more."""
    _change(connection, upload, {"length_bytes": length_bytes})


def set_offset(connection: Connection, upload: ResumableUpload, offset_bytes: int) -> None:
    """Its bytes end there. Raises Gone if it is not ours any more."""
    _change(connection, upload, {"offset_bytes": offset_bytes})


def begin_unverified(connection: Connection, upload: ResumableUpload, offset_bytes: int) -> None:
    """From there on bytes come that are to be dropped unless a later `settle` says otherwise. Raises Gone."""
    _change(connection, upload, {"unverified_from_bytes": offset_bytes, "offset_bytes": offset_bytes})


# Parts


def parts_of(connection: Connection, upload_id: str) -> list[Part]:
    """The parts that are whole, in order."""
    wanted = select(upload_parts).where(upload_parts.c.upload_id == upload_id, upload_parts.c.uri != "")
    return [_part(row) for row in connection.execute(wanted.order_by(upload_parts.c.number))]


def broken_parts_of(connection: Connection, upload_id: str) -> list[tuple[int, str, str]]:
    """Number, store and key of parts that are under way, or were when their writer died."""
    part = upload_parts.c
    wanted = select(part.number, part.store, part.object_key).where(part.upload_id == upload_id, part.uri == "")
    return [(row.number, row.store, row.object_key) for row in connection.execute(wanted)]


def begin_part(connection: Connection, upload: ResumableUpload, number: int, store: str, key: str) -> None:
    """A part is about to be written. Raises Gone."""
    _require_ours(connection, upload)
    values = {"store": store, "object_key": key, "uri": "", "meta_data": "{}", "size_bytes": 0}
    connection.execute(insert(upload_parts), {"upload_id": upload.id, "number": number, **values})


def finish_part(
    connection: Connection, upload: ResumableUpload, part: Part, offset_bytes: int, replaced: Part | None
) -> None:
    """A part is whole: with it the upload's bytes end at `offset_bytes`. Raises Gone.

    It holds what `replaced` held, which is one that broke off from now on.
    """
    _change(connection, upload, {"offset_bytes": offset_bytes})
    written = and_(upload_parts.c.upload_id == upload.id, upload_parts.c.number == part.number)
    values = {"uri": part.location.uri, "meta_data": _text(part.location.metadata), "size_bytes": part.size_bytes}
    if connection.execute(update(upload_parts).where(written).values(values)).rowcount != 1:
        raise _lost(upload)
    if replaced is not None:
        old = and_(upload_parts.c.upload_id == upload.id, upload_parts.c.number == replaced.number)
        connection.execute(update(upload_parts).where(old).values(uri=""))


def drop_part(connection: Connection, upload_id: str, number: int) -> None:
    """The part's bytes are gone."""
    gone = and_(upload_parts.c.upload_id == upload_id, upload_parts.c.number == number)
    connection.execute(delete(upload_parts).where(gone))


# The end


def finish(connection: Connection, upload: ResumableUpload, job: NewJob, now: datetime, now_ms: int) -> None:
    """Everything is there: image queued → saving, and the job that goes on from here. Ends the lease.

    Raises NotFound, Conflict (the image is not queued any more, or is being imported), Gone.
    """
    _begin_saving(connection, upload.image_id, now)
    length = {"offset_bytes": upload.length_bytes}
    _change(connection, upload, {**length, "state": FINISHING, "job_id": job.id, "token": _FREE, "holder": ""})
    jobs.add(connection, job, now_ms)


def concatenate(
    connection: Connection,
    final: ResumableUpload,
    partials: Sequence[ResumableUpload],
    parts: Sequence[Part],
    job: NewJob,
    now: datetime,
    now_ms: int,
) -> None:
    """Make one upload of several that we have leases on, which are gone then, and finish it, as `finish` does.

    `parts` are theirs. Raises NotFound, Conflict, Gone.
    """
    _begin_saving(connection, final.image_id, now)
    for partial in partials:
        _require_ours(connection, partial)
        _drop(connection, partial.id)
    state = {"state": FINISHING, "job_id": job.id}
    connection.execute(insert(resumable_uploads), {**_values(final), **state})
    rows = [
        {
            "upload_id": final.id,
            "number": part.number,
            "store": part.location.store,
            "object_key": part.key,
            "uri": part.location.uri,
            "meta_data": _text(part.location.metadata),
            "size_bytes": part.size_bytes,
        }
        for part in parts
    ]
    if rows:
        connection.execute(insert(upload_parts), rows)
    jobs.add(connection, job, now_ms)


def _begin_saving(connection: Connection, image_id: str, now: datetime) -> None:
    if not image_rows.set_status(connection, image_id, (QUEUED,), SAVING, now):
        _require_queued(connection, image_id)
        raise Conflict(f"Image {image_id} takes data only while it is queued.")
    import_lock.require_free(connection, image_id, now)


def end(connection: Connection, upload_id: str) -> None:
    """The job is over, and nothing of the bytes is left. Without effect on others."""
    over = and_(_upload.id == upload_id, _upload.state == FINISHING)
    connection.execute(update(resumable_uploads).where(over).values(state=FINISHED))
    connection.execute(delete(upload_parts).where(upload_parts.c.upload_id == upload_id))


def remove(connection: Connection, upload: ResumableUpload) -> bool:
    """Give it up: nobody is told of it any more; whoever adds to it finds out. False: a job has it, or it is gone."""
    removable = and_(_upload.id == upload.id, _upload.state.in_((OPEN, FINISHED)))
    return connection.execute(update(resumable_uploads).where(removable).values(state=REMOVED)).rowcount == 1


def drop(connection: Connection, upload: ResumableUpload) -> None:
    """Forget an upload that was given up, and whose bytes are gone."""
    connection.execute(delete(resumable_uploads).where(_upload.id == upload.id, _upload.state == REMOVED))
    connection.execute(delete(upload_parts).where(upload_parts.c.upload_id == upload.id))


def overdue(connection: Connection, now_ms: int, limit: int, after_id: str = "") -> list[ResumableUpload]:
    """Uploads, by id, that nobody needs any more, or whose job is over: at most `limit` from after `after_id` on.

    Those that expired while nobody was adding to them, or whose image will take no data any more; and those given up.
    """
    may_take = and_(images.c.deleted == false(), images.c.status.in_((QUEUED, SAVING, UPLOADING, IMPORTING)))
    works = and_(job_rows.c.id == _upload.job_id, job_rows.c.outcome == jobs.UNFINISHED)
    idle = or_(_upload.token == _FREE, _upload.lease_until_ms <= now_ms)
    wanted = or_(
        _upload.state == REMOVED,
        and_(_upload.state == OPEN, idle, or_(_upload.expires_at_ms <= now_ms, images.c.id.is_(None))),
        and_(_upload.state == FINISHING, job_rows.c.id.is_(None)),
        and_(_upload.state == FINISHED, _upload.expires_at_ms <= now_ms),
    )
    joined = resumable_uploads.outerjoin(images, and_(images.c.id == _upload.image_id, may_take))
    found = (
        select(resumable_uploads)
        .select_from(joined.outerjoin(job_rows, works))
        .where(wanted, _upload.id > after_id)
        .order_by(_upload.id)
        .limit(limit)
    )
    return [_record(row) for row in connection.execute(found)]


def _require_queued(connection: Connection, image_id: str) -> None:
    """Hold the image's row. Raises NotFound, Conflict."""
    if not hold(connection, image_id):
        raise NotFound(f"No image found with ID {image_id}")
    status = connection.execute(select(images.c.status).where(images.c.id == image_id)).scalar()
    if status != QUEUED:
        raise Conflict(f"Image {image_id} is {status}: it takes data only while it is queued.")


def _ours(upload: ResumableUpload) -> ColumnElement[bool]:
    return and_(_upload.id == upload.id, _upload.token == upload.token, _upload.state == OPEN)


def _change(connection: Connection, upload: ResumableUpload, values: Mapping[str, Any]) -> None:
    changed = update(resumable_uploads).where(_ours(upload)).values(dict(values))
    if connection.execute(changed).rowcount != 1:
        raise _lost(upload)


def _require_ours(connection: Connection, upload: ResumableUpload) -> None:
    """Raises Gone unless it is, until the transaction ends."""
    if connection.execute(select(_upload.id).where(_ours(upload)).with_for_update()).first() is None:
        raise _lost(upload)


def _lost(upload: ResumableUpload) -> Gone:
    return Gone(f"The upload {upload.id} was given up, or is taken up by another request.")


def _drop(connection: Connection, upload_id: str) -> None:
    connection.execute(delete(resumable_uploads).where(_upload.id == upload_id))
    connection.execute(delete(upload_parts).where(upload_parts.c.upload_id == upload_id))


def _values(upload: ResumableUpload) -> dict[str, Any]:
    return {name: getattr(upload, name) for name in ResumableUpload.__slots__}


def _record(row: Row[Any]) -> ResumableUpload:
    return ResumableUpload(**{name: getattr(row, name) for name in ResumableUpload.__slots__})


def _part(row: Row[Any]) -> Part:
    location = Location(row.store, row.uri, msgspec.json.decode(row.meta_data))
    return Part(row.number, row.object_key, location, row.size_bytes)


def _text(values: Mapping[str, Any]) -> str:
    return msgspec.json.encode(dict(values)).decode()
