"""Jobs in the background that are over before any worker has seen them."""

from sqlalchemy import Connection

from blick.db import jobs


def fail(connection: Connection, job_id: str, now_ms: int, message: str) -> None:
    """Somebody took the job, and it failed with that message."""
    job = jobs.get(connection, job_id)
    assert job is not None
    ours = jobs.claim(connection, job, "token", "holder", now_ms)
    assert ours is not None
    jobs.finish(connection, ours, now_ms, jobs.FAILURE, message)
