"""Properties of metadata definitions (spec: metadefs-api §6)."""

from collections.abc import Sequence

from blick.db import metadef_properties
from blick.model.context import RequestContext
from blick.model.errors import NotFound
from blick.model.metadef import MetadefProperty
from blick.model.text import is_storable
from blick.ops.metadefs.access import load_for, load_to_change
from blick.ops.services import Services


async def list_properties(
    services: Services, context: RequestContext, namespace_name: str
) -> Sequence[MetadefProperty]:
    """A namespace's properties, in the order in which they came. Raises NotFound, Forbidden."""
    namespace = await load_for(services, context, namespace_name, "get_metadef_properties")
    return await services.database.read(metadef_properties.of_namespace, namespace.id)


async def create(
    services: Services, context: RequestContext, namespace_name: str, item: MetadefProperty
) -> MetadefProperty:
    """Put a property into the namespace. Raises NotFound, Forbidden, Conflict (its name is taken)."""
    namespace = await load_to_change(services, context, namespace_name, "add_metadef_property")
    await services.database.write(metadef_properties.add, namespace.id, item, services.now())
    return item


async def show(
    services: Services, context: RequestContext, namespace_name: str, name: str, resource_type: str | None
) -> MetadefProperty:
    """One property. With `resource_type`, `name` is the one it has on resources of that type: with its prefix.

    Raises NotFound, also where no property has that name there; Forbidden.
    """
    rules = ("get_metadef_property", *(() if resource_type is None else ("get_metadef_resource_type",)))
    namespace = await load_for(services, context, namespace_name, *rules)
    own_name: str | None = name
    if resource_type is not None:
        own_name = await _without_prefix(services, namespace.id, name, resource_type)
    if own_name is None or not is_storable(own_name):
        raise _not_found(name)
    item = await services.database.read(metadef_properties.get, namespace.id, own_name)
    if item is None:
        raise _not_found(name)
    return item


async def _without_prefix(services: Services, namespace_id: int, name: str, resource_type: str) -> str | None:
    if not is_storable(resource_type):
        return None
    prefix = await services.database.read(metadef_properties.prefix_on, namespace_id, resource_type)
    return name.removeprefix(prefix) if prefix and name.startswith(prefix) else None


async def update(
    services: Services, context: RequestContext, namespace_name: str, name: str, item: MetadefProperty
) -> MetadefProperty:
    """Replace a property as a whole, its name too. Raises NotFound, Forbidden, Conflict (the new name is taken)."""
    namespace = await load_to_change(services, context, namespace_name, "modify_metadef_property")
    replaced = is_storable(name) and await services.database.write(
        metadef_properties.replace, namespace.id, name, item, services.now()
    )
    if not replaced:
        raise _not_found(name)
    return item


async def delete(services: Services, context: RequestContext, namespace_name: str, name: str) -> None:
    """Delete one property. Raises NotFound, Forbidden (as policy says, or because the namespace is protected)."""
    namespace = await load_to_change(services, context, namespace_name, "remove_metadef_property")
    removed = is_storable(name) and await services.database.write(metadef_properties.remove, namespace.id, name)
    if not removed:
        raise _not_found(name)


async def delete_all(services: Services, context: RequestContext, namespace_name: str) -> None:
    """Delete all properties of the namespace, if there are any. Raises NotFound, Forbidden."""
    namespace = await load_to_change(services, context, namespace_name, "delete_metadef_namespace")
    await services.database.write(metadef_properties.remove_all, namespace.id)


def _not_found(name: str) -> NotFound:
    return NotFound(f"Could not find metadata property {name}")
