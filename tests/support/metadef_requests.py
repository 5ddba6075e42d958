"""A namespace of metadata definitions for tests of what lies in one, and who may ask what of it."""

from dataclasses import dataclass
from typing import Any

import httpx

from blick.db import metadef_documents
from blick.model.metadef import Children, MetadefNamespace, NewNamespace
from tests.support.metadefs import NAMESPACES
from tests.support.personas import OWNER_PROJECT, headers_of
from tests.support.records import NOW
from tests.support.service import Service

NAME = "OS::Compute::Test"
PATH = f"{NAMESPACES}/{NAME}"


async def make_namespace(service: Service, children: Children | None = None, **attributes: Any) -> MetadefNamespace:
    """A private namespace of project p1, unless told otherwise."""
    new = NewNamespace(**{"name": NAME, **attributes})
    database = service.services.database
    return await database.write(metadef_documents.create, new, children or Children(), OWNER_PROJECT, NOW)


@dataclass(frozen=True)
class Asked:
    """One request about what lies in the namespace, and its status where all goes well."""

    method: str
    path: str
    status: int
    body: Any = None


async def ask(service: Service, persona: str, asked: Asked) -> httpx.Response:
    """That request, as one of tests.support.personas."""
    options = {} if asked.body is None else {"json": asked.body}
    return await service.client.request(asked.method, f"{PATH}{asked.path}", headers=headers_of(persona), **options)


_READERS_OF_PRIVATE = ("owner", "owner-reader")
_READERS_OF_PUBLIC = (*_READERS_OF_PRIVATE, "other", "pending", "accepted", "shared-reader")


def expected_status(persona: str, asked: Asked, *, public: bool) -> int:
    """What default policies make of the request: writing is for admins, and who may not look learns nothing."""
    if persona == "anonymous":
        return 401
    if persona == "admin":
        return asked.status
    if persona not in (_READERS_OF_PUBLIC if public else _READERS_OF_PRIVATE):
        return 404
    return asked.status if asked.method == "GET" else 403
