"""How long jobs are kept: those that are over, and those that nobody comes for."""

import logging

from blick.db import jobs
from blick.ops.services import Services

_log = logging.getLogger(__name__)

_HOUR_MS = 3_600_000
_STRANDED = "The only node that could have done it did not"


async def put_away(services: Services) -> None:
    """Forget what has been over for as long as a task is kept; end what waits for a node that does not come.

    Raises ServiceUnavailable.
    """
    kept, now_ms = services.settings.imports, services.now_ms()
    forgotten = await services.database.write(jobs.forget, now_ms - kept.task_time_to_live_h * _HOUR_MS)
    if forgotten:
        _log.info("%d job(s) are forgotten that were over %d h ago", forgotten, kept.task_time_to_live_h)
    stranded = await services.database.write(
        jobs.cancel_stranded, now_ms - kept.staging_ttl_h * _HOUR_MS, now_ms, f"{_STRANDED} in {kept.staging_ttl_h} h."
    )
    if stranded:
        _log.warning(
            "%d job(s) are to be cancelled: the only node that has their data did not take them in %d h",
            stranded,
            kept.staging_ttl_h,
        )
