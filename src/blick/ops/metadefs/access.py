"""Getting at one namespace: there, visible, allowed (spec: metadefs-api §2, §3)."""

from collections.abc import Iterable, Mapping
from typing import Any

from blick.db import metadef_namespaces
from blick.model.context import RequestContext
from blick.model.errors import Forbidden, NotFound
from blick.model.metadef import MetadefNamespace, is_visible
from blick.ops import access
from blick.ops.services import Services

Target = Mapping[str, Any]

_SEES = "get_metadef_namespace"


def target_of(namespace: MetadefNamespace) -> Target:
    """What rules see of a namespace, and of everything in it."""
    return {"project_id": namespace.owner, "visibility": namespace.visibility}


def own_target(context: RequestContext) -> Target:
    """What rules see where there is no namespace at hand."""
    return {"project_id": context.project_id}


async def load(services: Services, context: RequestContext, name: str) -> MetadefNamespace:
    """The namespace, if the caller may know of it. Raises NotFound otherwise. One transaction, one statement."""
    namespace = await services.database.read(metadef_namespaces.get, name)
    if namespace is None or not is_visible(namespace, context):
        raise not_found(name)
    return namespace


async def load_for(services: Services, context: RequestContext, name: str, *rules: str) -> MetadefNamespace:
    """The namespace, if the caller may do all of `rules` to it. Raises NotFound or Forbidden."""
    namespace = await load(services, context, name)
    for rule in rules:
        await require(services, context, rule, target_of(namespace), not_found(name))
    return namespace


async def load_to_change(services: Services, context: RequestContext, name: str, *rules: str) -> MetadefNamespace:
    """As `load_for`; raises Forbidden for callers that may only look, too."""
    namespace = await load_for(services, context, name, *rules)
    access.require_writer(context)
    return namespace


async def require(
    services: Services, context: RequestContext, rule: str, target: Target, hidden: NotFound | None = None
) -> None:
    """Raises Forbidden, or NotFound (`hidden`, if given) where the caller may not even see a namespace of that kind."""
    if await services.policy.allows(rule, context, target):
        return
    if rule != _SEES and await services.policy.allows(_SEES, context, target):
        raise Forbidden(f"You are not authorized to complete {rule} action.")
    raise hidden or NotFound("No metadata definition namespace was found.")


async def passing(
    services: Services, context: RequestContext, rule: str, found: Iterable[MetadefNamespace]
) -> list[MetadefNamespace]:
    """Those of `found` that pass the rule; asked once per distinct target."""
    outcomes: dict[tuple[str | None, str | None], bool] = {}
    passed = []
    for namespace in found:
        seen = (namespace.owner, namespace.visibility)
        if seen not in outcomes:
            outcomes[seen] = await services.policy.allows(rule, context, target_of(namespace))
        if outcomes[seen]:
            passed.append(namespace)
    return passed


def not_found(name: str) -> NotFound:
    """The answer about a namespace that is not there, or that the caller may not know of."""
    return NotFound(f"Metadata definition namespace={name} was not found.")
