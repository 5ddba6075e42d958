"""The rbd store on a real Ceph, through the suite for all stores."""

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from blick.stores.base import Store
from blick.stores.conformance import StoreConformance
from tests.stores.rbd_store import open_store
from tests.support.ceph import Ceph

pytestmark = pytest.mark.needs("ceph", "rbd")

KINDS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "rbd": ("", {}),
    "rbd, thin, small objects": ("", {"rbd_thin_provisioning": True, "rbd_store_chunk_size": 1}),
    "rbd, images without locks": ("rbd default features = 1\n", {}),
}
"""What ceph.conf says besides, and options of the store."""


@pytest.fixture(params=KINDS)
async def store(request: pytest.FixtureRequest, ceph: Ceph, tmp_path: Path) -> AsyncIterator[Store]:
    """Each kind in turn, in the pool images."""
    lines, options = KINDS[request.param]
    conf_path = tmp_path / "ceph.conf"
    conf_path.write_text(ceph.conf_path.read_text().replace("[global]\n", f"[global]\n{lines}"))
    opened = open_store(conf_path, **options)
    yield opened
    await opened.aclose()


class TestRbdStore(StoreConformance):
    """The suite itself is in blick.stores.conformance."""
