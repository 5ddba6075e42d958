"""A piece is added to an upload, and how far uploads are (tus 1.0: PATCH and HEAD)."""

import hashlib
import logging
import zlib
from typing import Protocol

from blick.db import resumable_uploads
from blick.model.blob import Digests
from blick.model.context import RequestContext
from blick.model.errors import (
    BlickError,
    BodyIncomplete,
    ChecksumMismatch,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    LimitExceeded,
    Locked,
    UnsupportedMediaType,
)
from blick.model.image import QUEUED, Image
from blick.model.resumable_upload import FINAL, OPEN, WHOLE, Checksum, Piece, Progress, ResumableUpload
from blick.ops.resumable_uploads import content as contents
from blick.ops.resumable_uploads import finish, housekeeping, lookup
from blick.ops.resumable_uploads.content import Content
from blick.ops.resumable_uploads.holding import Hold, held, released
from blick.ops.services import Services
from blick.ops.uploads_here import Running
from blick.stream.body import RequestBody
from blick.stream.hashing import Hashing
from blick.stream.inspect import Inspection
from blick.stream.pump import Feed, salvage

_log = logging.getLogger(__name__)

# A client that asks how far a finished upload is wants to hear that it went well; so long it waits for that.
_ASKING_PATIENCE_S = 20.0


async def progress(services: Services, context: RequestContext, image_id: str, upload_id: str) -> Progress:
    """How far the upload is. One that is complete, and was not given to its image because the server died, is now.

    Raises NotFound, Forbidden, Gone (expired; what came was refused in the end), Locked (a request adds to it), and
    what finishing it raises.
    """
    image = await lookup.image_for(services, context, image_id)
    upload = await lookup.find(services, image.id, upload_id)
    if upload.state == OPEN:
        upload = await released(services, upload)
    if upload.state == OPEN:
        there_bytes = await contents.offset_bytes(services, upload)
        if upload.kind != WHOLE or there_bytes != upload.length_bytes:
            return Progress(upload, there_bytes, upload.length_bytes, upload.expires_at_ms)
        upload = await finish_complete(services, context, image, upload)
    try:
        await finish.outcome(services, upload, _ASKING_PATIENCE_S)
    except BlickError as error:
        raise Gone(f"The data that was uploaded was not taken: {error}") from error
    return Progress(upload, upload.offset_bytes, upload.length_bytes, upload.expires_at_ms)


async def finish_complete(
    services: Services, context: RequestContext, image: Image, upload: ResumableUpload
) -> ResumableUpload:
    """Finish an upload to which nothing is to come any more, whoever did not do that; gives it as it is.

    Raises Locked, NotFound, Conflict, Gone, StoreError, ServiceUnavailable.
    """
    async with held(services, upload) as hold, contents.opened(services, hold) as content:
        if content.size_bytes != hold.upload.length_bytes:
            raise Conflict(f"The upload {upload.id} is not complete any more.")
        await content.flush()
        running = services.uploads_here.take(upload.id, content.size_bytes)
        return await finish.finish(services, context, image, hold, content.size_bytes, _digests(running))


async def append(
    services: Services, context: RequestContext, image_id: str, upload_id: str, piece: Piece, body: RequestBody
) -> Progress:
    """Add what comes; with the last piece the image gets its data, as by one upload, and this waits for that.

    What came before the body broke off is kept, unless the piece has a checksum. Raises NotFound, Forbidden (one made
    of parts), Gone, Conflict (another offset; the image takes no data any more), Locked, LimitExceeded (longer than
    announced, quota), Invalid, ChecksumMismatch, UnsupportedMediaType (content), BodyIncomplete, StoreError.
    """
    image = await lookup.image_for(services, context, image_id)
    upload = await lookup.find(services, image.id, upload_id)
    if upload.kind == FINAL:
        raise Forbidden("An upload that was made of others takes no data.")
    if upload.state != OPEN:
        return await _ended(services, upload, piece)
    if image.status != QUEUED:
        raise Conflict(f"Image {image.id} is {image.status}: it takes data only while it is queued.")
    try:
        async with held(services, upload) as hold:
            reached = await _Appending(services, context, image, hold, piece).run(body)
    except UnsupportedMediaType:
        # Whatever else comes, it is not what the image is to be.
        await housekeeping.give_up(services, upload)
        raise
    if reached.upload.state != OPEN:
        await finish.outcome(services, reached.upload)
    return reached


