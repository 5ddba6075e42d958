"""Objects in a container of Azure Blob Storage, or of a server that speaks like it.

A URI is `azure://<account>/<container>/<image id>`: the account, not the host, since an account has several (public,
private, of another cloud), and operators move between them.
"""

from collections.abc import Mapping
from typing import Any

from blick.stores.azure.container import AzureContainer
from blick.stores.azure.lines import AzureLines
from blick.stores.azure.options import place_of, read_options, uri_of
from blick.stores.azure.requests import AzureRequests, make_service
from blick.stores.objects.backend import Place
from blick.stores.objects.store import SigningObjectStore

_OTHER_THREADS = 16  # connections for everything but parts


class AzureStore(SigningObjectStore[AzureContainer]):
    """A store of type azure. Also OwnsUri, HasProperties, CanProbe, CanList, CanSignUrls.

    Connects nothing; raises StartRefused for options that make no sense. Has threads of its own, until `aclose`.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self._options = read_options(name, options)
        super().__init__(name, self._connect, self._options.part_bytes, self._options.part_threads)

    @property
    def bucket(self) -> str:
        """See ObjectStore."""
        return self._options.container

    def uri_of(self, key: str) -> str:
        """See ObjectStore."""
        return uri_of(self._options, key)

    def place_of(self, uri: str) -> Place | None:
        """See ObjectStore."""
        return place_of(self._options, uri)

    async def properties(self) -> Mapping[str, Any]:
        """See HasProperties."""
        return {"account": self._options.account, "container": self._options.container}

    @property
    def signed_url_ttl_s(self) -> int:
        """See CanSignUrls."""
        return self._options.signed_url_ttl_s

    def _connect(self) -> AzureContainer:
        lines = AzureLines(self._options.ca_file, self._options.part_threads + _OTHER_THREADS)
        requests = AzureRequests(self.name, make_service(self._options, lines), lines)
        return AzureContainer(requests, self._options, self.uri_of)
