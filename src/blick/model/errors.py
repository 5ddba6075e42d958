"""Every error that Blick raises on purpose.

Which HTTP status an error becomes is decided in one place, `blick.http.errors`.
The message of an error is shown to the caller: it never carries secrets, paths of this machine or SQL.

    BlickError
    ├── Invalid                 the request makes no sense as it stands
    ├── Unauthenticated         no valid identity came with the request
    │   └── PeerRefused         it came from where nobody may come from, not even anonymously
    ├── Forbidden               the caller may see the thing but not do this
    ├── NotFound                no such thing, or the caller may not know of it
    ├── Conflict                the thing is in a state that does not allow this
    ├── Gone                    the thing vanished, or was changed, while the request ran
    ├── Locked                  somebody else is at work on the thing at this moment
    ├── VersionUnsupported      the client speaks a version of the protocol that is not spoken here
    ├── ChecksumMismatch        the data is not what the client's checksum says
    ├── LimitExceeded           a quota or a size cap
    ├── UnsupportedMediaType    content type, or content that is not what it claims to be
    ├── RangeNotSatisfiable     the wanted bytes lie outside the data
    ├── TooManyRequests         try again later
    ├── HeaderTooLong           a request header over its limit
    ├── ServiceUnavailable      something that Blick needs does not answer
    ├── BodyIncomplete          the client went away or its body broke off
    ├── StartRefused            configuration or surroundings that Blick must not start with
    ├── SourceError             a server that Blick fetches from did not do what was asked
    │   └── SourceMissing, SourceDenied, SourceUnavailable, SourceBroken
    └── StoreError              a store could not do what was asked
        ├── DataNotFound  ├── DataExists    ├── StoreFull   ├── StoreDenied
        ├── StoreReadOnly ├── StoreUnavailable ├── RangeInvalid ├── RangeUnsupported
        ├── CallerRefused ├── DataInUse
        └── WriterClosed
"""


class BlickError(Exception):
    """Root of the tree. `str(error)` is fit for the caller's eyes."""


class Invalid(BlickError):
    """The request makes no sense as it stands."""


class Unauthenticated(BlickError):
    """No valid identity came with the request."""


class PeerRefused(Unauthenticated):
    """The request came from where nobody may come from, not even an anonymous caller."""


class Forbidden(BlickError):
    """The caller may see the thing but not do this to it."""


class NotFound(BlickError):
    """No such thing, or the caller may not know of it."""


class Conflict(BlickError):
    """The thing is in a state that does not allow this."""


class Gone(BlickError):
    """The thing vanished, or was changed by someone else, while the request ran."""


class Locked(BlickError):
    """Somebody else is at work on the thing at this moment; trying again soon may help."""


class VersionUnsupported(BlickError):
    """The client speaks a version of the protocol that is not spoken here."""


class ChecksumMismatch(BlickError):
    """The data is not what the client's checksum says; nothing of it was kept."""


class LimitExceeded(BlickError):
    """A quota or a size cap would be exceeded."""


class UnsupportedMediaType(BlickError):
    """The content type, or content that is not what it claims to be.

    `accept_patch` lists the media types that would have been taken, for the header of that name.
    """

    def __init__(self, message: str, accept_patch: tuple[str, ...] = ()) -> None:
        self.accept_patch = accept_patch
        super().__init__(message)


class RangeNotSatisfiable(BlickError):
    """The wanted bytes lie outside the data of `size_bytes`."""

    def __init__(self, message: str, size_bytes: int | None = None) -> None:
        self.size_bytes = size_bytes
        super().__init__(message)


class TooManyRequests(BlickError):
    """Try again after `retry_after_s` seconds."""

    def __init__(self, message: str, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(message)


class HeaderTooLong(BlickError):
    """A request header is longer than its limit."""


class ServiceUnavailable(BlickError):
    """Something that Blick needs does not answer."""


class BodyIncomplete(BlickError):
    """The client went away, or its body broke off or was malformed; nobody may take the bytes for whole."""


class StartRefused(BlickError):
    """Configuration or surroundings that Blick must not start with; the text tells the operator why."""


class SourceError(BlickError):
    """A server that Blick fetches from did not do what was asked."""


class SourceMissing(SourceError):
    """It has nothing under that URI."""


class SourceDenied(SourceError):
    """It wants other credentials, or refuses us."""


class SourceUnavailable(SourceError):
    """It cannot be reached, does not answer, or has trouble of its own: trying again may help."""


class SourceBroken(SourceError):
    """Its answer ended early or is malformed; nobody may take the bytes for whole."""


class NodeUnreachable(BlickError):
    """Another node of this service, which has what is needed, does not answer."""


class NodeBroken(NodeUnreachable):
    """Another node of this service, which has what is needed, gave no answer that could be passed on."""


class StoreError(BlickError):
    """The store `store` could not do what was asked."""

    def __init__(self, store: str, detail: str = "") -> None:
        self.store = store
        super().__init__(f"{store}: {detail or (type(self).__doc__ or '').splitlines()[0]}")


class DataNotFound(StoreError):
    """Nothing is stored at that location."""


class DataExists(StoreError):
    """Something is stored under that name already, and it is not ours to overwrite."""


class StoreFull(StoreError):
    """No room left."""


class StoreDenied(StoreError):
    """The store may not be written, or its credentials are refused."""


class CallerRefused(StoreError):
    """The store keeps this data in accounts of its users, and refuses the one who is calling."""


class DataInUse(StoreError):
    """The stored data is in use (volumes were cloned from it, say) and cannot be removed now."""


class StoreReadOnly(StoreError):
    """This store takes no new data, and removes none."""


class StoreUnavailable(StoreError):
    """The store does not answer."""


class RangeInvalid(StoreError):
    """The wanted range lies outside the stored data, or the data ended early."""


class RangeUnsupported(StoreError):
    """This store cannot give a part of that object."""


class WriterClosed(StoreError):
    """Written to, or committed, after commit or abort."""
