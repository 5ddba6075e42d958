"""One upload to Azure, in blocks.

Azure forgets nobody's blocks on request, and lets any writer commit its own. What fences a writer off here is an
empty blob that it puts where the object will be, marked as no object: the blocks become the object only in place of
exactly that blob (its ETag is the condition). Whoever replaces or removes the blob has called the writer off.
"""

from secrets import token_hex
from threading import Event, Lock

from azure.core import MatchConditions
from azure.core.exceptions import AzureError, ResourceExistsError, ResourceModifiedError, ResourceNotFoundError
from azure.storage.blob import BlobBlock, BlobProperties, ContentSettings

from blick.model.errors import DataExists, DataNotFound, StoreUnavailable
from blick.stores.azure.requests import AzureRequests, code_of, is_transient, status_of, unchanged
from blick.stores.objects.backend import Place
from blick.stores.objects.lines import CLEANING_TIMEOUT_S, Scope
from blick.stores.objects.parts import PartData

_PARTIAL = "blick_partial"  # the metadata of the empty blob of an upload
_MARK = "blick_upload"  # and of an object: which upload it is of
_TYPE = ContentSettings(content_type="application/octet-stream")


def is_partial(properties: BlobProperties) -> bool:
    """Whether a blob only stands for an upload that goes on or broke off."""
    return _PARTIAL in {name.lower() for name in properties.metadata or {}}


class AzureUpload:
    """See Upload. Making one puts its blob where nothing, or another upload's blob, is. Raises the library's errors."""

    def __init__(self, requests: AzureRequests, place: Place) -> None:
        self._requests = requests
        self._place = place
        self._blob = requests.blob(place)
        self._mark = token_hex(16)
        self._ended = Event()
        self._scope = Scope(requests.lines)
        self._lock = Lock()
        self._numbers: set[int] = set()
        self._may_be_published = False
        self._etag = self._begin()

    def put_part(self, number: int, data: PartData) -> None:
        """See Upload. An object of somebody else's is there already: nothing is sent, in vain."""
        if self._etag is None or data.size_bytes == 0:
            return
        request = lambda: self._blob.stage_block(  # noqa: E731 - said where it is used
            self._block_id(number),
            data.content(),  # type: ignore[arg-type]  # it takes whatever may be a request's body
            length=data.size_bytes,
        )
        try:
            self._scope.run(self._requests.call, request, self._ended)
        except AzureError as error:
            raise self._requests.error(error) from error
        with self._lock:
            self._numbers.add(number)

    def finish(self) -> None:
        """See Upload."""
        if self._etag is None:
            raise DataExists(self._requests.store)
        self._may_be_published = True
        try:
            self._requests.call(self._commit, self._ended)
        except AzureError as error:
            if status_of(error) not in (404, 409, 412) and not is_transient(error):
                raise self._requests.error(error) from error
            self._require_done(error)

    def abort(self) -> None:
        """See Upload."""
        self.call_off()
        if self._etag is not None:
            Scope(self._requests.lines, CLEANING_TIMEOUT_S).run(self._clean)

    def call_off(self) -> None:
        """See Upload."""
        self._ended.set()
        self._scope.interrupt()

    def _clean(self) -> None:
        try:
            found = self._requests.properties(self._place, self._ended)
        except DataNotFound:
            return
        ours = found.etag == self._etag or (self._may_be_published and self._is_ours(found))
        if ours:
            self._remove(str(found.etag))

    def _begin(self) -> str | None:
        """The ETag of the empty blob; None if an object is there, which stays as it is."""
        try:
            return self._put_empty(None)
        except ResourceExistsError as error:
            if code_of(error) != "BlobAlreadyExists":
                raise
        try:
            found = self._requests.properties(self._place)
        except DataNotFound as error:
            raise StoreUnavailable(self._requests.store, "another upload of this object has just ended") from error
        return self._put_empty(str(found.etag)) if is_partial(found) else None

    def _put_empty(self, instead_of: str | None) -> str:
        """In place of the blob of that ETag, or of nothing. Blocks that others sent for that name are dropped by it."""
        condition = {"match_condition": MatchConditions.IfMissing} if instead_of is None else unchanged(instead_of)
        # Sent once: if only the answer was lost, the next try would meet our own blob.
        answer = self._blob.upload_blob(
            b"",
            metadata={_PARTIAL: self._mark},
            overwrite=True,
            content_settings=_TYPE,
            **condition,
        )
        return str(answer["etag"])

    def _commit(self) -> None:
        self._blob.commit_block_list(
            [BlobBlock(self._block_id(number)) for number in sorted(self._numbers)],
            content_settings=_TYPE,
            metadata={_MARK: self._mark},
            **unchanged(str(self._etag)),
        )

    def _require_done(self, error: Exception) -> None:
        """After a refused or unanswered last request: whether it was carried out all the same."""
        try:
            found = self._requests.properties(self._place)
        except DataNotFound:
            found = None
        if found is not None and self._is_ours(found):
            return
        if found is not None and not is_partial(found):
            raise DataExists(self._requests.store) from error
        if status_of(error) in (404, 409, 412):
            detail = "the upload was called off, or begun anew, by somebody else"
            raise StoreUnavailable(self._requests.store, detail) from error
        raise self._requests.error(error) from error

    def _is_ours(self, found: BlobProperties) -> bool:
        return {name.lower(): value for name, value in (found.metadata or {}).items()}.get(_MARK) == self._mark

    def _remove(self, etag: str) -> None:
        try:
            self._blob.delete_blob(**unchanged(etag))
        except (ResourceNotFoundError, ResourceModifiedError):
            return  # somebody else was quicker
        except AzureError as error:
            raise self._requests.error(error) from error

    def _block_id(self, number: int) -> str:
        # All block ids of a blob must have one length; those of other uploads must differ.
        return f"{self._mark}-{number:06d}"
