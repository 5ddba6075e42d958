"""One image service, as its clients see it: the requests of the v2 API that copying needs, each blocking."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlencode, urljoin, urlsplit

import urllib3

from blick.cli.replication.documents import Document
from blick.cli.replication.login import GivenToken
from blick.cli.replication.trouble import reason, unreachable
from blick.model.errors import (
    Conflict,
    SourceBroken,
    SourceDenied,
    SourceError,
    SourceMissing,
    SourceUnavailable,
    Unauthenticated,
)

_PATCH_TYPE = "application/openstack-images-v2.1-json-patch"
_PAGE = 500
_CONNECT_WITHIN_S = 10
_ANSWER_WITHIN_S = 60
# Between the last byte of an upload and its answer a store may have to make the data durable.
_STORED_WITHIN_S = 3600
_MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TEXT_MAX_CHARACTERS = 300
_IMAGE_ID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")


class Data:
    """The data of an image from `offset_bytes` on, while it is being read."""

    def __init__(self, answer: urllib3.BaseHTTPResponse, offset_bytes: int, where: str) -> None:
        self._answer = answer
        self._where = where
        self.offset_bytes = offset_bytes

    def pieces(self, size_bytes: int) -> Iterator[bytes]:
        """All of it in pieces of at most that size. Raises SourceBroken where it breaks off."""
        try:
            while piece := self._answer.read(size_bytes, decode_content=False):
                yield piece
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise SourceBroken(f"{self._where} broke off: {error}.") from error


class ImageService:
    """The service at one address. `url` is its base URL, without the version."""

    def __init__(self, url: str, tokens: GivenToken, http: urllib3.PoolManager) -> None:
        self.url = url
        self._tokens = tokens
        self._http = http

    def images(self) -> Iterator[Document]:
        """Every image that the caller may list, oldest first, those that are hidden after the others.

        Raises as `show` does, and SourceError for answers that make no sense.
        """
        for hidden in ("false", "true"):
            query = {"limit": _PAGE, "sort_key": "created_at", "sort_dir": "asc", "visibility": "all"}
            path: str | None = f"/v2/images?{urlencode({**query, 'member_status': 'all', 'os_hidden': hidden})}"
            while path is not None:
                page = self._document("GET", path)
                images = page.get("images")
                if not isinstance(images, list):
                    raise SourceError(f"{self.url} does not answer like an image service.")
                for image in images:
                    yield _checked(image, self.url)
                path = _within(page.get("next"))

    def ids(self) -> list[str]:
        """The ids of those images, each once. Read at once, because a page may not be found again hours later."""
        return list(dict.fromkeys(str(image["id"]) for image in self.images()))

    def show(self, image_id: str) -> Document | None:
        """One image, None if there is none.

        Raises Unauthenticated, SourceDenied, SourceUnavailable (no answer), or SourceError for any other refusal.
        """
        try:
            return _checked(self._document("GET", f"/v2/images/{image_id}"), self.url)
        except SourceMissing:
            return None

    def create(self, body: Mapping[str, Any]) -> Document:
        """Register an image. Raises Conflict where its id is taken, or was before."""
        return self._document("POST", "/v2/images", json.dumps(body).encode())

    def change(self, image_id: str, changes: list[dict[str, Any]]) -> Document:
        """Apply a JSON patch. Raises as `show` does, and Conflict."""
        return self._document("PATCH", f"/v2/images/{image_id}", json.dumps(changes).encode(), _PATCH_TYPE)

    def upload(self, image_id: str, pieces: Iterable[bytes], size_bytes: int | None) -> None:
        """Send the data of a queued image. What `pieces` raises cuts the request off, and goes on to the caller.

        Raises Conflict (the image is not queued), SourceMissing, SourceDenied, SourceUnavailable, SourceError.
        """
        length = {} if size_bytes is None else {"Content-Length": str(size_bytes)}
        headers = {"Content-Type": "application/octet-stream", **length}
        self._require_token()
        with self._answer("PUT", f"{self.url}/v2/images/{image_id}/file", pieces, headers) as answer:
            _require_success(answer, f"{self.url} PUT /v2/images/{image_id}/file")

    @contextmanager
    def data(self, image_id: str, offset_bytes: int = 0) -> Iterator[Data]:
        """The data of an image, from `offset_bytes` on, or from its beginning where the service gives no parts.

        Raises SourceMissing, SourceDenied, SourceUnavailable, SourceError.
        """
        path = f"/v2/images/{image_id}/file"
        headers = {"Range": f"bytes={offset_bytes}-"} if offset_bytes else {}
        self._require_token()
        url, where = f"{self.url}{path}", f"{self.url} GET {path}"
        for _ in range(_MOST_REDIRECTS + 1):
            with self._answer("GET", url, None, headers) as answer:
                if answer.status in _REDIRECTS and answer.headers.get("location"):
                    url = urljoin(url, answer.headers["location"])
                    continue
                _require_success(answer, where)
                starts = _begins_at(answer.headers.get("content-range", "")) if answer.status == 206 else 0
                if starts not in (0, offset_bytes):
                    raise SourceBroken(f"{where} gave another part than the one asked for.")
                yield Data(answer, starts, where)
                return
        raise SourceError(f"{where} leads from one place to another, and never to data.")

    def _document(
        self, method: str, path: str, body: bytes | None = None, content_type: str = "application/json"
    ) -> dict[str, Any]:
        headers = {"Accept": "application/json"} | ({"Content-Type": content_type} if body is not None else {})
        for may_renew in (True, False):
            with self._answer(method, f"{self.url}{path}", body, headers) as answer:
                if answer.status == 401 and may_renew and self._tokens.renew():
                    continue
                where = f"{self.url} {method} {path.partition('?')[0]}"
                _require_success(answer, where)
                return _json(_read(answer, where), where)
        raise AssertionError("the second round returns or raises")

    def _require_token(self) -> None:
        """See that the token counts, before a body is sent that could not be sent again."""
        self._document("GET", "/v2/images?limit=1")

    @contextmanager
    def _answer(
        self, method: str, url: str, body: bytes | Iterable[bytes] | None, headers: Mapping[str, str]
    ) -> Iterator[urllib3.BaseHTTPResponse]:
        """The head of an answer, whose body is still to be read. Raises SourceUnavailable."""
        token = self._tokens.token() if _origin(url) == _origin(self.url) else None
        try:
            answer = self._http.request(
                method,
                url,
                body=body,
                headers={"Accept-Encoding": "identity", **headers, **({"X-Auth-Token": token} if token else {})},
                preload_content=False,
                redirect=False,
                retries=False,
                timeout=urllib3.Timeout(
                    connect=_CONNECT_WITHIN_S, read=_STORED_WITHIN_S if method == "PUT" else _ANSWER_WITHIN_S
                ),
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise unreachable(self.url, error) from error
        try:
            yield answer
        finally:
            answer.close()
            answer.release_conn()


def _require_success(answer: urllib3.BaseHTTPResponse, where: str) -> None:
    status = answer.status
    if 200 <= status < 300:
        return
    text = f"{where}: {status} {_said(answer)}".rstrip()
    match status:
        case 401:
            raise Unauthenticated(f"{text} Give a token (--token), or set OS_AUTH_URL and the like.")
        case 403:
            raise SourceDenied(text)
        case 404 | 410:
            raise SourceMissing(text)
        case 409:
            raise Conflict(text)
        case _:
            raise SourceError(text)


def _said(answer: urllib3.BaseHTTPResponse) -> str:
    """The reason in the body of a refusal: JSON, a page, or plain text."""
    try:
        text = answer.read(64 << 10).decode("utf-8", "replace")
    except (urllib3.exceptions.HTTPError, OSError):
        return ""
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if isinstance(document, dict):
        text = str(document.get("message") or document.get("error") or text)
    plain = " ".join(re.sub(r"<(title|head)>.*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL).split())
    return plain[:_TEXT_MAX_CHARACTERS]


def _read(answer: urllib3.BaseHTTPResponse, where: str) -> bytes:
    try:
        return answer.read()
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise SourceUnavailable(f"{where} broke off: {reason(error)}.") from error


def _json(text: bytes, where: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise SourceError(f"{where} does not answer like an image service.")
    return document


def _checked(document: Any, url: str) -> Document:
    """The document of an image. Its id becomes part of paths, here and in folders: it has to be one."""
    if not isinstance(document, dict) or not is_image_id(document.get("id")):
        raise SourceError(f"{url} does not answer like an image service.")
    return document


def is_image_id(text: object) -> bool:
    """Is this what the API gives as ids?"""
    return isinstance(text, str) and _IMAGE_ID.fullmatch(text) is not None


def _within(link: object) -> str | None:
    """The link to the next page as a path here, whatever host a proxy made of it."""
    if not isinstance(link, str) or not link:
        return None
    found = urlsplit(link)
    path = found.path[found.path.find("/v2/images") :] if "/v2/images" in found.path else found.path
    return f"{quote(path)}?{found.query}"


def _begins_at(content_range: str) -> int:
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", content_range.strip())
    return int(found[1]) if found else -1


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
