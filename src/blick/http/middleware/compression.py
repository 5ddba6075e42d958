"""Answers compressed for clients that ask for it; never image data, which goes from file to socket untouched."""

import re

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

# Below this an answer fits into one packet anyway.
_LEAST_BYTES = 1400
# JSON shrinks to a tenth at any level; higher ones only cost more.
_LEVEL = 1
_IMAGE_DATA = re.compile(r"/images/+[^/]+/+file$")


class Compression:
    """Around an application: gzip where `Accept-Encoding` allows it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._compressing = GZipMiddleware(app, minimum_size=_LEAST_BYTES, compresslevel=_LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        is_data = _IMAGE_DATA.search(scope["path"]) is not None
        await (self._app if is_data else self._compressing)(scope, receive, send)
