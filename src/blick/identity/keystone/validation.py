"""Asking Keystone about a token: GET /v3/auth/tokens, with our own account."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from blick.identity.keystone.options import KeystoneOptions
from blick.model.errors import ServiceUnavailable, StartRefused
from blick.stream.hop import hop

try:
    from keystoneauth1 import exceptions, loading
    from keystoneauth1.adapter import Adapter
    from keystoneauth1.plugin import BaseAuthPlugin
    from keystoneauth1.session import Session
except ModuleNotFoundError as error:
    raise StartRefused(
        "Identity by Keystone needs packages that are not installed: pip install 'blick[keystone]'."
    ) from error

_log = logging.getLogger(__name__)

# Calls to Keystone at one time in one process; more wait for their turn.
_CALLS = 8
_TURN_S = 10.0
_FIRST_PAUSE_S = 0.5
# What Keystone answers to a token that cannot be one; the others of this kind are about ourselves.
_NO_TOKEN = frozenset({400, 404, 413, 414, 431})
_UNAVAILABLE = "The identity service cannot be asked at the moment. Try again later."


class Validator:
    """Keystone, as one process knows it. Closed with `aclose`."""

    def __init__(self, options: KeystoneOptions) -> None:
        """Nothing is asked yet. Raises StartRefused for credentials that no plugin of keystoneauth understands."""
        self._options = options
        self._auth = _auth_plugin(options)
        session = Session(
            auth=self._auth,
            verify=options.verify,
            cert=options.certificate,
            timeout=options.request_timeout_s,
            app_name="blick",
        )
        self._keystone = Adapter(
            session,
            service_type="identity",
            interface=options.interface,
            region_name=options.region_name,
            version="3",
        )
        self._threads = ThreadPoolExecutor(_CALLS, thread_name_prefix="keystone")
        self._turns = asyncio.Semaphore(_CALLS)

    async def ask(self, token: str, *, allow_expired: bool) -> bytes | None:
        """Keystone's description of a token; None where it is not valid.

        `token` is fit for a header. Raises ServiceUnavailable where Keystone does not answer, answers with a fault of
        its own, or refuses our account: that is no word about the token. When cancelled, a call that runs is waited
        for.
        """
        try:
            return await self._ask(token, allow_expired)
        except exceptions.EndpointNotFound as error:
            self._auth.invalidate()  # the catalog that lacks it came with our own token
            _log.error("Keystone's catalog has no identity endpoint for us: %s", error)
            raise ServiceUnavailable(_UNAVAILABLE) from error
        except (exceptions.Unauthorized, exceptions.Forbidden) as error:
            _log.error("Keystone refuses the account of [keystone_authtoken]: %s", error)
            raise ServiceUnavailable(_UNAVAILABLE) from error
        except exceptions.ClientException as error:
            _log.error("Keystone does not answer: %s", error)
            raise ServiceUnavailable(_UNAVAILABLE) from error

    async def aclose(self) -> None:
        """End the threads. Calls that still run are waited for."""
        await hop(None, self._threads.shutdown, wait=True)
        await hop(None, self._keystone.session.session.close)

    async def _ask(self, token: str, allow_expired: bool) -> bytes | None:
        pause_s = _FIRST_PAUSE_S
        for left in range(self._options.connect_retries, -1, -1):
            try:
                return await self._in_turn(token, allow_expired)
            except exceptions.ConnectFailure as error:
                if not left or isinstance(error, exceptions.ConnectTimeout):
                    raise
                _log.warning("Keystone cannot be reached, trying again: %s", error)
            await asyncio.sleep(pause_s)
            pause_s *= 2
        raise AssertionError("the last try returns or raises")

    async def _in_turn(self, token: str, allow_expired: bool) -> bytes | None:
        try:
            async with asyncio.timeout(_TURN_S):
                await self._turns.acquire()
        except TimeoutError as error:
            _log.error("Keystone is too slow: %d calls wait for an answer", _CALLS)
            raise ServiceUnavailable(_UNAVAILABLE) from error
        try:
            return await hop(self._threads, self._call, token, allow_expired)
        finally:
            self._turns.release()

    def _call(self, token: str, allow_expired: bool) -> bytes | None:
        query: dict[str, str] = {}
        if not self._options.include_service_catalog:
            query["nocatalog"] = "1"
        if allow_expired:
            query["allow_expired"] = "1"
        headers = {"X-Subject-Token": token, "OpenStack-Identity-Access-Rules": "1"}
        try:
            response = self._keystone.get("/auth/tokens", headers=headers, params=query, raise_exc=False)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            # keystoneauth met a log-in or a version document that it did not expect.
            raise exceptions.ClientException(f"its answer makes no sense ({error!r})") from error
        if response.status_code == 200:
            return bytes(response.content)
        if response.status_code in _NO_TOKEN:
            return None
        raise exceptions.from_response(response, "GET", "/auth/tokens")


def _auth_plugin(options: KeystoneOptions) -> BaseAuthPlugin:
    def value(option: Any) -> Any:
        names = (option.dest, *(old.dest for old in option.deprecated))
        return next((options.auth[name] for name in names if name in options.auth), None)

    try:
        loader: loading.BaseLoader[BaseAuthPlugin] = loading.get_plugin_loader(options.auth_type)
        return loader.load_from_options_getter(value)
    except exceptions.ClientException as error:
        raise StartRefused(f"[keystone_authtoken] auth_type {options.auth_type}: {error}") from error
