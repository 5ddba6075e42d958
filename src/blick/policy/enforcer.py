"""May this caller do that? oslo.policy decides; this module asks it cheaply and knows what a refusal means.

Files are looked at once per request (`refresh`), not once per rule, and are read anew when any of them changed,
appeared or vanished (spec: policies §1).
"""

import logging
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter
from pathlib import Path
from typing import Any

from blick.conf.settings import PolicySettings
from blick.model.context import RequestContext
from blick.model.errors import Forbidden, NotFound, StartRefused
from blick.model.image import Image
from blick.policy.rulebook import UNREADABLE, Rulebook
from blick.stream.hop import hop

_log = logging.getLogger(__name__)

_MOST_OUTCOMES = 4096
_MISSING = object()  # a rule tells an absent key from one that is null

# Remote checks that may wait for their servers at the same time. They have threads of their own, so that a policy
# server that hangs holds up nothing but the requests that need it.
_REMOTE_CHECKS = 16


class Enforcer:
    """The rules in force. One per process; all methods are for the event loop's thread."""

    def __init__(self, settings: PolicySettings) -> None:
        """Read the defaults and the operator's files. Raises StartRefused where they cannot be understood."""
        self._settings = settings
        self._outcomes: dict[tuple[Any, ...], bool] = {}
        self._seen = self._stamps()
        self._threads = ThreadPoolExecutor(_REMOTE_CHECKS, thread_name_prefix="policy")
        try:
            self._rules = Rulebook(settings)
        except UNREADABLE as error:
            raise StartRefused(f"[oslo_policy] policy_file {settings.policy_file}: {error}") from error

    def close(self) -> None:
        """Give threads back."""
        self._threads.shutdown(wait=False)

    def refresh(self) -> None:
        """Once per request: follow a change of the policy files. A broken file keeps the rules that were in force."""
        stamps = self._stamps()
        if stamps == self._seen:
            return
        self._seen = stamps
        try:
            self._rules = Rulebook(self._settings)
        except UNREADABLE as error:
            _log.error("policy files changed but cannot be used, the old rules stay in force: %s", error)
            return
        self._outcomes.clear()
        _log.info("policy files changed, the new rules are in force")

    def knows(self, rule: str) -> bool:
        """Is there a rule of that name now, among the defaults or in the files?"""
        return self._rules.knows(rule)

    async def is_admin(self, context: RequestContext) -> bool:
        """The outcome of `context_is_admin` for the caller, who is also the target."""
        return await self.allows("context_is_admin", context, _credentials(context))

    async def allows(self, rule: str, context: RequestContext, target: Mapping[str, Any]) -> bool:
        """Does `rule` let this caller act on `target`? Remembered by everything that the rule looks at.

        Raises ServiceUnavailable where the rule asks a remote server, and that does not answer.
        """
        reach = self._rules.reach(rule)
        if not reach.is_local:
            return await hop(self._threads, self._rules.decide, rule, dict(target), _credentials(context))
        if reach.keys is None:
            return self._rules.decide(rule, target, _credentials(context))
        asked = (rule, _who(context), tuple([_told_apart(target.get(key, _MISSING)) for key in reach.keys]))
        outcome = self._outcomes.get(asked)
        if outcome is None:
            outcome = self._rules.decide(rule, target, _credentials(context))
            if len(self._outcomes) >= _MOST_OUTCOMES:
                self._outcomes.clear()
            self._outcomes[asked] = outcome
        return outcome

    async def require(self, rule: str, context: RequestContext, target: Mapping[str, Any]) -> None:
        """Raises Forbidden if `rule` does not let the caller act on `target`."""
        if not await self.allows(rule, context, target):
            raise Forbidden(f"You are not authorized to complete {rule} action.")

    async def require_on_image(self, rule: str, context: RequestContext, image: Image) -> None:
        """Raises Forbidden, or NotFound where the caller may not even see the image (spec: policies §2)."""
        target = image_target(image)
        if await self.allows(rule, context, target):
            return
        if rule != "get_image" and await self.allows("get_image", context, target):
            raise Forbidden(f"You are not authorized to complete {rule} action.")
        raise NotFound(f"No image found with ID {image.id}")

    async def visible(self, context: RequestContext, found: Iterable[Image]) -> list[Image]:
        """Those of `found` that pass `get_image`; asked once per distinct outcome, not per image."""
        reach = self._rules.reach("get_image")
        few = reach.keys is not None and reach.keys <= _ATTRIBUTES.keys()
        getters = [_ATTRIBUTES[key] for key in reach.keys or ()] if few else [_IDENTITY]
        outcomes: dict[tuple[Any, ...], bool] = {}
        passed: list[Image] = []
        for image in found:
            values = tuple([get(image) for get in getters])
            outcome = outcomes.get(values)
            if outcome is None:
                outcome = outcomes[values] = await self.allows("get_image", context, image_target(image))
            if outcome:
                passed.append(image)
        return passed

    def _stamps(self) -> tuple[tuple[str, int, int, int], ...]:
        """Name, number, time and size of each policy file that exists."""
        found: list[tuple[str, int, int, int]] = []
        _stamp(self._settings.policy_file, found)
        for folder in self._settings.policy_dirs:
            try:
                names = sorted(os.listdir(folder))  # noqa: PTH208 - a fifth of the cost of Path.iterdir, once per request
            except OSError:
                continue
            for name in names:
                _stamp(folder / name, found)
        return tuple(found)


