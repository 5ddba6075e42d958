"""What the store asks of Cinder; blocking, from any thread. Errors of the libraries become store errors here.

Volumes are named `image-<image id>`. One that is flagged read-only is a whole image: the flag is set last of all.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from cinderclient import exceptions
from cinderclient.client import Client
from keystoneauth1 import exceptions as auth_exceptions
from keystoneauth1.identity.v3 import ApplicationCredential, Password
from keystoneauth1.session import Session
from keystoneauth1.token_endpoint import Token

from blick.model.context import RequestContext
from blick.model.errors import (
    CallerRefused,
    DataInUse,
    DataNotFound,
    Invalid,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from blick.stores.cinder.options import GIB, Account, CinderOptions

# 3.54: attachments are made for reading or for writing.
_MICROVERSION = "3.54"
_TIMEOUT_S = 60
_PAGE = 100
_PREFIX = "image-"
DISCARDED = "blick_discarded"
"""Metadata of a volume that is to be removed as soon as nobody has it open: it never becomes an image."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume as Cinder showed it."""

    id: str
    key: str | None
    status: str
    room_bytes: int
    metadata: Mapping[str, str] = field(repr=False)
    created_at_s: float | None

    @property
    def is_whole(self) -> bool:
        """Whether it is an image, and not one that is being written or was left over."""
        return self.metadata.get("readonly", "").lower() == "true" and DISCARDED not in self.metadata

    @property
    def is_going(self) -> bool:
        """Whether it is being removed."""
        return self.status == "deleting"

    @property
    def size_bytes(self) -> int:
        """How much of it is the image."""
        said = self.metadata.get("image_size", "")
        return int(said) if said.isascii() and said.isdecimal() else self.room_bytes


class CinderApi:
    """The volumes of one account: the service's, or that of a caller."""

    def __init__(self, store: str, client: Callable[[], Any], owner: str | None, *, is_callers: bool) -> None:
        """`client` gives the library's; it may have to ask Keystone for that."""
        self._store = store
        self._library = client
        self._owner = owner
        self._refusal: type[StoreError] = CallerRefused if is_callers else StoreDenied

    def probe(self, volume_type: str | None) -> None:
        """Ask for a sign of life. Raises StoreUnavailable where there is no such volume type."""
        with self._errors():
            types = {name for kind in self._client.volume_types.list() for name in (kind.name, kind.id)}
        if volume_type is not None and volume_type not in types:
            raise StoreUnavailable(self._store, f"there is no volume type {volume_type}")

    def look(self, volume_id: str) -> Volume:
        """The volume as it is. Raises DataNotFound."""
        with self._errors():
            return _volume(self._client.volumes.get(volume_id))

    def show(self, volume_id: str) -> Volume:
        """Raises DataNotFound, also for one that is being removed."""
        volume = self.look(volume_id)
        if volume.is_going:
            raise DataNotFound(self._store)
        return volume

    def find(self, key: str) -> list[Volume]:
        """Every volume for the image `key` that is not being removed."""
        with self._errors():
            found = self._client.volumes.list(search_opts={"name": _PREFIX + key})
        volumes = map(_volume, found)
        return [volume for volume in volumes if volume.key == key and not volume.is_going]

    def page(self, marker: str | None) -> tuple[list[Volume], str | None]:
        """Some of the account's volumes that are for images, and what to ask for the next ones with."""
        with self._errors():
            found = self._client.volumes.list(marker=marker, limit=_PAGE)
        volumes = [volume for volume in map(_volume, found) if volume.key is not None and not volume.is_going]
        return volumes, found[-1].id if len(found) == _PAGE else None

    def create(self, key: str, size_gib: int, volume_type: str | None) -> str:
        """Begin to make a volume; gives its id. Raises StoreFull over a quota."""
        metadata = {"glance_image_id": key, "image_size": str(size_gib * GIB), "image_owner": self._owner or ""}
        with self._errors():
            made = self._client.volumes.create(size_gib, name=_PREFIX + key, metadata=metadata, volume_type=volume_type)
        return str(made.id)

    def extend(self, volume_id: str, size_gib: int) -> None:
        """Begin to make it larger. Raises StoreFull."""
        with self._errors(bad_request=StoreFull):
            self._client.volumes.extend(volume_id, size_gib)

    def set_metadata(self, volume_id: str, metadata: Mapping[str, str]) -> None:
        """Add to the metadata."""
        with self._errors():
            self._client.volumes.set_metadata(volume_id, dict(metadata))

    def make_read_only(self, volume_id: str) -> None:
        """Declare it a whole image. Refused where it is being removed."""
        with self._errors():
            self._client.volumes.update_readonly_flag(volume_id, True)

    def delete(self, volume_id: str) -> None:
        """Begin to remove it. Raises DataNotFound, DataInUse."""
        with self._errors(bad_request=DataInUse):
            self._client.volumes.delete(volume_id)

    def attach(self, volume_id: str, mode: str) -> str:
        """Reserve the volume for us; gives the attachment's id. Raises DataInUse where somebody else has it."""
        with self._errors(bad_request=DataInUse):
            return str(self._client.attachments.create(volume_id, None, mode=mode)["id"])

    def connect(self, attachment_id: str, connector: Mapping[str, Any]) -> dict[str, Any]:
        """Tell who attaches; gives how to."""
        with self._errors():
            answer = self._client.attachments.update(attachment_id, dict(connector))
        return dict(answer.connection_info)

    def complete(self, attachment_id: str) -> None:
        """It is attached now."""
        with self._errors():
            self._client.attachments.complete(attachment_id)

    def detach(self, attachment_id: str) -> None:
        """End an attachment. Raises DataNotFound."""
        with self._errors():
            self._client.attachments.delete(attachment_id)

    def attachments_of(self, volume_id: str) -> list[str]:
        """The ids of a volume's attachments, of those too that are not complete."""
        with self._errors():
            return [str(one.id) for one in self._client.attachments.list(search_opts={"volume_id": volume_id})]

    @property
    def _client(self) -> Any:
        return self._library()

    @contextmanager
    def _errors(self, bad_request: type[StoreError] = StoreError) -> Iterator[None]:
        try:
            yield
        except exceptions.NotFound as error:
            raise DataNotFound(self._store) from error
        except (exceptions.Unauthorized, exceptions.Forbidden, auth_exceptions.Unauthorized) as error:
            raise self._refusal(self._store, "Cinder refuses these credentials") from error
        except exceptions.OverLimit as error:
            raise StoreFull(self._store, "the project's quota of volumes is used up") from error
        except exceptions.BadRequest as error:
            raise bad_request(self._store) from error
        except exceptions.ClientException as error:
            kind = StoreUnavailable if error.code >= 500 else StoreError
            raise kind(self._store, f"Cinder answered {error.code}") from error
        except (auth_exceptions.ClientException, exceptions.ConnectionError, exceptions.EndpointNotFound) as error:
            raise StoreUnavailable(
                self._store, "Cinder or Keystone does not answer, or is not in the catalog"
            ) from error


