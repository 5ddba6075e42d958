"""Property protections: who may create, read, update and delete which custom property (spec: policies §6).

The operator's file has one section per kind of property. A section's name is a regular expression that is searched
for in a property's name; the first section that matches decides, and what none matches is nobody's.
"""

import configparser
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

from blick.model.context import RequestContext
from blick.model.errors import Forbidden, StartRefused
from blick.model.image import Image
from blick.model.image_input import RESERVED_PREFIX
from blick.model.image_patch import PropertyEvent, PropertyRights
from blick.policy.enforcer import Enforcer

_log = logging.getLogger(__name__)

Action = Literal["create", "read", "update", "delete"]
RuleFormat = Literal["roles", "policies"]

ACTIONS: Final[tuple[Action, ...]] = ("create", "read", "update", "delete")
_CHANGES: Final[tuple[Literal["create", "update", "delete"], ...]] = ("create", "update", "delete")
_EVERYBODY, _NOBODY = "@", "!"

# Names of properties come from callers: how many of them are remembered with their section.
_MOST_NAMES = 4096


@dataclass(frozen=True, slots=True)
class Grant:
    """Who may do one thing: everybody, holders of any of `roles`, whom the policy rule `rule` lets pass, or nobody."""

    everybody: bool = False
    roles: frozenset[str] = frozenset()
    rule: str | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """Properties whose name has a match of `pattern`, and who may do what with them."""

    pattern: re.Pattern[str]
    create: Grant
    read: Grant
    update: Grant
    delete: Grant


_ANYBODY = Grant(everybody=True)
_OF_THE_SERVICE = Section(re.compile(f"^{RESERVED_PREFIX}"), _ANYBODY, _ANYBODY, _ANYBODY, _ANYBODY)


def load_protections(file: Path, rule_format: RuleFormat, policy: Enforcer) -> "PropertyProtections":
    """Read the operator's file. Raises StartRefused, naming file, section and key of what is wrong."""
    parser = configparser.ConfigParser()
    try:
        with file.open(encoding="utf-8") as lines:
            parser.read_file(lines)
        sections = [
            _section(parser, name, rule_format) for name in parser.sections() if not name.startswith(RESERVED_PREFIX)
        ]
    except OSError as error:
        raise StartRefused(f"property_protection_file {file}: {error.strerror}") from error
    except (configparser.Error, ValueError) as error:
        raise StartRefused(f"property_protection_file {file}: {error}") from error
    return PropertyProtections(sections, policy)


def _section(parser: configparser.ConfigParser, name: str, rule_format: RuleFormat) -> Section:
    try:
        pattern = re.compile(name)
    except re.error as error:
        raise ValueError(f"section [{name}]: not a regular expression: {error}") from error
    return Section(pattern, *(_grant(parser, name, action, rule_format) for action in ACTIONS))


def _grant(parser: configparser.ConfigParser, section: str, action: Action, rule_format: RuleFormat) -> Grant:
    place = f"section [{section}], key {action}"
    if not parser.has_option(section, action):
        raise ValueError(f"{place}: missing; all of {', '.join(ACTIONS)} are needed")
    named = [part.strip() for part in parser.get(section, action).split(",") if part.strip()]
    if _EVERYBODY in named and _NOBODY in named:
        raise ValueError(f"{place}: @ (everybody) and ! (nobody) exclude each other")
    if not named:
        _log.warning("property protections, %s: empty, so nobody may %s these properties", place, action)
        return Grant()
    if _EVERYBODY in named:
        return _ANYBODY
    if _NOBODY in named:
        return Grant()
    if rule_format == "roles":
        return Grant(roles=frozenset(role.lower() for role in named))
    if len(named) > 1:
        raise ValueError(f"{place}: one policy rule is possible, not {len(named)}")
    return Grant(rule=named[0])


class PropertyProtections:
    """The sections of the file, asked for single properties. For the event loop's thread."""

    def __init__(self, sections: Sequence[Section], policy: Enforcer) -> None:
        """`policy` decides where a section names a rule of it."""
        self._sections = (_OF_THE_SERVICE, *sections)
        self._policy = policy
        self._found: dict[str, Section | None] = {}

    async def allows(self, action: Action, name: str, context: RequestContext) -> bool:
        """May this caller do that to custom properties of that name? Roles of a service token count as well."""
        section = self._section(name)
        if section is None:
            return False
        grant: Grant = getattr(section, action)
        roles = context.roles | context.service_roles
        if grant.rule is None:
            return grant.everybody or not grant.roles.isdisjoint(roles)
        if not self._policy.knows(grant.rule):
            # The default rule would let everybody pass where the operator meant to protect something.
            _log.error("property protections name the policy rule %s, which nobody defined", grant.rule)
            return False
        return await self._policy.allows(grant.rule, replace(context, roles=roles), {})

    async def require_new(self, names: Iterable[str], context: RequestContext) -> None:
        """Raises Forbidden if the caller may not give an image a property of one of these names."""
        for name in names:
            if not await self.allows("create", name, context):
                raise Forbidden(f"Attribute '{name}' is reserved.")

    async def readable(self, images: Sequence[Image], context: RequestContext) -> list[Image]:
        """The images with only those properties that the caller may read; asked once per distinct name."""
        hidden = await self._unreadable({name for image in images for name in image.properties}, context)
        if not hidden:
            return list(images)
        return [
            image
            if hidden.isdisjoint(image.properties)
            else replace(image, properties={k: v for k, v in image.properties.items() if k not in hidden})
            for image in images
        ]

    async def rights(self, names: Iterable[str], context: RequestContext) -> PropertyRights:
        """What a PATCH of this caller may do to properties of these names."""
        distinct = set(names)
        denied = [
            PropertyEvent(name, action)
            for name in distinct
            for action in _CHANGES
            if not await self.allows(action, name, context)
        ]
        return PropertyRights(await self._unreadable(distinct, context), frozenset(denied))

    async def _unreadable(self, names: Iterable[str], context: RequestContext) -> frozenset[str]:
        return frozenset([name for name in names if not await self.allows("read", name, context)])

    def _section(self, name: str) -> Section | None:
        if name not in self._found:
            if len(self._found) >= _MOST_NAMES:
                self._found.clear()
            self._found[name] = next((section for section in self._sections if section.pattern.search(name)), None)
        return self._found[name]
