"""One import under way: what all of its steps share, and how they note what they have done."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Final

from blick.db import images, imports, jobs
from blick.db.jobs import Job
from blick.jobs.progress import Progress
from blick.model.context import RequestContext
from blick.model.errors import BlickError, Gone
from blick.model.image import Image
from blick.model.import_job import ImportState, ImportWork
from blick.ops.imports.plugins.legacy_conversion import LegacyConversion
from blick.ops.imports.plugins.plugin import Plugin, Tell
from blick.ops.imports.plugins.registry import plugins_of
from blick.ops.imports.start import moment
from blick.ops.services import Services

_TELL_EVERY_S: Final = 1.0


@dataclass(slots=True)
class CurrentImport:
    """Not shared between processes; `step` and `state` are as the database has them."""

    services: Services
    job: Job
    work: ImportWork
    context: RequestContext
    step: str
    state: ImportState
    copied_bytes: int = 0
    progress: Progress = field(init=False)
    _moved_bytes: int = 0
    _to_move_bytes: int | None = None
    _tell: Tell = field(init=False)
    _teller: "asyncio.Task[None]" = field(init=False)

    def __post_init__(self) -> None:
        self.progress = Progress(self.services.database, self.job, self.services.now_ms, self._sign_of_life)

    @classmethod
    async def of(cls, services: Services, job: Job) -> "CurrentImport":
        """The import that `job` is about, with what it needs of its caller. Raises ServiceUnavailable."""
        work = ImportWork.from_payload(job.payload)
        sealed = await services.database.read(jobs.secret_of, job) if work.has_secret else None
        context = work.context(services.sealer.open(sealed) if sealed else None)
        return cls(services, job, work, context, job.step, ImportState.from_json(job.state))

    @property
    def plugins(self) -> Sequence[Plugin]:
        """Those that the operator chose; for the old kind of task, its conversion alone."""
        settings = self.services.settings
        if self.work.new_image is None:
            return plugins_of(settings)
        wanted = settings.imports.legacy_convert_to
        return () if wanted is None else (LegacyConversion(wanted),)

    @property
    def is_resumed(self) -> bool:
        """Has somebody been at it before, who may have left something? Being given back counts as no attempt."""
        return self.job.attempts > 1 or self.job.step != ""

    @property
    def is_settled(self) -> bool:
        """Has every store the bytes, or failed, and at least one has them? Then all that is left is to say so."""
        state = self.state
        return bool(state.done) and {*state.done, *state.failed} >= set(self.work.stores)

    async def image(self) -> Image:
        """The image as it is now. Raises Gone if it is not there any more."""
        image = await self.services.database.read(images.get, self.work.image_id, None)
        if image is None:
            raise Gone(imports.ABORTED)
        return image

    async def advance(
        self,
        step: str,
        state: ImportState,
        values: Mapping[str, Any] | None = None,
        properties: Mapping[str, str | None] | None = None,
    ) -> None:
        """Note that everything before `step` is done, with what that gave the image. Raises Gone."""
        await self.services.database.write(
            partial(imports.advance, values=values, properties=properties),
            self.job,
            self.work,
            step,
            state.json(),
            moment(self.services),
        )
        self.step, self.state = step, state

    @asynccontextmanager
    async def telling(self, phase: str, total_bytes: int | None = None) -> AsyncIterator[Tell]:
        """Gives what notes how far `phase` is, without waiting; people are told every second, from the first one on.

        What is over sooner is not told: nobody could read it, and each telling is a transaction.
        """
        known: tuple[int, int | None] = (0, total_bytes)

        def tell(done_bytes: int, total_bytes: int | None) -> None:
            nonlocal known
            known = (done_bytes, total_bytes)

        async def tell_on() -> None:
            while True:
                await asyncio.sleep(_TELL_EVERY_S)
                await self.progress.note(phase, *known)

        self._teller = asyncio.create_task(tell_on(), name=f"progress of job {self.job.id}")
        try:
            yield tell
        finally:
            self._teller.cancel()
            await asyncio.wait({self._teller})
            error = None if self._teller.cancelled() else self._teller.exception()
            # A job that was lost meanwhile says so at its next step.
            if error is not None and not isinstance(error, BlickError):
                raise error

    @asynccontextmanager
    async def moving(self, phase: str, total_bytes: int | None) -> AsyncIterator[None]:
        """Inside, `moved` tells how far `phase` is, which moves so many bytes."""
        self._moved_bytes, self._to_move_bytes = 0, total_bytes
        async with self.telling(phase, total_bytes) as self._tell:
            yield

    async def moved(self, count: int) -> None:
        """So many more bytes have moved. Raises Gone once the job is not ours any more."""
        self._moved_bytes += count
        self._tell(self._moved_bytes, self._to_move_bytes)
        if self._teller.done():
            self._teller.result()

    def _sign_of_life(self, connection: Any, now: datetime) -> None:
        imports.sign_of_life(connection, self.work, now, self.copied_bytes)
