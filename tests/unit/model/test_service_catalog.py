"""Catalogs of both forms, and texts that are none."""

import pytest

from blick.model.errors import Invalid
from blick.model.service_catalog import Endpoint, ServiceCatalog

V3 = b"""[
  {"type": "volumev3", "name": "cinder", "id": "1", "endpoints": [
    {"interface": "public", "region": "R1", "region_id": "R1", "url": "http://v1"},
    {"interface": "internal", "region": "R2", "region_id": "R2", "url": "http://v2"}]},
  {"type": "empty", "endpoints": []}]"""
V2 = b"""[{"type": "volumev3", "name": "cinder", "endpoints": [
    {"region": "R1", "publicURL": "http://v1"}, {"region": "R2", "internalURL": "http://v2"}]}]"""


@pytest.mark.parametrize("document", [V3, V2])
def test_both_forms(document: bytes) -> None:
    catalog = ServiceCatalog(document)
    assert catalog.endpoints == (
        Endpoint("volumev3", "cinder", "public", "R1", "http://v1"),
        Endpoint("volumev3", "cinder", "internal", "R2", "http://v2"),
    )
    assert catalog.url("volumev3") == "http://v1"
    assert catalog.url("volumev3", "internal") == "http://v2"
    assert catalog.url("volumev3", "internal", "R2") == "http://v2"
    assert catalog.url("volumev3", "internal", "R1") is None
    assert catalog.url("identity") is None


@pytest.mark.parametrize("document", [b"", b"{", b"3", b"[1]", b'["x"]', b'[{"endpoints": [{"interface": "public"}]}]'])
def test_no_catalog(document: bytes) -> None:
    with pytest.raises(Invalid):
        ServiceCatalog(document).url("image")


def test_it_does_not_fill_logs() -> None:
    assert repr(ServiceCatalog(V2)) == f"ServiceCatalog({len(V2)} bytes)"
