"""The JSON that is sent: records in, documents out (spec: image-model §2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from blick.db.jobs import Job
from blick.model.context import RequestContext
from blick.model.image import DEACTIVATED, HIDDEN_PROPERTIES, Image, ImageLocation
from blick.model.location import without_secrets
from blick.model.member import Member
from blick.model.task import Task
from blick.ops.jobs import status_of
from blick.ops.services import Services


def stamp(moment: datetime) -> str:
    """`YYYY-MM-DDTHH:MM:SSZ`, for a naive UTC time."""
    return moment.isoformat(timespec="seconds") + "Z"


@dataclass(frozen=True, slots=True)
class ImageRenderer:
    """How images look in one deployment, for one caller; made once per answer."""

    shows_locations: bool
    shows_direct_url: bool
    multi_store: bool
    caller_is_admin: bool
    declared_properties: frozenset[str]
    services: Services

    def document(self, image: Image) -> dict[str, Any]:
        """One image, in the customary order of keys."""
        document: dict[str, Any] = {
            name: value if value is not None or name in self.declared_properties else ""
            for name, value in image.properties.items()
            if name not in HIDDEN_PROPERTIES
        }
        path = f"/v2/images/{image.id}"
        document |= {
            "name": image.name,
            "disk_format": image.disk_format,
            "container_format": image.container_format,
            "visibility": image.visibility,
            "size": image.size,
            "virtual_size": image.virtual_size,
            "status": image.status,
            "checksum": image.checksum,
            "protected": image.protected,
            "min_ram": image.min_ram,
            "min_disk": image.min_disk,
            "owner": image.owner,
            "os_hidden": image.os_hidden,
            "os_hash_algo": image.os_hash_algo,
            "os_hash_value": image.os_hash_value,
            "id": image.id,
            "created_at": stamp(image.created_at),
            "updated_at": stamp(image.updated_at),
        }
        places: Sequence[ImageLocation] = ()
        if self.shows_locations or self.shows_direct_url or self.multi_store:
            places = self._places(image)
        if self.shows_locations:
            document["locations"] = [{"url": place.uri, "metadata": dict(place.metadata)} for place in places]
        if self.shows_direct_url and places:
            document["direct_url"] = places[0].uri
        document["tags"] = image.tags
        document["self"] = path
        document["file"] = f"{path}/file"
        document["schema"] = "/v2/schemas/image"
        if self.multi_store and places:
            document["stores"] = ",".join([str(place.metadata.get("store", "")) for place in places])
        return document

    def _places(self, image: Image) -> Sequence[ImageLocation]:
        """Where the caller may know that the bytes lie, in the order in which they are read."""
        if image.status == DEACTIVATED and not self.caller_is_admin:
            return ()
        return self.services.stores.ordered(image.locations)


def image_renderer(services: Services, context: RequestContext) -> ImageRenderer:
    """The renderer for answers to this caller."""
    api = services.settings.api
    return ImageRenderer(
        shows_locations=api.show_multiple_locations,
        shows_direct_url=api.show_image_direct_url,
        multi_store=services.settings.stores.multi_store,
        caller_is_admin=context.is_admin,
        declared_properties=frozenset(services.image_schema.declared),
        services=services,
    )


def member_document(member: Member) -> dict[str, Any]:
    """One membership."""
    return {
        "member_id": member.member_id,
        "image_id": member.image_id,
        "status": member.status,
        "created_at": stamp(member.created_at),
        "updated_at": stamp(member.updated_at),
        "schema": "/v2/schemas/member",
    }


def members_document(members: Sequence[Member]) -> dict[str, Any]:
    """All memberships of an image."""
    return {"members": [member_document(member) for member in members], "schema": "/v2/schemas/members"}


def task_document(task: Task) -> dict[str, Any]:
    """One task."""
    path = f"/v2/tasks/{task.id}"
    document = {
        "id": task.id,
        "input": task.input,
        "type": task.type,
        "status": task.status,
        "owner": task.owner,
        "message": task.message,
        "result": task.result,
        "created_at": stamp(task.created_at),
        "updated_at": stamp(task.updated_at),
        "self": path,
        "schema": "/v2/schemas/task",
    }
    known = {"image_id": task.image_id, "request_id": task.request_id, "user_id": task.user_id}
    document |= {name: value for name, value in known.items() if value is not None}
    return document if task.expires_at is None else {**document, "expires_at": stamp(task.expires_at)}


def job_document(job: Job) -> dict[str, Any]:
    """One job. Of what it was given only what may be shown: no secrets, no caller, no credentials in a URI."""
    given = job.payload
    uri = given.get("url") or (given.get("arguments") or {}).get("uri")
    waits = job.is_free and not job.outcome
    return {
        "id": job.id,
        "kind": job.kind,
        "status": status_of(job),
        "image_id": job.image_id,
        "project_id": job.project_id,
        "method": given.get("method"),
        "source": without_secrets(uri) if isinstance(uri, str) else None,
        "stores": given.get("stores"),
        "step": job.step,
        "phase": job.phase,
        "bytes_done": job.bytes_done,
        "bytes_total": job.bytes_total,
        "attempts": job.attempts,
        "cancel_requested": job.cancel_requested,
        "message": job.message,
        "last_error": job.last_error,
        "node": job.node,
        "priority": job.priority,
        "created_at": _stamp_of_ms(job.created_at_ms),
        "not_before": _stamp_of_ms(job.available_at_ms) if waits else None,
        "ended_at": None if job.ended_at_ms is None else _stamp_of_ms(job.ended_at_ms),
        "self": f"/v2/jobs/{job.id}",
    }


def _stamp_of_ms(moment_ms: int) -> str:
    return stamp(datetime.fromtimestamp(moment_ms / 1000, UTC).replace(tzinfo=None))


_IN_LISTS = ("id", "type", "status", "owner", "created_at", "updated_at", "self", "schema", "expires_at")


def task_line(task: Task) -> dict[str, Any]:
    """One task of a list: no more than clients have always got there."""
    document = task_document(task)
    return {name: document[name] for name in _IN_LISTS if name in document}
