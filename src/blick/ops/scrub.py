"""Deletions that were delayed: carried out when their time has come, or taken back (spec: image-model §10).

The queue is the outbox (`blick.db.outbox`): any number of scrubbers and the service itself share what is in it. Only a
scrubber puts images of this kind in.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta

from blick.db import scrub
from blick.db.outbox import LocationDelete
from blick.model.errors import BlickError
from blick.ops import cleanup
from blick.ops.cleanup import Worked
from blick.ops.services import Services

_log = logging.getLogger(__name__)

_PAGE = 1000
# The option may say 0, which nobody can mean.
_SHORTEST_PAUSE_S = 1
# How long a store may take to give a sign of life.
_PATIENCE_S = 5.0


async def run_once(services: Services, *, put_off_too: bool) -> Worked:
    """Remove the data of every image whose time has come, and whatever else waits in the outbox.

    An image stays `pending_delete` until all of its data is gone. `put_off_too`: try at once what failed before, and
    not just when its next time has come. Raises ServiceUnavailable.
    """
    async with aclosing(_work(services, put_off_too=put_off_too)) as entries:
        worked = await cleanup.work_off(services, entries, services.settings.scrub.pool_size)
    _log.info("scrubbed: %d removed, %d to be tried again", worked.removed, worked.failed)
    return worked


async def run_forever(services: Services) -> None:
    """`run_once` again and again, with the configured pause; until cancelled.

    What goes wrong is logged and the next round tries again. What failed before is tried when its time has come.
    """
    pause_s = max(services.settings.scrub.wakeup_time_s, _SHORTEST_PAUSE_S)
    while True:
        try:
            await services.stores.look_after(_PATIENCE_S)
            await run_once(services, put_off_too=False)
        except BlickError as error:
            _log.error("scrubbing will be tried again in %d s: %s", pause_s, error)
        except Exception:
            _log.exception("scrubbing failed and will be tried again in %d s", pause_s)
        await asyncio.sleep(pause_s)


async def _work(services: Services, *, put_off_too: bool) -> AsyncGenerator[LocationDelete, None]:
    async with aclosing(cleanup.due_deletes(services, put_off_too=put_off_too)) as left:
        async for entry in left:
            yield entry
    deleted_before = services.now() - timedelta(seconds=services.settings.scrub.scrub_time_s)
    last_id = ""
    while page := await services.database.read(scrub.due, deleted_before, last_id, _PAGE):
        for image_id in page:
            for entry in await services.database.write(scrub.begin, image_id, services.now(), services.now_ms()):
                yield entry
        last_id = page[-1]


async def restore(services: Services, image_id: str) -> None:
    """Make a `pending_delete` image `active` again, with its locations, properties, tags and members.

    Quotas are not asked: what was its owner's once is so again. Raises NotFound; Conflict if the image has another
    status, or its data is being removed.
    """
    await services.database.write(scrub.restore, image_id, services.now())
    _log.info("image %s is active again", image_id)
