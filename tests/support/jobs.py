"""Jobs in the background: those of a worker at work, and those that are over before any has seen them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from sqlalchemy import Connection

from blick.db import jobs
from blick.jobs.worker import Worker


def fail(connection: Connection, job_id: str, now_ms: int, message: str) -> None:
    """Somebody took the job, and it failed with that message."""
    job = jobs.get(connection, job_id)
    assert job is not None
    ours = jobs.claim(connection, job, "token", "holder", now_ms)
    assert ours is not None
    jobs.finish(connection, ours, now_ms, jobs.FAILURE, message)


@asynccontextmanager
async def at_work(worker: Worker) -> AsyncIterator[None]:
    """Inside, the worker does what is due."""
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
