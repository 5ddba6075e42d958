"""May this caller do that? oslo.policy decides; this module asks it cheaply and knows what a refusal means.

Files are looked at once per request (`refresh`), not once per rule, and are read anew when any of them changed,
appeared or vanished (spec: policies §1).
"""

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from oslo_config import cfg
from oslo_policy import _checks, policy

from blick.conf.settings import PolicySettings
from blick.model.context import RequestContext
from blick.model.errors import Forbidden, NotFound, StartRefused
from blick.model.image import Image
from blick.policy.listing import list_rules

_log = logging.getLogger(__name__)

# What oslo.policy raises for files that it cannot use; the last two where they hold no mapping of names to rules.
_UNREADABLE = (
    policy.InvalidDefinitionError,
    cfg.ConfigFilesPermissionDeniedError,
    ValueError,
    OSError,
    TypeError,
    AttributeError,
)


_MOST_OUTCOMES = 4096
_MISSING = object()  # a rule tells an absent key from one that is null


class Enforcer:
    """The rules in force. One per process; all methods are for the event loop's thread."""

    def __init__(self, settings: PolicySettings) -> None:
        """Read the defaults and the operator's files. Raises StartRefused where they cannot be understood."""
        _load_extensions_lazily()
        self._files = settings.policy_file, settings.policy_dirs
        conf = cfg.ConfigOpts()
        conf([], project="blick", default_config_files=[], default_config_dirs=[])
        self._oslo = policy.Enforcer(
            conf, policy_file=str(settings.policy_file), default_rule=settings.policy_default_rule
        )
        self._conf = conf
        conf.set_override("enforce_new_defaults", settings.enforce_new_defaults, "oslo_policy")
        self._oslo.suppress_deprecation_warnings = True
        self._oslo.suppress_default_change_warnings = True
        self._oslo.register_defaults(list_rules())
        self._keys: dict[str, frozenset[str] | None] = {}
        self._outcomes: dict[tuple[Any, ...], bool] = {}
        self._seen = self._stamps()
        try:
            self._read()
        except _UNREADABLE as error:
            raise StartRefused(f"[oslo_policy] policy_file {settings.policy_file}: {error}") from error

    def refresh(self) -> None:
        """Once per request: follow a change of the policy files. A broken file keeps the rules that were in force."""
        stamps = self._stamps()
        if stamps == self._seen:
            return
        self._seen = stamps
        try:
            self._read()
            _log.info("policy files changed, the new rules are in force")
        except _UNREADABLE as error:
            _log.error("policy files changed but cannot be read, the old rules stay in force: %s", error)

    def is_admin(self, context: RequestContext) -> bool:
        """The outcome of `context_is_admin` for the caller, who is also the target."""
        return self.allows("context_is_admin", context, _credentials(context))

    def allows(self, rule: str, context: RequestContext, target: Mapping[str, Any]) -> bool:
        """Does `rule` let this caller act on `target`? Remembered by everything that the rule looks at."""
        keys = self._looked_at(rule)
        if keys is None or "tags" in keys:
            return bool(self._oslo.enforce(rule, dict(target), _credentials(context)))
        asked = (rule, _who(context), tuple([target.get(key, _MISSING) for key in keys]))
        outcome = self._outcomes.get(asked)
        if outcome is None:
            outcome = bool(self._oslo.enforce(rule, dict(target), _credentials(context)))
            if len(self._outcomes) >= _MOST_OUTCOMES:
                self._outcomes.clear()
            self._outcomes[asked] = outcome
        return outcome

    def require(self, rule: str, context: RequestContext, target: Mapping[str, Any]) -> None:
        """Raises Forbidden if `rule` does not let the caller act on `target`."""
        if not self.allows(rule, context, target):
            raise Forbidden(f"You are not authorized to complete {rule} action.")

    def require_on_image(self, rule: str, context: RequestContext, image: Image) -> None:
        """Raises Forbidden, or NotFound where the caller may not even see the image (spec: policies §2)."""
        target = image_target(image)
        if self.allows(rule, context, target):
            return
        if rule != "get_image" and self.allows("get_image", context, target):
            raise Forbidden(f"You are not authorized to complete {rule} action.")
        raise NotFound(f"No image found with ID {image.id}")

    def visible(self, context: RequestContext, found: Iterable[Image]) -> list[Image]:
        """Those of `found` that pass `get_image`; asked once per distinct outcome, not per image."""
        keys = self._looked_at("get_image")
        outcomes: dict[tuple[Any, ...], bool] = {}
        passed: list[Image] = []
        for image in found:
            if keys is None or not keys <= _ATTRIBUTES.keys():
                outcome = self.allows("get_image", context, image_target(image))
            else:
                values = tuple([_ATTRIBUTES[key](image) for key in keys])
                if values not in outcomes:
                    outcomes[values] = self.allows("get_image", context, image_target(image))
                outcome = outcomes[values]
            if outcome:
                passed.append(image)
        return passed

    def _looked_at(self, rule: str) -> frozenset[str] | None:
        """Which keys of its target `rule` looks at; None if that cannot be told, as with a remote check."""
        if rule not in self._keys:
            self._keys[rule] = _mentioned(self._oslo.rules.get(rule), self._oslo.rules, frozenset())
        return self._keys[rule]

    def _read(self) -> None:
        policy_file, folders = self._files
        # Folders count beside a main file only (spec: policies §1).
        counting = [str(folder) for folder in folders] if policy_file.exists() else []
        self._conf.set_override("policy_dirs", counting, "oslo_policy")
        rules = policy.Rules(default_rule=self._oslo.default_rule)
        before = self._oslo.rules
        self._oslo.rules = rules
        self._oslo.policy_path = None
        self._oslo.file_rules = {}
        self._oslo._policy_dir_mtimes = {}
        self._oslo._file_cache.clear()
        self._oslo.use_conf = True
        try:
            self._oslo.load_rules(force_reload=True)
        except BaseException:
            self._oslo.rules = before
            raise
        finally:
            self._oslo.use_conf = False  # from here on `enforce` does not look at files by itself
        self._keys.clear()
        self._outcomes.clear()

    def _stamps(self) -> tuple[tuple[str, int, int], ...]:
        """Name, size and time of each policy file that exists."""
        policy_file, folders = self._files
        found: list[tuple[str, int, int]] = []
        _stamp(policy_file, found)
        for folder in folders:
            try:
                names = sorted(os.listdir(folder))  # noqa: PTH208 - a fifth of the cost of Path.iterdir, once per request
            except OSError:
                continue
            for name in names:
                _stamp(folder / name, found)
        return tuple(found)


