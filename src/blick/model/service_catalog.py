"""Where the services of a cloud are, as the caller's token says."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from blick.model.errors import Invalid

_V2_SUFFIX = "URL"  # publicURL, internalURL, adminURL
_MALFORMED = "The service catalog is malformed."


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address of one service. `interface` is public, internal or admin."""

    service_type: str
    service_name: str | None
    interface: str
    region: str | None
    url: str


class ServiceCatalog:
    """A catalog as it came, in JSON; read when somebody first asks, for hardly any request does.

    `document` is in the form of Keystone v3, or in that of v2, which the header X-Service-Catalog has.
    """

    __slots__ = ("_endpoints", "document")

    def __init__(self, document: bytes) -> None:
        self.document = document
        self._endpoints: tuple[Endpoint, ...] | None = None

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Every endpoint, in the catalog's order. Raises Invalid where it is no catalog."""
        if self._endpoints is None:
            try:
                services = json.loads(self.document)
                self._endpoints = tuple(found for service in services for found in _endpoints(service))
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
                raise Invalid(_MALFORMED) from error
        return self._endpoints

    def url(self, service_type: str, interface: str = "public", region: str | None = None) -> str | None:
        """The first address of that kind; in any region where `region` is None. Raises Invalid."""
        wanted = (service_type, interface)
        return next(
            (
                endpoint.url
                for endpoint in self.endpoints
                if (endpoint.service_type, endpoint.interface) == wanted and region in (None, endpoint.region)
            ),
            None,
        )

    def __repr__(self) -> str:
        return f"ServiceCatalog({len(self.document)} bytes)"


def _endpoints(service: Mapping[str, Any]) -> list[Endpoint]:
    found = []
    for endpoint in service.get("endpoints") or ():
        region = endpoint.get("region") or endpoint.get("region_id")
        if "interface" in endpoint:
            addresses = {endpoint["interface"]: endpoint["url"]}
        else:
            addresses = {
                name.removesuffix(_V2_SUFFIX): url for name, url in endpoint.items() if name.endswith(_V2_SUFFIX)
            }
        found += [
            Endpoint(service["type"], service.get("name"), interface, region, url)
            for interface, url in addresses.items()
        ]
    return found
