"""The rules of one reading of the policy files: what they say, what they look at, and what they decide.

A rulebook is never changed. Whoever reads the files again makes another one, so that a check that still runs in a
thread is decided by the rules under which it began.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from oslo_config import cfg
from oslo_policy import _checks, policy

from blick.conf.settings import PolicySettings
from blick.model.errors import ServiceUnavailable
from blick.policy.listing import list_rules

_log = logging.getLogger(__name__)


class CircularRules(ValueError):
    """Rules that refer to each other in a circle, which no check could ever leave."""


# What a rulebook raises for files that it cannot be made of; the last ones where they hold no mapping of names to
# rules, or rules that are no text.
UNREADABLE = (
    policy.InvalidDefinitionError,
    cfg.ConfigFilesPermissionDeniedError,
    ValueError,
    OSError,
    TypeError,
    AttributeError,
    RecursionError,
)
# What oslo.policy's own checks raise when a rule is written in a way that makes no sense, such as `1x:%(owner)s`.
_SENSELESS = (KeyError, TypeError, ValueError, SyntaxError, AttributeError)


@dataclass(frozen=True, slots=True)
class Reach:
    """What a rule looks at. `keys` are those of its target, None where that may be any. A rule that is not local
    asks somebody else, such as a remote server: it may take its time, and is never remembered."""

    keys: frozenset[str] | None
    is_local: bool = True


NOTHING = Reach(frozenset())


class Rulebook:
    """The defaults, and over them what the operator's files say. Any thread may ask it."""

    def __init__(self, settings: PolicySettings) -> None:
        """Read the files. Raises one of UNREADABLE where they cannot be understood."""
        _load_extensions_lazily()
        conf = cfg.ConfigOpts()
        conf([], project="blick", default_config_files=[], default_config_dirs=[])
        self._oslo = policy.Enforcer(
            conf, policy_file=str(settings.policy_file), default_rule=settings.policy_default_rule
        )
        # Folders count beside a main file only (spec: policies §1).
        counting = [str(folder) for folder in settings.policy_dirs] if settings.policy_file.exists() else []
        remote = settings.remote
        for name, value in {
            "enforce_new_defaults": settings.enforce_new_defaults,
            "policy_dirs": counting,
            "remote_content_type": remote.content_type,
            "remote_timeout": remote.timeout_s,
            "remote_ssl_verify_server_crt": remote.verify_server,
            "remote_ssl_ca_crt_file": _text(remote.ca_file),
            "remote_ssl_client_crt_file": _text(remote.client_cert_file),
            "remote_ssl_client_key_file": _text(remote.client_key_file),
        }.items():
            conf.set_override(name, value, "oslo_policy")
        self._oslo.suppress_deprecation_warnings = True
        self._oslo.suppress_default_change_warnings = True
        self._oslo.register_defaults(list_rules())
        self._oslo.load_rules(force_reload=True)
        self._oslo.use_conf = False  # from here on `enforce` does not look at files by itself
        self._reaches = _Survey(self._oslo.rules, str(self._oslo.default_rule)).all()

    def knows(self, rule: str) -> bool:
        """Is there a rule of that name, among the defaults or in the files?"""
        return rule in self._reaches

    def reach(self, rule: str) -> Reach:
        """What `rule` looks at."""
        return self._reaches.get(rule) or Reach(None)

    def decide(self, rule: str, target: Mapping[str, Any], credentials: dict[str, Any]) -> bool:
        """Does `rule` let someone with these credentials act on `target`?

        A rule that makes no sense lets nobody pass. Raises ServiceUnavailable where a remote server that has to be
        asked does not answer. Blocks if the rule is not local.
        """
        try:
            return bool(self._oslo.enforce(rule, target, credentials))
        except (OSError, RuntimeError) as error:
            _log.error("policy rule %s: %s", rule, error)
            raise ServiceUnavailable(f"The server that decides about {rule} does not answer.") from error
        except _SENSELESS as error:
            _log.error("policy rule %s makes no sense and lets nobody pass: %s", rule, error)
            return False


class _Survey:
    """Looks through all rules once: what each reaches, and that none comes back to itself."""

    def __init__(self, rules: policy.Rules, default_rule: str) -> None:
        self._rules = rules
        self._default_rule = default_rule
        self._done: dict[str, Reach] = {}
        self._open: list[str] = []

    def all(self) -> Mapping[str, Reach]:
        """What each rule reaches, by its name. Raises CircularRules."""
        for name in self._rules:
            self._rule(name)
        return self._done

    def _rule(self, name: str) -> Reach:
        if name not in self._rules:
            # `rule:` to a name that nobody defined means the default rule; without that, nobody passes.
            name = self._default_rule
            if name not in self._rules:
                return NOTHING
        if name in self._open:
            circle = [*self._open[self._open.index(name) :], name]
            raise CircularRules(f"rules refer to each other in a circle: {' → '.join(circle)}")
        if name not in self._done:
            self._open.append(name)
            self._done[name] = self._check(self._rules[name])
            self._open.pop()
        return self._done[name]

    def _check(self, check: Any) -> Reach:
        if isinstance(check, (_checks.TrueCheck, _checks.FalseCheck)):
            return NOTHING
        if isinstance(check, (_checks.AndCheck, _checks.OrCheck)):
            return _together([self._check(part) for part in check.rules])
        if isinstance(check, _checks.NotCheck):
            return self._check(check.rule)
        if isinstance(check, _checks.RuleCheck):
            return self._rule(check.match)
        if type(check) in (_checks.RoleCheck, _checks.GenericCheck):
            return Reach(_placeholders(check.match))
        return Reach(None, is_local=False)


def _together(parts: list[Reach]) -> Reach:
    known = [part.keys for part in parts if part.keys is not None]
    keys = frozenset().union(*known) if len(known) == len(parts) else None
    return Reach(keys, all(part.is_local for part in parts))


class _Asked(dict[str, str]):
    """A target that notes which keys a text asks it for, and does not let itself be written out as a whole."""

    def __init__(self) -> None:
        super().__init__()
        self.keys_asked: set[str] = set()

    def __missing__(self, key: str) -> str:
        self.keys_asked.add(key)
        return ""

    def __repr__(self) -> str:
        raise TypeError("the whole target is asked for")


def _placeholders(text: str) -> frozenset[str] | None:
    """The keys that `text % target` takes; None where it takes the whole target, or makes no sense."""
    asked = _Asked()
    try:
        _ = text % asked
    except (TypeError, ValueError):
        return None
    return frozenset(asked.keys_asked)


def _text(path: object) -> str | None:
    return None if path is None else str(path)


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