def image_target(image: Image) -> dict[str, Any]:
    """What rules see of an image: every attribute and property by name, and the aliases (spec: policies §1)."""
    return {
        **image.properties,
        "image_id": image.id,
        "id": image.id,
        "name": image.name,
        "status": image.status,
        "visibility": image.visibility,
        "owner": image.owner,
        "project_id": image.owner,
        "member_id": image.member_id,
        "disk_format": image.disk_format,
        "container_format": image.container_format,
        "size": image.size,
        "virtual_size": image.virtual_size,
        "checksum": image.checksum,
        "os_hash_algo": image.os_hash_algo,
        "os_hash_value": image.os_hash_value,
        "min_disk": image.min_disk,
        "min_ram": image.min_ram,
        "protected": image.protected,
        "os_hidden": image.os_hidden,
        "tags": image.tags,
        "created_at": str(image.created_at),
        "updated_at": str(image.updated_at),
    }


# Attributes with few distinct values in a page: rules that look at nothing else are asked once per combination.
_ATTRIBUTES: dict[str, Any] = {
    "owner": attrgetter("owner"),
    "project_id": attrgetter("owner"),
    "member_id": attrgetter("member_id"),
    "visibility": attrgetter("visibility"),
    "status": attrgetter("status"),
}
_IDENTITY = attrgetter("id")


def _told_apart(value: Any) -> Any:
    """`value` as part of a key: a rule compares texts, and True, 1 and 1.0 are three of them."""
    if value is None or type(value) is str:
        return value
    return type(value), str(value)


# Everything of a caller that rules can see.
_SEEN_OF_CALLERS = (
    "user_id",
    "project_id",
    "roles",
    "service_roles",
    "is_admin",
    "user_domain_id",
    "project_domain_id",
    "domain_id",
    "system_scope",
    "is_admin_project",
    "service_user_id",
    "service_user_domain_id",
    "service_project_id",
    "service_project_domain_id",
    "read_only",
)
_who = attrgetter(*_SEEN_OF_CALLERS)


def _credentials(context: RequestContext) -> dict[str, Any]:
    return {
        **dict(zip(_SEEN_OF_CALLERS, _who(context), strict=True)),
        "tenant": context.project_id,
        "roles": list(context.roles),
        "service_roles": list(context.service_roles),
    }


def _stamp(file: Path, found: list[tuple[str, int, int, int]]) -> None:
    try:
        status = os.stat(file)  # noqa: PTH116 - once per request
    except OSError:
        return
    found.append((str(file), status.st_ino, status.st_mtime_ns, status.st_size))
