"""Resource types, and which namespaces are of use for them (spec: metadefs-api §6)."""

from collections.abc import Sequence

from blick.db import metadef_resource_types
from blick.model.context import RequestContext
from blick.model.metadef import Association, ResourceType
from blick.ops.metadefs import access
from blick.ops.services import Services


async def list_types(services: Services, context: RequestContext) -> Sequence[ResourceType]:
    """Every resource type that some namespace was ever associated with. Raises Forbidden, NotFound."""
    await access.require(services, context, "list_metadef_resource_types", access.own_target(context))
    return await services.database.read(metadef_resource_types.every)


async def list_associations(services: Services, context: RequestContext, name: str) -> Sequence[Association]:
    """What a namespace is associated with. Raises Forbidden, NotFound."""
    namespace = await access.load_for(services, context, name, "list_metadef_resource_types")
    found = await services.database.read(metadef_resource_types.of_namespace, namespace.id)
    # Rules see the namespace only: what goes for one association goes for all.
    shows = await services.policy.allows("get_metadef_resource_type", context, access.target_of(namespace))
    return found if shows else ()


async def associate(services: Services, context: RequestContext, name: str, new: Association) -> Association:
    """Associate a namespace with a type, which is made if there is none. Raises Forbidden, NotFound, Conflict."""
    namespace = await access.load_to_change(services, context, name, "add_metadef_resource_type_association")
    return await services.database.write(metadef_resource_types.associate, namespace.id, new, services.now())


async def dissociate(services: Services, context: RequestContext, name: str, resource_type: str) -> None:
    """End an association. Raises Forbidden (also where the namespace is protected), NotFound."""
    namespace = await access.load_to_change(services, context, name, "remove_metadef_resource_type_association")
    await services.database.write(metadef_resource_types.dissociate, namespace.id, resource_type)
