"""What S3 servers and the library say when something fails, as errors of stores."""

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from blick.model.errors import DataNotFound, RangeInvalid, StoreDenied, StoreError, StoreFull, StoreUnavailable

NO_UPLOAD = "NoSuchUpload"
NO_BUCKET = "NoSuchBucket"

_KINDS: tuple[tuple[type[StoreError], str, frozenset[str]], ...] = (
    (DataNotFound, "", frozenset({"NoSuchKey", "NoSuchVersion"})),
    (
        StoreUnavailable,
        "the upload was called off, or begun anew, by somebody else",
        frozenset({NO_UPLOAD, "InvalidPart"}),
    ),
    (StoreUnavailable, "the bucket does not exist", frozenset({NO_BUCKET})),
    (
        StoreDenied,
        "the credentials or the rights do not suffice",
        frozenset(
            {
                "AccessDenied",
                "AccountProblem",
                "AllAccessDisabled",
                "AuthorizationHeaderMalformed",
                "ExpiredToken",
                "InvalidAccessKeyId",
                "InvalidObjectState",
                "InvalidToken",
                "NotSignedUp",
                "RequestTimeTooSkewed",
                "SignatureDoesNotMatch",
            }
        ),
    ),
    (
        StoreFull,
        "the server takes no more",
        frozenset(
            {"EntityTooLarge", "InsufficientStorage", "QuotaExceeded", "TooManyParts", "XMinioStorageFull"},
        ),
    ),
    (RangeInvalid, "", frozenset({"InvalidRange"})),
    (RangeInvalid, "the object was changed while it was read", frozenset({"PreconditionFailed"})),
)
_BY_CODE = {code: (kind, detail) for kind, detail, codes in _KINDS for code in codes}
_BY_STATUS: dict[int, tuple[type[StoreError], str]] = {
    401: (StoreDenied, "the credentials are refused"),
    403: (StoreDenied, "the credentials or the rights do not suffice"),
    404: (DataNotFound, ""),
    412: (RangeInvalid, "the object was changed while it was read"),
    413: (StoreFull, "the server takes no more"),
    416: (RangeInvalid, ""),
    507: (StoreFull, "the server takes no more"),
}
_TRANSIENT_CODES = frozenset({"RequestTimeout", "SlowDown", "Throttling", "ThrottlingException", "TooManyRequests"})
_FINAL_CODES = frozenset({"NotImplemented", "InsufficientStorage"})


def code_of(error: ClientError) -> str:
    """The name of the error, or its status in digits where the server gave no more (answers to HEAD)."""
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: ClientError) -> int:
    """The HTTP status; 0 if it is not known."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_transient(error: Exception) -> bool:
    """Whether the same request may well succeed if it is sent again."""
    if isinstance(error, ClientError):
        code = code_of(error)
        return code in _TRANSIENT_CODES or (status_of(error) in (429, 500, 502, 503, 504) and code not in _FINAL_CODES)
    return isinstance(error, BotoCoreError) and not isinstance(error, NoCredentialsError)


def store_error(store: str, error: Exception) -> StoreError:
    """The error of ours; it repeats nothing that the server or the library said but the error's name."""
    if isinstance(error, NoCredentialsError):
        return StoreDenied(store, "the credentials are refused")
    if not isinstance(error, ClientError):
        return StoreUnavailable(store, f"the server does not answer ({type(error).__name__})")
    code, status = code_of(error), status_of(error)
    kind, detail = _BY_CODE.get(code) or _BY_STATUS.get(status) or (StoreUnavailable, "")
    if kind is StoreUnavailable and not detail:
        detail = f"the server answers with {status} {code if code.isalnum() else ''}".strip()
    return kind(store, detail)
