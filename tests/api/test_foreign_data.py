"""Bytes under an image's name that no record knows of are never overwritten and never removed."""

from pathlib import Path

from tests.support.service import OCTETS, Service


async def test_an_upload_leaves_a_strange_object_alone(service: Service) -> None:
    image = await service.create()
    folder = Path(service.services.settings.stores.stores[0].options["filesystem_store_datadir"])
    strange = folder / image["id"]
    strange.write_bytes(b"somebody else's")
    path = f"/v2/images/{image['id']}/file"
    refused = await service.call("owner", "PUT", path, content=b"ours", headers=OCTETS)
    assert refused.status_code == 409, refused.text
    assert strange.read_bytes() == b"somebody else's"
    assert (await service.show(image["id"]))["status"] == "queued"
    strange.unlink()
    accepted = await service.call("owner", "PUT", path, content=b"ours", headers=OCTETS)
    assert accepted.status_code == 204, accepted.text
