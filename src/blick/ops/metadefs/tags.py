"""Tags of metadata definitions (spec: metadefs-api §6)."""

from collections.abc import Sequence

from blick.db import metadef_tags
from blick.model.context import RequestContext
from blick.model.errors import NotFound
from blick.model.metadef import MetadefTag
from blick.model.metadef_tag_query import TagQuery
from blick.model.text import is_storable
from blick.ops.metadefs.access import load_for, load_to_change
from blick.ops.services import Services


async def list_tags(
    services: Services, context: RequestContext, namespace_name: str, query: TagQuery
) -> Sequence[MetadefTag]:
    """A namespace's tags. Raises NotFound (the marker, too), Forbidden."""
    namespace = await load_for(services, context, namespace_name, "get_metadef_tags")
    if query.marker is not None and not is_storable(query.marker):
        raise _not_found(query.marker)
    return await services.database.read(metadef_tags.page, namespace.id, query)


async def create(services: Services, context: RequestContext, namespace_name: str, item: MetadefTag) -> MetadefTag:
    """Put a tag into the namespace. Raises NotFound, Forbidden, Conflict (it is there already)."""
    namespace = await load_to_change(services, context, namespace_name, "add_metadef_tag")
    return await services.database.write(metadef_tags.add, namespace.id, item, services.now())


async def create_many(
    services: Services, context: RequestContext, namespace_name: str, tags: Sequence[MetadefTag], *, append: bool
) -> None:
    """Put tags into the namespace: beside those that are there (`append`), or in their place; all of them, or none.

    Replacing is no deletion: a protected namespace takes it. Raises NotFound, Forbidden, Conflict (one of them is there
    already, or comes twice).
    """
    namespace = await load_to_change(services, context, namespace_name, "add_metadef_tags")
    await services.database.write(metadef_tags.add_many, namespace.id, tags, services.now(), append=append)


async def show(services: Services, context: RequestContext, namespace_name: str, name: str) -> MetadefTag:
    """One tag. Raises NotFound, Forbidden."""
    namespace = await load_for(services, context, namespace_name, "get_metadef_tag")
    item = await services.database.read(metadef_tags.get, namespace.id, name) if is_storable(name) else None
    if item is None:
        raise _not_found(name)
    return item


async def update(
    services: Services, context: RequestContext, namespace_name: str, name: str, item: MetadefTag
) -> MetadefTag:
    """Give a tag another name. Raises NotFound, Forbidden, Conflict (the new name is taken)."""
    namespace = await load_to_change(services, context, namespace_name, "modify_metadef_tag")
    if not is_storable(name):
        raise _not_found(name)
    renamed = await services.database.write(metadef_tags.rename, namespace.id, name, item, services.now())
    if renamed is None:
        raise _not_found(name)
    return renamed


async def delete(services: Services, context: RequestContext, namespace_name: str, name: str) -> None:
    """Delete one tag. Raises NotFound, Forbidden (as policy says, or because the namespace is protected)."""
    namespace = await load_to_change(services, context, namespace_name, "delete_metadef_tag")
    removed = is_storable(name) and await services.database.write(metadef_tags.remove, namespace.id, name)
    if not removed:
        raise _not_found(name)


async def delete_all(services: Services, context: RequestContext, namespace_name: str) -> None:
    """Delete all tags of the namespace, if there are any. Raises NotFound, Forbidden."""
    rules = ("delete_metadef_namespace", "delete_metadef_tags")
    namespace = await load_to_change(services, context, namespace_name, *rules)
    await services.database.write(metadef_tags.remove_all, namespace.id)


def _not_found(name: str) -> NotFound:
    return NotFound(f"Could not find metadata tag {name}")
