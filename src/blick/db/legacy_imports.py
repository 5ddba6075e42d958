"""The beginning of an import that makes its image itself: the old task type `import` (spec: import-and-tasks §11.3).

    begin → create → … (blick.db.imports)

A task promises it; there is no image, and so no lock, before the job begins.
"""

from sqlalchemy import Connection

from blick.db import images, import_lock, jobs, tasks
from blick.db.jobs import Job, NewJob
from blick.db.moment import Moment
from blick.model.image import Image
from blick.model.import_job import ImportWork
from blick.model.quota import Quota
from blick.model.task import Task


def begin(connection: Connection, task: Task, job: NewJob, moment: Moment) -> None:
    """Promise it: task and job."""
    tasks.add(connection, task)
    jobs.add(connection, job, moment.ms)


def create(
    connection: Connection, job: Job, work: ImportWork, image: Image, quota: Quota | None, step: str, moment: Moment
) -> None:
    """The image is there, and is this import's to change. Raises LimitExceeded, Gone."""
    jobs.advance(connection, job, step)
    images.insert_image(connection, image, quota)
    import_lock.take(connection, work.image_id, work.id, moment.now)
