"""Requests to a container of Azure Blob Storage, through azure-storage-blob; and its errors. Blocking.

The library is told not to send anything again: when to do so is known here.
"""

from collections.abc import Callable
from threading import Event
from typing import Any, TypeVar

from azure.core import MatchConditions
from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential
from azure.core.exceptions import AzureError, HttpResponseError
from azure.storage.blob import BlobClient, BlobProperties, BlobServiceClient, ContainerClient

from blick.model.errors import DataNotFound, RangeInvalid, StoreDenied, StoreError, StoreFull, StoreUnavailable
from blick.stores.azure.lines import AzureLines
from blick.stores.azure.options import AzureOptions
from blick.stores.objects.backend import Place
from blick.stores.objects.retry import sent_again

_CHUNK_BYTES = 4 << 20  # the library asks for a range of that size at a time, and holds it twice

_BY_CODE: dict[str, tuple[type[StoreError], str]] = {
    "ContainerNotFound": (StoreUnavailable, "the container does not exist"),
    "ContainerBeingDeleted": (StoreUnavailable, "the container is being removed"),
    "BlobNotFound": (DataNotFound, ""),
    "InvalidRange": (RangeInvalid, ""),
    "InvalidBlockList": (StoreUnavailable, "the upload was called off, or begun anew, by somebody else"),
    "BlockCountExceedsLimit": (StoreFull, "the server takes no more"),
    "RequestBodyTooLarge": (StoreFull, "the server takes no more"),
}
_BY_STATUS: dict[int, tuple[type[StoreError], str]] = {
    401: (StoreDenied, "the credentials are refused"),
    403: (StoreDenied, "the credentials or the rights do not suffice"),
    404: (DataNotFound, ""),
    412: (RangeInvalid, "the object was changed while it was read"),
    413: (StoreFull, "the server takes no more"),
    416: (RangeInvalid, ""),
    507: (StoreFull, "the server takes no more"),
}
_NEVER = Event()
_Answer = TypeVar("_Answer")


def make_service(options: AzureOptions, lines: AzureLines) -> BlobServiceClient:
    """The library's client for these options; connects nothing."""
    credential: AzureNamedKeyCredential | AzureSasCredential
    if options.key is not None:
        credential = AzureNamedKeyCredential(options.account, options.key)
    else:
        credential = AzureSasCredential(options.sas_token or "")
    return BlobServiceClient(
        options.endpoint,
        credential=credential,
        retry_total=0,
        transport=lines.transport,
        connection_verify=options.ca_file or True,
        max_single_get_size=_CHUNK_BYTES,
        max_chunk_get_size=_CHUNK_BYTES,
    )


class AzureRequests:
    """What is asked of an account for the store `store`. Safe to use from many threads."""

    def __init__(self, store: str, service: BlobServiceClient, lines: AzureLines) -> None:
        self.store = store
        self.lines = lines
        self.service = service

    def blob(self, place: Place) -> BlobClient:
        """The library's handle of an object."""
        return self.service.get_blob_client(place.bucket, place.key)

    def container(self, name: str) -> ContainerClient:
        """The library's handle of a container."""
        return self.service.get_container_client(name)

    def call(self, request: Callable[[], _Answer], ended: Event = _NEVER) -> _Answer:
        """One request, sent again a few times where that may help. Raises the library's errors."""
        return sent_again(request, (AzureError,), is_transient, ended)

    def properties(self, place: Place, ended: Event = _NEVER) -> BlobProperties:
        """Of whatever has that name. Raises DataNotFound, StoreDenied, StoreUnavailable."""
        try:
            return self.call(self.blob(place).get_blob_properties, ended)
        except AzureError as error:
            raise self.error(error) from error

    def error(self, error: Exception) -> StoreError:
        """The error of ours for one of the library's."""
        return store_error(self.store, error)


def unchanged(etag: str) -> dict[str, Any]:
    """The arguments by which the library asks for exactly that version of a blob."""
    return {"etag": etag, "match_condition": MatchConditions.IfNotModified}


def code_of(error: BaseException) -> str:
    """Azure's own name of the error; empty if it gave none."""
    code = getattr(error, "error_code", None)
    return str(getattr(code, "value", code) or "")


def status_of(error: Exception) -> int:
    """The HTTP status; 0 if there was no answer."""
    return int(error.status_code or 0) if isinstance(error, HttpResponseError) else 0


def is_transient(error: Exception) -> bool:
    """Whether the same request may well succeed if it is sent again."""
    if isinstance(error, HttpResponseError) and error.status_code is not None:
        return error.status_code in (408, 429, 500, 502, 503, 504)
    return isinstance(error, AzureError)


def store_error(store: str, error: Exception) -> StoreError:
    """The error of ours; it repeats nothing that the server or the library said but the error's name."""
    code, status = code_of(error), status_of(error)
    if not status:
        return StoreUnavailable(store, f"the server does not answer ({type(error).__name__})")
    found = _BY_CODE.get(code) or _BY_STATUS.get(status)
    if found is None:
        return StoreUnavailable(store, f"the server answers with {status} {code}".strip())
    kind, detail = found
    return kind(store, detail)
