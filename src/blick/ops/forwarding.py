"""Requests about staged data that another node has are asked of that node (spec: import-and-tasks §7, images-api D13).

The node is the one that the image's property `os_glance_stage_host` names, which nobody but the service ever writes. It
gets the caller's own token, and decides by itself what the caller may do.
"""

import logging
from dataclasses import dataclass

from blick.model.errors import NodeBroken, NodeUnreachable
from blick.model.image import STAGE_HOST, Image
from blick.ops import staging
from blick.ops.services import Services
from blick.stream.nodes import NodeAnswer, NodeRequest

_log = logging.getLogger(__name__)

# What something between here and the node says when it does not reach the node either.
_OF_GATEWAYS = frozenset({502, 503, 504})


@dataclass(frozen=True, slots=True)
class Forwardable:
    """A caller's request as another node would get it. `was_forwarded`: another node has sent it here already."""

    request: NodeRequest
    was_forwarded: bool


async def to_stage_host(services: Services, image: Image, asked: Forwardable) -> NodeAnswer | None:
    """What the node says that has the image's staged data, to be passed on as it is; None: this node is to serve it.

    Raises NodeUnreachable (and then nobody knows whether the node has done it), NodeBroken.
    """
    host, own = (image.properties.get(STAGE_HOST) or "").rstrip("/"), services.staging.node
    if host in ("", own):
        return None
    if asked.was_forwarded or not own:
        # Once is enough. This node may well have the data: it was called otherwise before.
        if await staging.find(services, image.id) is not None:
            return None
        if asked.was_forwarded:
            raise NodeBroken(f"The staged data of image {image.id} is at {host}, which leads here.")
    fetch = services.settings.fetch
    ca_file = str(fetch.ca_file) if fetch.ca_file is not None else None
    answer = await services.nodes.ask(host, asked.request, ca_file=ca_file, verify=not fetch.insecure)
    _log.info("%s of image %s was forwarded to %s: %d", asked.request.method, image.id, host, answer.status)
    return answer


async def deletion_to_stage_host(services: Services, image: Image, asked: Forwardable) -> NodeAnswer | None:
    """Like `to_stage_host`, for deletions: those are not held up by a node that does not answer. What it has of the
    image it finds to be left over once it is back.
    """
    if asked.was_forwarded:
        return None
    try:
        answer = await to_stage_host(services, image, asked)
    except NodeUnreachable as error:
        _log.warning("image %s is deleted without the node that has its staged data: %s", image.id, error)
        return None
    return None if answer is not None and answer.status in _OF_GATEWAYS else answer