async def _ended(services: Services, upload: ResumableUpload, piece: Piece) -> Progress:
    """To a client that did not hear that its last piece was taken."""
    if piece.offset_bytes != upload.length_bytes or piece.size_bytes != 0:
        raise Conflict(f"The upload {upload.id} is complete.")
    await finish.outcome(services, upload)
    return Progress(upload, upload.offset_bytes, upload.length_bytes, upload.expires_at_ms)


class _Appending:
    """One piece on its way into an upload that is ours."""

    def __init__(self, services: Services, context: RequestContext, image: Image, hold: Hold, piece: Piece) -> None:
        self._services = services
        self._context = context
        self._image = image
        self._hold = hold
        self._piece = piece
        self._length_bytes = hold.upload.length_bytes
        self._room: lookup.Room | None = None

    async def run(self, body: RequestBody) -> Progress:
        """Take it. Raises as `append` does."""
        checked = self._piece.checksum is not None
        async with contents.opened(self._services, self._hold, may_cut=checked) as content:
            if self._piece.offset_bytes != content.size_bytes:
                offset_bytes = content.size_bytes
                raise Conflict(f"The upload {self._hold.upload.id} goes on at {offset_bytes}, nowhere else.")
            await self._learn_length(content.size_bytes)
            self._require_fitting(content.size_bytes)
            await self._require_quota(content.size_bytes)
            running = await self._receive(body, content)
            return await self._settle(content, running)

    async def _learn_length(self, offset_bytes: int) -> None:
        total_bytes = self._piece.total_bytes
        if total_bytes is None or total_bytes == self._length_bytes:
            return
        if self._length_bytes is not None:
            raise Invalid(f"The upload is {self._length_bytes} bytes long, and that cannot be changed.")
        if total_bytes < offset_bytes:
            raise Invalid(f"The upload has {offset_bytes} bytes already.")
        lookup.require_allowed(self._services, total_bytes)
        await self._services.database.write(resumable_uploads.set_length, self._hold.upload, total_bytes)
        self._length_bytes = total_bytes

    @property
    def _most_bytes(self) -> int:
        """How long the upload may become."""
        cap_bytes = self._services.settings.quotas.image_size_cap_bytes
        return cap_bytes if self._length_bytes is None else self._length_bytes

    def _require_fitting(self, offset_bytes: int) -> None:
        if self._piece.size_bytes is not None and offset_bytes + self._piece.size_bytes > self._most_bytes:
            raise LimitExceeded(self._too_long)

    @property
    def _too_long(self) -> str:
        return f"The data is longer than the {self._most_bytes} bytes that the upload may have."

    async def _require_quota(self, offset_bytes: int) -> None:
        """One whose length was known at the beginning was asked about then; others may have grown since."""
        coming_bytes = offset_bytes + (self._piece.size_bytes or 0)
        if self._hold.upload.length_bytes is None:
            coming_bytes = self._length_bytes or coming_bytes
        elif self._piece.size_bytes == 0:
            return
        self._room = await lookup.require_quota(
            self._services, self._context, self._image, coming_bytes, self._hold.upload.id
        )

    async def _receive(self, body: RequestBody, content: Content) -> Running | None:
        """Take the body; gives what was computed over everything so far, if that is known."""
        offset_bytes, checksum = content.size_bytes, self._piece.checksum
        running = self._running(offset_bytes)
        before = running.hashes.copy() if running is not None and checksum is not None else None
        check = _Check(checksum) if checksum is not None else None
        if check is not None:
            await self._services.database.write(resumable_uploads.begin_unverified, self._hold.upload, offset_bytes)
        try:
            await self._salvage(body, content, running, check)
            if check is not None:
                check.require_match()
        except (BodyIncomplete, Locked, LimitExceeded, ChecksumMismatch):
            if check is not None:
                await content.cut(offset_bytes)
                running = Running(before, self._formats, None, offset_bytes) if before is not None else None
            await self._note(content, running)
            raise
        return running

    def _running(self, offset_bytes: int) -> Running | None:
        """The hashes up to here. None: an earlier part was not seen by this process, so it has to be read again."""
        upload = self._hold.upload
        if upload.kind != WHOLE:
            return None
        if offset_bytes:
            running = self._services.uploads_here.take(upload.id, offset_bytes)
            if running is not None and running.formats != self._formats:
                running.inspection = None  # the end judges by what the image is then
            return running
        algorithm = self._image.os_hash_algo or self._services.settings.api.hashing_algorithm
        return Running(Hashing(algorithm).begin(), self._formats, self._inspection())

    @property
    def _formats(self) -> tuple[str | None, str | None]:
        return self._image.disk_format, self._image.container_format

    def _inspection(self) -> Inspection:
        formats = self._services.settings.image_format
        return Inspection(self._image.disk_format or "", self._image.container_format or "", formats)

    async def _salvage(
        self, body: RequestBody, content: Content, running: Running | None, check: "_Check | None"
    ) -> None:
        feeds: list[Feed] = []
        if running is not None:
            feeds += [running.hashes.md5.update, running.hashes.second.update]
            if running.inspection is not None:
                feeds.append(running.inspection.feed)
        if check is not None:
            feeds.append(check.update)

        async def read(buffer: memoryview) -> int:
            return await self._hold.transfer.read(body, buffer)

        most_bytes, over = self._most_bytes, self._too_long
        if self._room is not None and self._room.most_bytes < most_bytes:
            most_bytes, over = self._room.most_bytes, self._room.over
        try:
            await salvage(
                read,
                content.write,
                feeds,
                most_bytes=most_bytes - content.size_bytes,
                over=over,
                threads=self._services.threads,
            )
        finally:
            if running is not None:
                running.end_bytes = content.size_bytes

    async def _note(self, content: Content, running: Running | None) -> None:
        """Keep what came before it broke off. Nobody is told of it here: a client that comes back asks."""
        await content.flush()
        await self._give_back(content.size_bytes)
        self._keep(running)
        _log.info(
            "the upload %s to image %s was broken off at %d", self._hold.upload.id, self._image.id, content.size_bytes
        )

    async def _settle(self, content: Content, running: Running | None) -> Progress:
        await content.flush()
        upload, size_bytes = self._hold.upload, content.size_bytes
        if upload.kind == WHOLE and size_bytes == self._length_bytes:
            finished = await finish.finish(
                self._services, self._context, self._image, self._hold, size_bytes, _digests(running)
            )
            return Progress(finished, size_bytes, size_bytes, finished.expires_at_ms)
        expires_at_ms = await self._give_back(size_bytes)
        self._keep(running)
        return Progress(upload, size_bytes, self._length_bytes, expires_at_ms)

    async def _give_back(self, offset_bytes: int) -> int:
        expires_at_ms = lookup.expires_at_ms(self._services)
        values = {"offset_bytes": offset_bytes, "unverified_from_bytes": None, "expires_at_ms": expires_at_ms}
        await self._hold.settle(values)
        return expires_at_ms

    def _keep(self, running: Running | None) -> None:
        if running is not None:
            self._services.uploads_here.keep(self._hold.upload.id, running)


def _digests(running: Running | None) -> Digests | None:
    return running.hashes.digests(running.end_bytes) if running is not None else None


class _Hash(Protocol):
    def update(self, data: memoryview, /) -> None: ...
    def digest(self) -> bytes: ...


class _Crc32:
    """CRC-32 as tus has it: four bytes, the most significant first."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: memoryview, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


class _Check:
    """What a piece comes to, held against its checksum."""

    def __init__(self, checksum: Checksum) -> None:
        self._wanted = checksum
        algorithm = checksum.algorithm
        self._hash: _Hash = _Crc32() if algorithm == "crc32" else hashlib.new(algorithm, usedforsecurity=False)

    def update(self, data: memoryview) -> None:
        """See the next bytes."""
        self._hash.update(data)

    def require_match(self) -> None:
        """Raises ChecksumMismatch."""
        if self._hash.digest() != self._wanted.digest:
            raise ChecksumMismatch(f"The {self._wanted.algorithm} of the data is not the one in Upload-Checksum.")
