"""What the tests of the swift store share: options, stores, and how to look into Swift behind a store's back."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self
from uuid import uuid4

import httpx

from blick.model.blob import StoredObject
from blick.stores.swift.store import SwiftStore
from tests.support.swift import Swift


def options_for(swift: Swift, **more: Any) -> dict[str, Any]:
    """Options of a store with tempauth, in a container of its own."""
    return {
        "swift_store_auth_address": swift.auth_url,
        "swift_store_user": swift.user,
        "swift_store_key": swift.key,
        "swift_store_container": f"images-{uuid4()}",
        "swift_store_create_container_on_put": True,
        **more,
    }


SMALL_SEGMENTS: Mapping[str, Any] = {"swift_store_large_object_size": 1, "swift_store_large_object_chunk_size": 1}


@asynccontextmanager
async def opened(options: Mapping[str, Any]) -> AsyncIterator[SwiftStore]:
    """A store, closed at the end."""
    store = SwiftStore("swift", options)
    try:
        yield store
    finally:
        await store.aclose()


async def everything(store: SwiftStore) -> list[StoredObject]:
    """All that it lists."""
    return [entry async for entry in store.objects()]


class Behind:
    """Requests to Swift itself, as the user whom the stores log in as; use it in a `with`."""

    def __init__(self, swift: Swift) -> None:
        answer = httpx.get(swift.auth_url, headers={"X-Auth-User": swift.user, "X-Auth-Key": swift.key})
        self._http = httpx.Client(
            base_url=answer.headers["X-Storage-Url"],
            headers={"X-Auth-Token": answer.headers["X-Auth-Token"]},
            timeout=60,
        )

    def request(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, data: bytes = b""
    ) -> httpx.Response:
        """`path` is CONTAINER or CONTAINER/OBJECT."""
        return self._http.request(method, f"/{path}", headers=dict(headers or {}), content=data)

    def put(self, path: str, data: bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """A container or an object; it has to work."""
        self.request("PUT", path, headers, data).raise_for_status()

    def names(self, container: str) -> list[str]:
        """The objects in a container; none where there is no container."""
        answer = self.request("GET", f"{container}?format=json")
        return [entry["name"] for entry in json.loads(answer.content)] if answer.status_code == 200 else []

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
