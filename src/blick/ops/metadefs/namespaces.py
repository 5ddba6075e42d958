"""Namespaces of metadata definitions (spec: metadefs-api §6 to §8)."""

from collections.abc import Sequence
from dataclasses import dataclass

from blick.db import metadef_documents, metadef_namespaces
from blick.db.metadef_namespaces import Listed
from blick.model.context import RequestContext
from blick.model.errors import Invalid
from blick.model.metadef import Children, MetadefNamespace, NewNamespace, as_for, require_unprotected
from blick.model.metadef_input import NamespaceInput
from blick.model.metadef_query import NamespaceQuery
from blick.ops import access as writing
from blick.ops.metadefs import access
from blick.ops.metadefs.access import Target
from blick.ops.services import Services


@dataclass(frozen=True, slots=True)
class NamespacePage:
    """Part of a list. `last_name` is set where more may follow, and names the namespace to go on after."""

    namespaces: Sequence[Listed]
    last_name: str | None


async def list_namespaces(services: Services, context: RequestContext, query: NamespaceQuery) -> NamespacePage:
    """What the caller may see. Raises Forbidden, NotFound (also for a marker that the caller may not see)."""
    for rule in ("get_metadef_namespaces", "list_metadef_resource_types"):
        await access.require(services, context, rule, access.own_target(context))
    found = await services.database.read(metadef_namespaces.page, query, context.project_id, is_admin=context.is_admin)
    seen = await access.passing(services, context, "get_metadef_namespace", [each[0] for each in found])
    names = {each.name for each in seen}
    shown = [each for each in found if each[0].name in names]
    return NamespacePage(shown, shown[-1][0].name if shown and len(found) == query.limit else None)


async def create(services: Services, context: RequestContext, asked: NamespaceInput) -> MetadefNamespace:
    """A namespace with all that was asked for, or nothing. Raises Forbidden, NotFound, Conflict, Invalid (no owner)."""
    await access.require(services, context, "add_metadef_namespace", access.own_target(context))
    writing.require_writer(context)
    owner = _owner(context, asked.namespace)
    target: Target = {"project_id": owner, "visibility": asked.namespace.visibility}
    children = asked.children
    for rule, members in (
        ("add_metadef_resource_type_association", children.associations),
        ("add_metadef_object", children.objects),
        ("add_metadef_property", children.properties),
        ("add_metadef_tag", children.tags),
    ):
        if members:
            await access.require(services, context, rule, target)
    return await services.database.write(metadef_documents.create, asked.namespace, children, owner, services.now())


async def show(
    services: Services, context: RequestContext, name: str, resource_type: str | None
) -> tuple[MetadefNamespace, Children]:
    """A namespace and what lies in it, named as for that type of resource. Raises Forbidden, NotFound."""
    namespace = await access.load_for(
        services,
        context,
        name,
        "get_metadef_namespace",
        "list_metadef_resource_types",
        "get_metadef_objects",
        "get_metadef_properties",
        "get_metadef_tags",
    )
    children = await services.database.read(metadef_documents.children, namespace.id)
    return namespace, children if resource_type is None else as_for(children, resource_type)


async def replace(services: Services, context: RequestContext, name: str, asked: NamespaceInput) -> MetadefNamespace:
    """Set everything anew, but leave what lies in it. Raises Forbidden, NotFound, Conflict, Invalid (no owner)."""
    namespace = await access.load_to_change(services, context, name, "modify_metadef_namespace")
    owner = _owner(context, asked.namespace)
    return await services.database.write(
        metadef_namespaces.replace, namespace.id, asked.namespace, owner, services.now()
    )


async def delete(services: Services, context: RequestContext, name: str) -> None:
    """A namespace and what lies in it. Raises Forbidden (also where it is protected), NotFound."""
    namespace = await access.load_to_change(services, context, name, "delete_metadef_namespace")
    require_unprotected(namespace)
    await services.database.write(metadef_documents.delete_whole, namespace.id)


def _owner(context: RequestContext, asked: NewNamespace) -> str:
    owner = context.project_id if asked.owner is None else asked.owner
    if owner is None:
        raise Invalid("A metadata definition namespace needs an owner, and the caller has no project.")
    return owner
