"""The rbd store on a real Ceph, through the suite for all stores."""

from collections.abc import AsyncIterator, Mapping

import pytest

from blick.stores.base import Store
from blick.stores.conformance import StoreConformance
from blick.stores.rbd import RbdStore
from tests.support.ceph import USER, Ceph

pytestmark = pytest.mark.needs("ceph", "rbd")

KINDS: Mapping[str, Mapping[str, object]] = {
    "rbd": {},
    "rbd, thin, small objects": {"rbd_thin_provisioning": True, "rbd_store_chunk_size": 1},
}


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest, ceph: Ceph) -> AsyncIterator[Store]:
    """Each kind in turn, in the pool images."""
    where = {"rbd_store_ceph_conf": str(ceph.conf_path), "rbd_store_user": USER, "rbd_store_pool": "images"}
    opened = RbdStore("rbd", where | KINDS[request.param])
    yield opened
    await opened.aclose()


class TestRbdStore(StoreConformance):
    """The suite itself is in blick.stores.conformance."""
