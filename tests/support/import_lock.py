"""What keeps others away from an image while it is imported."""

from datetime import timedelta
from typing import Any

from blick.db import import_lock, tasks
from blick.model.task import Task
from tests.support.service import Service


async def lock(service: Service, image_id: str, age: timedelta = timedelta(0)) -> None:
    """An import of that image that was asked for so long ago, and whose job has not begun."""
    then = service.services.now() - age

    def take(connection: Any) -> None:
        task_id = service.services.new_id()
        task = Task(task_id, "api_image_import", "processing", "p1", image_id, "req", "u", then, then, {})
        tasks.add(connection, task)
        import_lock.take(connection, image_id, task.id, then)

    await service.services.database.write(take)
