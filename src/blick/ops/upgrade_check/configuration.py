"""What the configuration says: options, policy files, stores that Glance does not know any more."""

from collections.abc import Callable

from blick.conf.findings import Finding
from blick.conf.load import Examined
from blick.conf.settings import Settings
from blick.model.errors import StartRefused
from blick.ops.upgrade_check.outcome import Outcome, Result, outcome
from blick.policy.enforcer import Enforcer
from blick.policy.properties import load_protections

_OWNER = ("DEFAULT", "owner_is_tenant")
_UNKNOWN = frozenset({"unknown-option", "unknown-group"})
_OLD = frozenset({"retired", "deprecated", "ignored", "doubtful"})
_JSON = ".json"


def sheepdog(settings: Settings) -> Outcome:
    """Glance gave the driver up; Blick keeps it so that its images can be read and moved."""
    lines = [
        f"The store {store.id} is of type sheepdog, which Glance has removed. Copy its images to another store."
        for store in settings.stores.stores
        if store.type == "sheepdog"
    ]
    return outcome("Sheepdog Driver Removal", Result.FAILURE, lines)


def policy_file(settings: Settings) -> Outcome:
    """oslo.policy reads YAML; a JSON file is either not read at all, or on its way out."""
    file, lines = settings.policy.policy_file, []
    if file.suffix == _JSON:
        lines.append(f"{file} is in JSON. Convert it with oslopolicy-convert-json-to-yaml, and name the new file.")
    elif not file.exists() and file.with_suffix(_JSON).exists():
        lines.append(
            f"{file.with_suffix(_JSON)} is not read. Convert it with oslopolicy-convert-json-to-yaml to {file}."
        )
    return outcome("Policy File JSON to YAML Migration", Result.FAILURE, lines)


def owners(examined: Examined) -> Outcome:
    """Images belong to projects; a database whose owners are users would show them to nobody."""
    return outcome("Owner Is Tenant", Result.FAILURE, [str(one) for one in examined.errors if _is_about_owners(one)])


def wrong_options(examined: Examined) -> Outcome:
    """Values that no service starts with."""
    found = [str(one) for one in examined.errors if not _is_about_owners(one)]
    return outcome("Option Values", Result.FAILURE, found)


def unknown_options(examined: Examined) -> Outcome:
    """Options and groups that mean nothing here."""
    return _findings("Unknown Options", examined, lambda one: one.kind in _UNKNOWN)


def old_options(examined: Examined) -> Outcome:
    """Options that were removed, are deprecated, or have no effect."""
    return _findings("Deprecated and Ignored Options", examined, lambda one: one.kind in _OLD)


def policies(settings: Settings) -> Outcome:
    """The policy files and the property protections, read as a start reads them."""
    lines = []
    try:
        policy = Enforcer(settings.policy)
        try:
            if (file := settings.policy.property_protection_file) is not None:
                load_protections(file, settings.policy.property_protection_rule_format, policy)
        finally:
            policy.close()
    except StartRefused as error:
        lines.append(str(error))
    return outcome("Policies", Result.FAILURE, lines)


def _findings(name: str, examined: Examined, counts: Callable[[Finding], bool]) -> Outcome:
    found = [str(one) for one in examined.findings if one.level != "error" and counts(one)]
    return outcome(name, Result.WARNING, found)


def _is_about_owners(finding: Finding) -> bool:
    return (finding.group, finding.name) == _OWNER
