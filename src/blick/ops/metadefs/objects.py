"""Objects of metadata definitions (spec: metadefs-api §6)."""

from collections.abc import Sequence

from blick.db import metadef_objects
from blick.model.context import RequestContext
from blick.model.errors import NotFound
from blick.model.metadef import MetadefNamespace, MetadefObject
from blick.model.text import is_storable
from blick.ops.metadefs.access import load_for, load_to_change, target_of
from blick.ops.services import Services


async def list_objects(
    services: Services, context: RequestContext, namespace_name: str
) -> tuple[MetadefNamespace, Sequence[MetadefObject]]:
    """The namespace and its objects, in the order in which they came. Raises NotFound, Forbidden."""
    namespace = await load_for(services, context, namespace_name, "get_metadef_objects")
    # All of them lie in the one namespace, and so are all to be seen, or none.
    if not await services.policy.allows("get_metadef_object", context, target_of(namespace)):
        return namespace, ()
    return namespace, await services.database.read(metadef_objects.of_namespace, namespace.id)


async def create(
    services: Services, context: RequestContext, namespace_name: str, item: MetadefObject
) -> tuple[MetadefNamespace, MetadefObject]:
    """Put an object into the namespace. Raises NotFound, Forbidden, Conflict (its name is taken)."""
    namespace = await load_to_change(services, context, namespace_name, "add_metadef_object")
    return namespace, await services.database.write(metadef_objects.add, namespace.id, item, services.now())


async def show(
    services: Services, context: RequestContext, namespace_name: str, name: str
) -> tuple[MetadefNamespace, MetadefObject]:
    """The namespace and one object of it. Raises NotFound, Forbidden."""
    namespace = await load_for(services, context, namespace_name, "get_metadef_object")
    item = await services.database.read(metadef_objects.get, namespace.id, name) if is_storable(name) else None
    if item is None:
        raise _not_found(name)
    return namespace, item


async def update(
    services: Services, context: RequestContext, namespace_name: str, name: str, item: MetadefObject
) -> tuple[MetadefNamespace, MetadefObject]:
    """Replace an object as a whole, its name too. Raises NotFound, Forbidden, Conflict (the new name is taken)."""
    namespace = await load_to_change(services, context, namespace_name, "modify_metadef_object")
    if not is_storable(name):
        raise _not_found(name)
    replaced = await services.database.write(metadef_objects.replace, namespace.id, name, item, services.now())
    if replaced is None:
        raise _not_found(name)
    return namespace, replaced


async def delete(services: Services, context: RequestContext, namespace_name: str, name: str) -> None:
    """Delete one object. Raises NotFound, Forbidden (as policy says, or because the namespace is protected)."""
    namespace = await load_to_change(services, context, namespace_name, "delete_metadef_object")
    removed = is_storable(name) and await services.database.write(metadef_objects.remove, namespace.id, name)
    if not removed:
        raise _not_found(name)


async def delete_all(services: Services, context: RequestContext, namespace_name: str) -> None:
    """Delete all objects of the namespace, if there are any. Raises NotFound, Forbidden."""
    namespace = await load_to_change(services, context, namespace_name, "delete_metadef_namespace")
    await services.database.write(metadef_objects.remove_all, namespace.id)


def _not_found(name: str) -> NotFound:
    return NotFound(f"Could not find metadata object {name}")
