"""What an import is to do, as its job carries it from the request to the end (spec: import-and-tasks §1)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from blick.model.context import RequestContext
from blick.model.job_caller import JobSecret, from_payload

IMAGE_IMPORT: Final = "api_image_import"
"""The kind of the job, and the type of the task that tells of it."""
IMAGE_UPLOAD: Final = "image_upload"
"""The kind of the job that gives an image the data of a finished resumable upload; no task tells of it."""

GLANCE_DIRECT: Final = "glance-direct"
WEB_DOWNLOAD: Final = "web-download"
COPY_IMAGE: Final = "copy-image"
GLANCE_DOWNLOAD: Final = "glance-download"
RESUMABLE_UPLOAD: Final = "resumable-upload"
METHODS: Final = (GLANCE_DIRECT, WEB_DOWNLOAD, COPY_IMAGE, GLANCE_DOWNLOAD)


@dataclass(frozen=True, slots=True)
class Expected:
    """What fetched data has to be, as far as somebody said so; hashes are lower-case hex."""

    size_bytes: int | None = None
    checksum: str | None = None
    os_hash_algo: str | None = None
    os_hash_value: str | None = None


@dataclass(frozen=True, slots=True)
class ImportWork:
    """One import. `id` is that of its job, its task and its lock.

    `arguments` are the method's own: `uri` and what is expected of web-download; `glance_region`, `glance_image_id`,
    `glance_service_interface` and the resolved `endpoint` of glance-download. `stores` are the ids to write to, in
    order, each once.
    """

    id: str
    image_id: str
    method: str
    stores: tuple[str, ...]
    all_stores_must_succeed: bool = True
    arguments: Mapping[str, Any] = field(default_factory=dict)
    caller: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> "ImportWork":
        """What `payload` made."""
        return cls(**{**payload, "stores": tuple(payload["stores"])})

    def payload(self) -> dict[str, Any]:
        """All of it, as JSON may hold it."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {**values, "stores": list(self.stores)}

    def context(self, secret: JobSecret | None) -> RequestContext:
        """The caller, able to call other services if there is a `secret`."""
        return from_payload(self.caller, secret)
