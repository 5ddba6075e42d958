"""Image data over HTTP: PUT and GET of /v2/images/{image_id}/file (spec: images-api §10)."""

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from starlette.responses import RedirectResponse, Response
from starlette.types import Message, Receive, Scope, Send

from blick.http.request import Request
from blick.http.responses import no_content
from blick.http.server.sendfile import FileBroken
from blick.model.blob import ByteRange
from blick.model.errors import Invalid, RangeInvalid, StoreError, UnsupportedMediaType
from blick.ops import image_copies, image_data
from blick.ops.image_copies import ImageData
from blick.stream import ranges

_log = logging.getLogger(__name__)

_OCTETS = "application/octet-stream"
# Longer numbers are no sizes of anything; Python refuses to read very long ones.
_MOST_DIGITS = 40


async def upload(request: Request) -> Response:
    """PUT /v2/images/{image_id}/file"""
    require_octets(request.headers)
    store_id = None
    if request.services.settings.stores.multi_store:
        store_id = request.headers.get("x-image-meta-store") or None
    await image_data.upload(
        request.services,
        request.context,
        request.path_params["image_id"],
        request.body,
        expected_bytes(request.headers),
        store_id,
    )
    return no_content()


def require_octets(headers: Mapping[str, str]) -> None:
    """Raises UnsupportedMediaType if the body is not said to be plain bytes."""
    if headers.get("content-type", "").partition(";")[0].strip() != _OCTETS:
        raise UnsupportedMediaType(f"The request body must be of type {_OCTETS}.")


def expected_bytes(headers: Mapping[str, str]) -> int | None:
    """How much data the client announces, by either header that says so. Raises Invalid for what is no number."""
    for name in ("x-openstack-image-size", "content-length"):
        value = headers.get(name)
        if value is not None:
            text = value.strip()
            if not text.isascii() or not text.isdecimal() or len(text) > _MOST_DIGITS:
                raise Invalid(f"The header {name} must be a number of bytes, not {value!r:.80}.")
            return int(text)
    return None


async def download(request: Request) -> Response:
    """GET /v2/images/{image_id}/file"""
    image_id = request.path_params["image_id"]
    data = await image_copies.open_data(request.services, request.context, image_id, _preferred(request))
    if data is None:
        return Response(status_code=204)
    try:
        elsewhere = await data.signed_url()
        wanted = ranges.wanted(request.headers.get("range"), request.headers.get("content-range"), data.size_bytes)
    except BaseException:
        data.close()
        raise
    if elsewhere is not None:
        data.close()
        return RedirectResponse(elsewhere, headers=_checksum(data))
    response = DataResponse(data, wanted)
    await response.open()
    return response


def _preferred(request: Request) -> list[str] | None:
    named = [value for name, value in request.query if name == "prefer"]
    if not named:
        return None
    return [store_id.strip() for store_id in named[-1].split(",") if store_id.strip()]


def _checksum(data: ImageData) -> dict[str, str]:
    return {"content-md5": data.image.checksum} if data.image.checksum else {}


class DataResponse(Response):
    """The bytes of an image, or a part of them: from the kernel where file and server allow it, else in pieces.

    Closes `data` when it has been sent, also when that fails.
    """

    media_type = _OCTETS

    def __init__(self, data: ImageData, wanted: ByteRange | None) -> None:
        self._data = data
        self._wanted = wanted or ByteRange(0, data.size_bytes)
        headers = {"content-length": str(self._wanted.length_bytes), **_checksum(data)}
        if wanted is not None:
            last = wanted.end_bytes - 1
            headers["content-range"] = f"bytes {wanted.offset_bytes}-{last}/{data.size_bytes}"
        super().__init__(None, 200 if wanted is None else 206, headers, _OCTETS)
        self._pieces: AsyncGenerator[memoryview, None] | None = None
        self._first: memoryview | None = None

    async def open(self) -> None:
        """Ask a store that is no local file for the first piece, so that its refusal can still be an answer.

        Raises StoreError. To be called once, before the response is sent.
        """
        if self._data.file is not None or not self._wanted.length_bytes:
            return
        pieces = self._data.pieces(self._wanted)
        try:
            self._first = await anext(pieces)
        except StopAsyncIteration as error:
            raise RangeInvalid(self._data.copy.store.name) from error
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - Starlette's signature
        """Send status, headers and the bytes. A store error after the first byte ends the connection."""
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            zero_copy = "http.response.zerocopysend" in scope.get("extensions", {})
            if self._data.file is not None and zero_copy and self._wanted.length_bytes:
                await self._send_file(send, self._data.file)
            else:
                pieces = self._pieces or self._data.pieces(self._wanted)
                await self._send_pieces(send, pieces, lends="blick.lent_body" in scope.get("extensions", {}))
        finally:
            self._data.close()

    async def _send_file(self, send: Send, file: int) -> None:
        offset, count = self._wanted.offset_bytes, self._wanted.length_bytes
        try:
            await send({"type": "http.response.zerocopysend", "file": file, "offset": offset, "count": count})
        except FileBroken as error:
            _log.error("image %s cannot be read on: %s", self._data.image.id, error)
            rest = self._data.without_file(error.sent_bytes)
            if rest is None:
                raise StoreError(self._data.copy.store.name, str(error)) from error
            left = ByteRange(offset + error.sent_bytes, count - error.sent_bytes)
            await self._send_pieces(send, rest.pieces(left), lends=True)

    async def _send_pieces(self, send: Send, pieces: AsyncGenerator[memoryview, None], *, lends: bool) -> None:
        """`lends`: the server lets go of a body when `send` returns, so that pieces need not be copied."""
        async with aclosing(pieces):
            if self._first is not None:
                await send(_body(self._first, lends))
            if self._wanted.length_bytes:
                async for piece in pieces:
                    await send(_body(piece, lends))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _body(piece: memoryview, lends: bool) -> Message:
    return {"type": "http.response.body", "body": piece if lends else bytes(piece), "more_body": True}
