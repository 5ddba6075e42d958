"""How errors look in Keystone's API: a status and `{"error": {"code", "title", "message"}}`."""

from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from blick.identity.embedded.links import Links
from blick.model.errors import (
    BlickError,
    BodyIncomplete,
    Conflict,
    Forbidden,
    Invalid,
    LimitExceeded,
    NotFound,
    ServiceUnavailable,
    TooManyRequests,
    Unauthenticated,
)

_STATUS: dict[type[BlickError], HTTPStatus] = {
    Invalid: HTTPStatus.BAD_REQUEST,
    BodyIncomplete: HTTPStatus.BAD_REQUEST,
    Unauthenticated: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    LimitExceeded: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    TooManyRequests: HTTPStatus.TOO_MANY_REQUESTS,
    ServiceUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}


async def render_error(request: Request, error: Exception) -> Response:
    """The answer to an error of ours or of the router. Other errors go on to the outermost wrapper."""
    if isinstance(error, HTTPException):
        return _answer(HTTPStatus(error.status_code), HTTPStatus(error.status_code).description, error.headers)
    if isinstance(error, ClientDisconnect):
        return _answer(HTTPStatus.BAD_REQUEST, "The request body broke off.")
    status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), None)
    if status is None:
        raise error
    headers = {}
    if isinstance(error, TooManyRequests):
        headers["Retry-After"] = str(error.retry_after_s)
    if status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = f'Keystone uri="{Links(None).v3(request)}"'
    return _answer(status, str(error), headers)


def _answer(status: HTTPStatus, message: str, headers: object = None) -> Response:
    body = {"error": {"code": status.value, "title": status.phrase, "message": message}}
    extra = dict(headers) if isinstance(headers, dict) else None
    return JSONResponse(body, status_code=status.value, headers=extra)
