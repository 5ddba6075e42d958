"""A Swift that belongs to a cloud: with a Keystone of its own, and contexts of its users as requests bring them."""

import json
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from blick.model.context import RequestContext
from blick.model.service_catalog import ServiceCatalog
from tests.support.keystone import Keystone
from tests.support.swift import Swift


@dataclass(frozen=True, slots=True)
class Cloud:
    """The two servers, both running."""

    keystone: Keystone
    swift: Swift

    def options(self, user: str = "demo", **more: Any) -> dict[str, Any]:
        """Options of a store in that user's project, in a container of its own."""
        return {
            "swift_store_auth_address": self.keystone.url,
            "swift_store_user": f"{self.keystone.auth(user)['project_name']}:{user}",
            "swift_store_key": self.keystone.password,
            **self.common(**more),
        }

    def common(self, **more: Any) -> dict[str, Any]:
        """Options that name no account."""
        return {
            "swift_store_container": f"images-{uuid4()}",
            "swift_store_create_container_on_put": True,
            **more,
        }

    def caller(self, user: str) -> RequestContext:
        """The context of a request of that user, with a fresh token."""
        token, record = self.keystone.token_record(user)
        return RequestContext(
            request_id="req-test",
            user_id=record["user"]["id"],
            project_id=record["project"]["id"],
            roles=frozenset(role["name"] for role in record["roles"]),
            auth_token=token,
            service_catalog=ServiceCatalog(json.dumps(record["catalog"]).encode()),
        )
