"""How the Azure library's requests travel: through requests, over connections that another thread can break off."""

from typing import Any

import requests
from azure.core.pipeline.transport import RequestsTransport
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from blick.stores.objects.lines import CONNECT_TIMEOUT_S, Lines


class AzureLines(Lines):
    """The connections of one store. `ca_file` None: the library's. `count` of them are kept."""

    def __init__(self, ca_file: str | None, count: int) -> None:
        super().__init__()
        session = requests.Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Adapter(self, count))
        # The pipeline's own retries are off; a transport that is given a session leaves its adapters alone.
        self.transport = RequestsTransport(session=session, session_owner=False, connection_verify=ca_file or True)
        self._session = session

    def close(self) -> None:
        """Close the connections that are kept."""
        self._session.close()


class _Adapter(HTTPAdapter):
    def __init__(self, lines: AzureLines, count: int) -> None:
        self._lines = lines
        super().__init__(pool_maxsize=count)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self._lines.track(self.poolmanager, HTTPConnection, HTTPSConnection)

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        scope = self._lines.scope()
        try:
            return super().send(*args, **{**kwargs, "timeout": (CONNECT_TIMEOUT_S, scope.read_timeout_s)})
        finally:
            scope.waits_no_more()