def api_of_account(store: str, options: CinderOptions, account: Account) -> Callable[[str | None], CinderApi]:
    """Makes what acts for the service's account, given the owner of new images. Connects to nothing yet."""
    client = cache(lambda: _client(options, _session(options, _plugin(account))))
    return lambda owner: CinderApi(store, client, owner, is_callers=False)


def api_of_caller(store: str, options: CinderOptions, caller: RequestContext) -> CinderApi:
    """What acts for a caller. Raises CallerRefused where he has no token or his catalog no Cinder."""
    try:
        url: str | None
        if options.endpoint_template is not None:
            url = _filled_in(options.endpoint_template, caller.project_id or "")
        else:
            catalog = caller.service_catalog
            url = catalog.url(options.service_type, options.interface, options.region) if catalog else None
    except Invalid as error:
        raise CallerRefused(store, str(error)) from error
    if caller.auth_token is None or url is None:
        raise CallerRefused(store, "volumes are kept in users' projects, and the caller's token or catalog is missing")
    session = _session(options, Token(url, caller.auth_token))
    client = Client(_MICROVERSION, session=session, connect_retries=options.http_retries)
    return CinderApi(store, lambda: client, caller.project_id, is_callers=True)


def _session(options: CinderOptions, plugin: Any) -> Session:
    return Session(auth=plugin, verify=options.verify and (options.ca_file or True), timeout=_TIMEOUT_S)


def _plugin(account: Account) -> Any:
    if account.credential_id:
        return ApplicationCredential(
            account.auth_url,
            application_credential_id=account.credential_id,
            application_credential_secret=account.credential_secret,
        )
    return Password(
        account.auth_url,
        username=account.user_name,
        password=account.password,
        project_name=account.project_name,
        user_domain_name=account.user_domain_name,
        project_domain_name=account.project_domain_name,
    )


def _client(options: CinderOptions, session: Session) -> Any:
    template = options.endpoint_template
    override = None if template is None else _filled_in(template, str(session.get_project_id()))
    return Client(
        _MICROVERSION,
        session=session,
        service_type=options.service_type,
        service_name=options.service_name,
        endpoint_type=options.interface,
        region_name=options.region,
        os_endpoint=override,
        connect_retries=options.http_retries,
    )


def _filled_in(template: str, project_id: str) -> str:
    for name in ("project_id", "tenant_id", "tenant"):
        template = template.replace(f"%({name})s", project_id)
    return template


def _volume(shown: Any) -> Volume:
    metadata = {str(name): str(value) for name, value in (shown.metadata or {}).items()}
    key = metadata.get("glance_image_id")
    return Volume(
        id=str(shown.id),
        key=key if key is not None and shown.name == _PREFIX + key else None,
        status=str(shown.status),
        room_bytes=int(shown.size) * GIB,
        metadata=metadata,
        created_at_s=_seconds(shown.created_at),
    )


def _seconds(text: Any) -> float | None:
    return datetime.fromisoformat(f"{text}+00:00").timestamp() if text else None
