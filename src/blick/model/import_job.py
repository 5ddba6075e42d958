"""What an import is to do, as its job carries it from the request to the end (spec: import-and-tasks §1)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from blick.model.blob import Digests, Location
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
    order, each once; only where they `are_named` are they told to people. `has_secret`: the job needs to act in its
    caller's name and has what that takes. `new_image`: the import makes its image itself, and removes it again if it
    fails; this is the input of the task that asks for it.
    """

    id: str
    image_id: str
    method: str
    stores: tuple[str, ...]
    all_stores_must_succeed: bool = True
    arguments: Mapping[str, Any] = field(default_factory=dict)
    caller: Mapping[str, Any] = field(default_factory=dict)
    has_secret: bool = False
    are_named: bool = True
    new_image: Mapping[str, Any] | None = None

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


@dataclass(frozen=True, slots=True)
class SourceData:
    """Where the bytes of an import lie at present, and how many they are. `digests` None: nobody has hashed them."""

    location: Location
    size_bytes: int
    digests: Digests | None = None


@dataclass(frozen=True, slots=True)
class ImportState:
    """What the steps of an import have found out so far; survives whoever does them.

    `done` maps the stores that have the bytes to where they lie there, `failed` are those that did not take them.
    `judged` is what the bytes in the first of them are: those in the others have to be the same. `adopted_by` is the
    store whose object is the staged file itself: no second one may be.
    `error` names the class of the error that ended it (blick.model.errors), for whoever waits for the end.
    """

    source: SourceData | None = None
    done: Mapping[str, str] = field(default_factory=dict)
    failed: tuple[str, ...] = ()
    judged: Digests | None = None
    adopted_by: str | None = None
    error: str | None = None

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> "ImportState":
        """What `json` made; of nothing, the state at the beginning."""
        return cls(
            source=_source_from(state["source"]) if state.get("source") else None,
            done=state.get("done") or {},
            failed=tuple(state.get("failed") or ()),
            judged=Digests(**state["judged"]) if state.get("judged") else None,
            adopted_by=state.get("adopted_by"),
            error=state.get("error"),
        )

    def json(self) -> dict[str, Any]:
        """All of it, as JSON may hold it."""
        return {
            "source": _source_json(self.source) if self.source is not None else None,
            "done": dict(self.done),
            "failed": list(self.failed),
            "judged": _digests_json(self.judged),
            "adopted_by": self.adopted_by,
            "error": self.error,
        }


def _source_from(values: Mapping[str, Any]) -> SourceData:
    digests = Digests(**values["digests"]) if values.get("digests") else None
    return SourceData(Location(values["store"], values["uri"], values["metadata"]), values["size"], digests)


def _source_json(source: SourceData) -> dict[str, Any]:
    return {
        "store": source.location.store,
        "uri": source.location.uri,
        "metadata": dict(source.location.metadata),
        "size": source.size_bytes,
        "digests": _digests_json(source.digests),
    }


def _digests_json(digests: Digests | None) -> dict[str, Any] | None:
    return None if digests is None else {name: getattr(digests, name) for name in digests.__slots__}
