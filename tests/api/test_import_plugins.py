"""Imports whose data passes through plugins: real disks, packed and not, and those that nobody should let in."""

import bz2
import gzip
import hashlib
import lzma
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from blick.conf.settings import Settings
from blick.worker import job_worker
from tests.support import images
from tests.support.hostile_images import repeating_qcow2
from tests.support.images import MIB, RealImage, run
from tests.support.service import OCTETS, Service, running_service

pytestmark = pytest.mark.needs("qemu", "iso", "boot")

GIB = 1 << 30
HOUR_MS = 3_600_000
CONVERT = ("image_decompression", "image_conversion")
NOISE = bytes(range(256)) * 256


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where images are made."""
    made = tmp_path / "made"
    made.mkdir()
    return made


@pytest.fixture
def serving(settings: Settings) -> Callable[..., Any]:
    """Runs a service with these plugins and settings of imports."""

    @asynccontextmanager
    async def run_it(
        *plugins: str, image_format: dict[str, Any] | None = None, quotas: dict[str, Any] | None = None, **imports: Any
    ) -> AsyncIterator[Service]:
        changed = replace(
            settings,
            imports=replace(settings.imports, plugins=plugins, **imports),
            image_format=replace(settings.image_format, **(image_format or {})),
            quotas=replace(settings.quotas, **(quotas or {})),
        )
        async with running_service(changed) as service:
            yield service

    return run_it


async def imported(service: Service, data: bytes, who: str = "owner", **body: Any) -> tuple[dict[str, Any], str]:
    """The image after its import, and the message of the task."""
    image = await service.create(who, **body)
    path = f"/v2/images/{image['id']}"
    response = await service.call(who, "PUT", f"{path}/stage", content=data, headers=OCTETS)
    assert response.status_code == 204, response.text
    response = await service.call(who, "POST", f"{path}/import", json={"method": {"name": "glance-direct"}})
    assert response.status_code == 202, response.text
    assert await job_worker(service.services).work_off() == 1
    tasks = (await service.call(who, "GET", f"{path}/tasks")).json()["tasks"]
    assert tasks[-1]["status"] in ("success", "failure")
    assert left_over(service) == []
    return await service.show(image["id"], who), tasks[-1]["message"]


def left_over(service: Service) -> list[str]:
    """Everything in the folders of staged data and of scratch."""
    imports = service.services.settings.imports
    folders = [imports.staging_dir, *([imports.work_dir] if imports.work_dir else [])]
    return [str(entry) for folder in folders if folder.exists() for entry in folder.iterdir()]


async def data_of(service: Service, image: dict[str, Any]) -> bytes:
    response = await service.call("owner", "GET", f"/v2/images/{image['id']}/file")
    assert response.status_code == 200, response.text
    assert hashlib.sha512(response.content).hexdigest() == image["os_hash_value"]
    return response.content


async def refused(service: Service, data: bytes, **body: Any) -> str:
    """Why the import failed; nothing of it is left."""
    image, message = await imported(service, data, **body)
    found = {name: image[name] for name in ("status", "size", "virtual_size", "checksum", "disk_format")}
    nothing = {"status": "queued", "size": None, "virtual_size": None, "checksum": None}
    assert found == {**nothing, "disk_format": body.get("disk_format", "raw")}, message
    assert service.stored_files == []
    return message


# Conversion


@pytest.mark.parametrize("target_format", ["raw", "qcow2", "vmdk"])
async def test_disks_of_every_format_are_converted(serving: Any, folder: Path, target_format: str) -> None:
    async with serving(*CONVERT, convert_to=target_format) as service:
        for image in (*images.good_images(folder), images.gpt_disk(folder)):
            found, message = await imported(service, image.path.read_bytes(), disk_format=image.disk_format)
            assert found["status"] == "active", f"{image.name}: {message}"
            assert (found["disk_format"], found["container_format"]) == (target_format, "bare"), image.name
            assert found["virtual_size"] == image.virtual_size_bytes, image.name
            result = folder / "result"
            result.write_bytes(await data_of(service, found))
            assert found["size"] == result.stat().st_size
            qemu_format = {"vhd": "vpc"}.get(image.disk_format, image.disk_format)
            run("qemu-img", "compare", "-f", qemu_format, "-F", target_format, image.path, result)
            if image.disk_format == target_format:
                assert result.read_bytes() == image.path.read_bytes(), "it was converted without need"


@pytest.mark.parametrize("target_format", ["raw", "qcow2"])
async def test_a_cd_stays_one(serving: Any, folder: Path, target_format: str) -> None:
    iso = images.made_iso(folder)
    async with serving(*CONVERT, convert_to=target_format) as service:
        found, _ = await imported(service, iso.path.read_bytes(), disk_format="iso")
        assert (found["status"], found["disk_format"]) == ("active", "iso")
        assert found["virtual_size"] == iso.virtual_size_bytes
        assert await data_of(service, found) == iso.path.read_bytes()
        assert "declared raw, found iso" in await refused_again(service, iso.path.read_bytes(), disk_format="raw")


async def refused_again(service: Service, data: bytes, **body: Any) -> str:
    """Why an import failed where others did not."""
    image, message = await imported(service, data, **body)
    assert image["status"] == "queued"
    return message


async def test_a_disk_in_an_old_container_comes_out_of_it(serving: Any, folder: Path) -> None:
    qcow2 = images.convert(images.fill(folder / "raw", MIB), "raw", folder / "disk", images.QCOW2).path
    async with serving(*CONVERT) as service:
        found, _ = await imported(service, qcow2.read_bytes(), disk_format="qcow2", container_format="ovf")
        assert (found["disk_format"], found["container_format"]) == ("raw", "bare")
        assert await data_of(service, found) == (folder / "raw").read_bytes()


async def test_archives_are_no_disks(serving: Any) -> None:
    async with serving(*CONVERT) as service:  # to raw, which they are
        found, _ = await imported(service, NOISE, container_format="docker")
        assert (found["status"], found["container_format"], found["virtual_size"]) == ("active", "docker", None)
        assert await data_of(service, found) == NOISE
    async with serving(*CONVERT, convert_to="qcow2") as service:
        text = await refused_again(service, NOISE, container_format="docker")
        assert text == "Data in a container of the format docker cannot be converted."


async def test_the_kind_of_vmdk_is_one_that_is_allowed(serving: Any, folder: Path) -> None:
    only = {"image_format": {"vmdk_allowed_types": ("streamOptimized",)}}
    raw = images.fill(folder / "raw", MIB)
    sparse = folder / "sparse.vmdk"
    run("qemu-img", "convert", "-O", "vmdk", "-o", "subformat=monolithicSparse", raw, sparse)
    async with serving(*CONVERT, convert_to="vmdk", **only) as service:
        text = await refused(service, sparse.read_bytes(), disk_format="vmdk")
        assert text == "VMDK images of the type monolithicSparse are not allowed."
        found, _ = await imported(service, raw.read_bytes())
        assert found["disk_format"] == "vmdk"
        assert b'createType="streamOptimized"' in (await data_of(service, found))[:2048]


async def test_what_has_no_disk_format_of_a_disk_is_not_converted(serving: Any, folder: Path) -> None:
    gpt = images.gpt_disk(folder).path.read_bytes()
    async with serving(*CONVERT) as service:
        for declared in ("ami", "aki", "ari", "ploop"):
            container = declared if declared != "ploop" else "bare"
            for data in (NOISE, gpt):
                text = await refused(service, data, disk_format=declared, container_format=container)
                assert "does not match disk_format" in text


@pytest.mark.parametrize("declared", ["qcow2", "vmdk", "vhd", "vhdx", "vdi", "iso"])
async def test_what_nobody_recognises_is_not_converted(serving: Any, declared: str) -> None:
    async with serving(*CONVERT) as service:
        assert await refused(service, NOISE, disk_format=declared) == (
            f"Image content does not match disk_format: declared {declared}, found raw."
        )


async def test_what_is_not_declared_is_not_converted(serving: Any, folder: Path) -> None:
    async with serving(*CONVERT) as service:
        for image in images.good_images(folder):
            if image.disk_format != "raw":
                text = await refused(service, image.path.read_bytes(), disk_format="raw")
                assert text.endswith(f"declared raw, found {image.disk_format}."), image.name


async def test_what_is_unsafe_is_not_converted(serving: Any, folder: Path) -> None:
    chain = images.fill(folder / "0.raw", MIB)
    for number in range(10):
        below, chain = chain, folder / f"{number}.link"
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", below, "-F", "qcow2" if number else "raw", chain)
    unsafe = [
        *images.unsafe_images(folder),
        RealImage("ten links", chain, "qcow2", None),
        images.luks_disk(folder),
        RealImage("luks inside", images.encrypted_qcow2(folder), "qcow2", None),
    ]
    for target_format in ("raw", "qcow2"):
        async with serving(*CONVERT, convert_to=target_format) as service:
            for image in unsafe:
                text = await refused(service, image.path.read_bytes(), disk_format=image.disk_format)
                assert "safety" in text or "does not match" in text or "encrypted" in text, f"{image.name}: {text}"


async def test_no_other_image_is_read_through_a_disk(serving: Any, folder: Path) -> None:
    """A descriptor that says one thing to those who check it, and another to those who read the disk."""
    header = struct.pack("<4sIIQQQQIQQ", b"KDMV", 1, 3, 0, 128, 1, 1, 512, 0, 26).ljust(512, b"\0")
    first = b'# Disk DescriptorFile\nCREATETYPE="monolithicSparse"\nCID=fffffffe\nparentCID=ffffffff\nRW 1 MARK\n#'
    second = b'createType="monolithicFlat"\nRW 1 FLAT "/etc/passwd" 0\n'
    data = header + first.ljust(511, b"x") + b"\n" + second.ljust(4096, b"\0")
    async with serving(*CONVERT) as service:
        assert "its data lies in other files" in (await refused(service, data, disk_format="vmdk")).lower()


async def test_what_comes_out_is_looked_at_too(serving: Any, folder: Path) -> None:
    """A guest that writes a disk of another format onto its own: as raw data it would pass for what it looks like."""
    (folder / "secret").write_bytes(bytes(MIB))
    inner = folder / "inner.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", folder / "secret", "-F", "raw", inner)
    for trap in (inner, images.luks_disk(folder).path, images.made_iso(folder).path):
        outer = folder / "outer.qcow2"
        run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", trap, outer)
        async with serving(*CONVERT) as service:
            text = await refused(service, outer.read_bytes(), disk_format="qcow2")
            assert text.startswith("What the image converts to is refused. "), text


async def test_disks_that_stand_for_enormous_ones(serving: Any, folder: Path) -> None:
    enormous = repeating_qcow2(folder / "enormous", 100 << 40, NOISE).read_bytes()
    growing = repeating_qcow2(folder / "growing", 256 * GIB, NOISE).read_bytes()
    endless = repeating_qcow2(folder / "endless", 256 * GIB, b"", compressed=True).read_bytes()
    async with serving(*CONVERT, convert_cpu_time_s=2) as service:
        assert "is larger than an image may be here" in await refused(service, enormous, disk_format="qcow2")
        assert "its data grows too much" in await refused(service, growing, disk_format="qcow2")
        assert "it takes too long" in await refused(service, endless, disk_format="qcow2")
    async with serving(*CONVERT, convert_to="vmdk", quotas={"image_size_cap_bytes": 48 * MIB}) as service:
        text = await refused(service, growing, disk_format="qcow2")
        assert "grows too much" in text or "larger than an image may be here" in text
    async with serving(*CONVERT, convert_memory_mib=64) as service:
        assert "cannot be read" in (text := await refused(service, growing, disk_format="qcow2")) or "memory" in text


async def test_without_qemu_img_the_import_waits(serving: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raw = images.fill(folder / "raw", MIB)
    qcow2 = images.convert(raw, "raw", folder / "disk", images.QCOW2).path.read_bytes()
    async with serving(*CONVERT) as service:
        with monkeypatch.context() as patch:
            patch.setenv("PATH", "/nowhere")
            found, _ = await imported(service, raw.read_bytes())
            assert found["status"] == "active"  # what is raw already needs no program
            image = await service.create(disk_format="qcow2")
            path = f"/v2/images/{image['id']}"
            await service.call("owner", "PUT", f"{path}/stage", content=qcow2, headers=OCTETS)
            await service.call("owner", "POST", f"{path}/import", json={"method": {"name": "glance-direct"}})
            await job_worker(service.services).work_off()
            assert (await service.show(image["id"]))["status"] == "importing"
        now_ms = service.services.now_ms
        await job_worker(replace(service.services, now_ms=lambda: now_ms() + HOUR_MS)).work_off()
        found = await service.show(image["id"])
        assert (found["status"], found["disk_format"]) == ("active", "raw")
        assert left_over(service) == []


# Decompression


PACK: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("kind", PACK)
async def test_packed_disks_are_unpacked_and_then_converted(serving: Any, folder: Path, kind: str) -> None:
    raw = images.fill(folder / "raw", 3 * MIB).read_bytes()
    qcow2 = images.convert(folder / "raw", "raw", folder / "disk", images.QCOW2).path.read_bytes()
    async with serving("image_decompression") as service:
        found, _ = await imported(service, PACK[kind](qcow2), disk_format="qcow2")
        assert (found["status"], found["disk_format"], found["size"]) == ("active", "qcow2", len(qcow2))
        assert found["virtual_size"] == 3 * MIB
        assert found["checksum"] == hashlib.md5(qcow2).hexdigest()
        assert await data_of(service, found) == qcow2
    async with serving(*CONVERT) as service:
        found, _ = await imported(service, PACK[kind](qcow2), disk_format="qcow2")
        assert (found["status"], found["disk_format"], found["virtual_size"]) == ("active", "raw", 3 * MIB)
        assert await data_of(service, found) == raw
        found, _ = await imported(service, PACK[kind](raw))
        assert await data_of(service, found) == raw
    async with serving(*reversed(CONVERT)) as service:  # in this order the first has to be content with packed data
        assert "declared qcow2, found raw" in await refused_again(service, PACK[kind](qcow2), disk_format="qcow2")


async def test_data_that_is_not_packed_or_is_to_stay_so_is_left_alone(serving: Any) -> None:
    packed = gzip.compress(NOISE)
    async with serving("image_decompression") as service:
        for data, container in ((NOISE, "bare"), (packed, "compressed")):
            found, _ = await imported(service, data, container_format=container)
            assert (found["status"], found["container_format"]) == ("active", container)
            assert await data_of(service, found) == data


async def test_what_was_packed_is_checked_like_anything_else(serving: Any, folder: Path) -> None:
    unsafe = next(images.unsafe_images(folder)).path.read_bytes()
    async with serving("image_decompression") as service:
        text = await refused(service, gzip.compress(unsafe), disk_format="qcow2")
        assert text == "Image failed safety checks: Image has a backing file"
        assert "declared qcow2, found raw" in await refused(service, gzip.compress(NOISE), disk_format="qcow2")


async def test_packed_data_that_is_damaged_or_a_bomb_is_refused(serving: Any) -> None:
    packed = gzip.compress(NOISE)
    async with serving(
        "image_decompression", decompress_ratio=50, quotas={"image_size_cap_bytes": 200 * MIB}
    ) as service:
        assert await refused(service, packed[:-9]) == "The image cannot be decompressed: the gzip data ends early."
        bomb = gzip.compress(bytes(100 * MIB))
        text = "The image cannot be decompressed: it grows to more than 50 times its size."
        assert await refused(service, bomb) == text
        text = "The image cannot be decompressed: it becomes larger than an image may be here."
        assert await refused(service, gzip.compress(bytes(300 * MIB)) + NOISE * 100) == text


# Properties


@pytest.mark.parametrize("who", ["owner", "admin"])
async def test_properties_are_injected_but_for_callers_of_some_roles(serving: Any, who: str) -> None:
    inject = {"os_type": "linux", '"quoted"': "'as it is'", "mine": "the operator's", "über": "größer"}
    async with serving("no_op", "inject_image_metadata", inject=inject) as service:
        found, _ = await imported(service, NOISE, who, mine="the user's", other="kept")
        assert found["other"] == "kept"
        if who == "owner":
            assert {name: found[name] for name in inject} == inject
        else:
            assert found["mine"] == "the user's"
            assert "os_type" not in found


async def test_roles_are_those_that_the_option_names(serving: Any) -> None:
    async with serving(
        "inject_image_metadata", inject={"injected": "yes"}, inject_ignored_roles=frozenset({"member"})
    ) as service:
        found, _ = await imported(service, NOISE, "owner")
        assert "injected" not in found
    async with serving(
        "inject_image_metadata", inject={"injected": "yes"}, inject_ignored_roles=frozenset()
    ) as service:
        found, _ = await imported(service, NOISE, "admin")
        assert found["injected"] == "yes"


async def test_names_that_are_the_services_are_not_injected(serving: Any, caplog: pytest.LogCaptureFixture) -> None:
    own = {
        "os_glance_import_task": "x", "os_glance_anything": "x", "status": "killed", "owner": "p2", "name": "x",
        "locations": "x", "deleted": "True", "size": "1", "checksum": "x", "visibility": "public", "tags": "x",
        "x" * 256: "x", "high": "\U0001f600",
    }  # fmt: skip
    async with serving("inject_image_metadata", inject={**own, "good": "yes"}) as service:
        found, _ = await imported(service, NOISE, name="mine")
        assert found["good"] == "yes"
        assert (found["status"], found["owner"], found["name"], found["size"]) == ("active", "p1", "mine", len(NOISE))
        assert found["visibility"] == "shared"
        assert not {name for name in found if name.startswith("os_glance") and found[name]}
    assert caplog.text.count("is left out") == len(own)


async def test_injected_properties_count_as_properties(serving: Any) -> None:
    inject = {"first": "1", "second": "2"}
    async with serving("inject_image_metadata", inject=inject, quotas={"image_property_quota": 3}) as service:
        found, _ = await imported(service, NOISE, a="1")
        assert (found["first"], found["status"]) == ("1", "active")
        text = await refused_again(service, NOISE, a="1", b="2")
        assert "number of allowed image properties" in text
        found, _ = await imported(service, NOISE, first="mine", second="mine", c="3")
        assert (found["first"], found["status"]) == ("1", "active")
