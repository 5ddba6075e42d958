"""Unified limits: what Keystone says that a project may have (spec: security §4).

Asked for with every request that takes something, so that a limit that was just changed counts at once.
"""

import logging
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from threading import Lock
from typing import Any, Protocol

from oslo_config import cfg

from blick.model.errors import ServiceUnavailable, StartRefused
from blick.stream.hop import hop

_log = logging.getLogger(__name__)

_GROUP = "oslo_limit"
# Each waits for Keystone; requests beyond these wait for one of them.
_THREADS = 8
# Where the operator sets none: a Keystone that hangs must not hold requests for ever.
_TIMEOUT_S = 30
_UNREADABLE = "The limits of this project cannot be read now. Try again later."


class Limits(Protocol):
    """The limits of projects, by the names that Keystone has for them."""

    async def of_project(self, project_id: str | None, names: Collection[str]) -> Mapping[str, int]:
        """Every one of `names` with its limit, in the limit's own unit; negative is unlimited.

        `project_id` None is a caller without a project, for whom the defaults count. Raises ServiceUnavailable.
        """
        ...

    def close(self) -> None:
        """Give back threads and connections."""
        ...


def require_installed() -> None:
    """Raises StartRefused where oslo.limit is missing."""
    if find_spec("oslo_limit") is None:
        raise StartRefused("DEFAULT.use_keystone_limits needs oslo.limit: install it, or blick[limits].")


class KeystoneLimits:
    """Limits kept in Keystone, read through oslo.limit. One per process, because oslo.limit's session is."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        """`options` are those of [oslo_limit] that have a value. Keystone is not asked yet. See `require_installed`."""
        # Loads openstacksdk, which only those need who use limits.
        from keystoneauth1.exceptions import ClientException
        from openstack.exceptions import SDKException
        from oslo_limit import exception, limit

        self._options = {"timeout": _TIMEOUT_S, **options}
        self._oslo_limit = limit
        # What oslo.limit lets through. The second row: options that make no sense together, a model of limits that it
        # does not know, certificates that are not there, and answers of something that is no Keystone.
        self._troubles = (
            *(ClientException, SDKException, exception.SessionInitError, cfg.Error),
            *(ValueError, NotImplementedError, OSError, LookupError, TypeError, AttributeError),
        )
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="limits")
        self._lock = Lock()
        self._enforcer: Any = None
        self._failed_at_s = 0.0

    async def of_project(self, project_id: str | None, names: Collection[str]) -> Mapping[str, int]:
        """See Limits. A name that is not registered has the limit 0. Two calls to Keystone, once it is known."""
        found = await hop(self._threads, self._fetch, project_id, names, time.monotonic())
        if missing := sorted(set(names) - found.keys()):
            _log.warning("Keystone has no registered limit %s for this endpoint: 0 counts", ", ".join(missing))
        return {name: found.get(name, 0) for name in names}

    def close(self) -> None:
        """Begin no more calls. One that runs ends by its time-out at the latest."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _fetch(self, project_id: str | None, names: Collection[str], asked_at_s: float) -> Mapping[str, int]:
        """In a thread: the project's own limits, and the registered defaults where it has none.

        Who was waiting already when Keystone failed somebody else does not try in turn: where it hangs, one time-out
        would come after the other.
        """
        try:
            enforcer = self._ready(asked_at_s)
            found: dict[str, int] = dict(enforcer.get_project_limits(project_id, None)) if project_id else {}
            if not found.keys() >= set(names):
                found = {**dict(enforcer.get_registered_limits(None)), **found}
        except self._troubles as error:
            self._enforcer = None  # so that what was put right in Keystone counts without a restart
            self._failed_at_s = time.monotonic()
            _log.error("limits cannot be read from Keystone, see [%s]: %s: %s", _GROUP, type(error).__name__, error)
            raise ServiceUnavailable(_UNREADABLE) from error
        return found

    def _ready(self, asked_at_s: float) -> Any:
        """oslo.limit's enforcer, which has looked up our endpoint; made by the first who needs it."""
        with self._lock:
            if asked_at_s < self._failed_at_s:
                raise ServiceUnavailable(_UNREADABLE)
            if self._enforcer is None:
                _hand_over(self._options)
                # The session that it keeps is from before, when options may have been others.
                self._oslo_limit._SDK_CONNECTION = None
                # It is asked for limits only, never to enforce them: usage is measured where it is taken.
                self._enforcer = self._oslo_limit.Enforcer(lambda *_: {}, cache=False)
            return self._enforcer


def _hand_over(options: Mapping[str, Any]) -> None:
    """Set the options where oslo.limit looks for them: oslo.config's global object, which Blick itself never uses."""
    from keystoneauth1 import loading

    for name in cfg.CONF[_GROUP]:
        cfg.CONF.clear_override(name, group=_GROUP)
    if options.get("auth_type"):
        cfg.CONF.register_opts(loading.get_auth_plugin_conf_options(options["auth_type"]), group=_GROUP)
    for name, value in options.items():
        if name not in cfg.CONF[_GROUP]:
            continue  # belongs to another kind of credentials than the chosen one
        cfg.CONF.set_override(name, list(value) if isinstance(value, tuple) else value, group=_GROUP)