def _load_extensions_lazily() -> None:
    """Load a check that comes from elsewhere when a rule first uses it.

    oslo.policy would load all of them with the first rule, and with its check of remote servers a whole HTTP client:
    5 MiB in each worker, for a check that hardly anybody uses.
    """

    def lazily(found: EntryPoint) -> Callable[[str, str], Any]:
        return lambda kind, match: found.load()(kind, match)

    if _checks.extension_checks is None:
        found = entry_points(group="oslo.policy.rule_checks")
        _checks.extension_checks = {each.name: lazily(each) for each in found}


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
        "tags": set(image.tags),
    }


# Attributes with few distinct values in a page: rules that look at nothing else are asked once per combination.
_ATTRIBUTES: dict[str, Any] = {
    "owner": lambda image: image.owner,
    "project_id": lambda image: image.owner,
    "member_id": lambda image: image.member_id,
    "visibility": lambda image: image.visibility,
    "status": lambda image: image.status,
}


def _who(context: RequestContext) -> tuple[Any, ...]:
    """Everything of a caller that rules can see, as `_credentials` has it."""
    return (
        context.user_id,
        context.project_id,
        context.roles,
        context.service_roles,
        context.is_admin,
        context.user_domain_id,
        context.project_domain_id,
        context.domain_id,
        context.system_scope,
        context.read_only,
    )


def _credentials(context: RequestContext) -> dict[str, Any]:
    return {
        "user_id": context.user_id,
        "project_id": context.project_id,
        "tenant": context.project_id,
        "roles": list(context.roles),
        "service_roles": list(context.service_roles),
        "is_admin": context.is_admin,
        "user_domain_id": context.user_domain_id,
        "project_domain_id": context.project_domain_id,
        "domain_id": context.domain_id,
        "system_scope": context.system_scope,
        "read_only": context.read_only,
    }


def _stamp(file: Path, found: list[tuple[str, int, int]]) -> None:
    try:
        status = os.stat(file)  # noqa: PTH116 - once per request
    except OSError:
        return
    found.append((str(file), status.st_mtime_ns, status.st_size))


def _mentioned(check: Any, rules: Mapping[str, Any], above: frozenset[str]) -> frozenset[str] | None:
    """The target keys that a check tree mentions; None if it holds a check that this function does not know."""
    if isinstance(check, (_checks.TrueCheck, _checks.FalseCheck)):
        return frozenset()
    if isinstance(check, (_checks.AndCheck, _checks.OrCheck)):
        parts = [_mentioned(part, rules, above) for part in check.rules]
    elif isinstance(check, _checks.NotCheck):
        parts = [_mentioned(check.rule, rules, above)]
    elif isinstance(check, _checks.RuleCheck):
        if check.match in above or check.match not in rules:
            return None
        parts = [_mentioned(rules[check.match], rules, above | {check.match})]
    elif type(check) in (_checks.RoleCheck, _checks.GenericCheck):
        return _placeholders(check.match)
    else:
        return None
    known = [part for part in parts if part is not None]
    return frozenset().union(*known) if len(known) == len(parts) else None


def _placeholders(text: str) -> frozenset[str] | None:
    if "%(" not in text:
        return frozenset()
    name, closed, rest = text.partition("%(")[2].partition(")s")
    return frozenset({name}) if closed and not rest and text.startswith("%(") else None
