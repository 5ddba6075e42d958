"""The conversion plugin on real images that were damaged, or turned so that they lead to a file of somebody else's."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blick import boot
from blick.conf.settings import (
    DatabaseSettings,
    IdentitySettings,
    ImageFormatSettings,
    ImportSettings,
    QuotaSettings,
    ServerSettings,
    Settings,
    StoreSettings,
    StoresSettings,
)
from blick.db import images
from blick.model.context import RequestContext
from blick.model.errors import Invalid, LimitExceeded, UnsupportedMediaType
from blick.model.image import Image
from blick.ops.imports.plugins import image_conversion
from blick.ops.imports.plugins.plugin import PluginInput, PluginResult
from blick.stream.inspect import Inspection, inspect_file
from tests.support.images import MIB
from tests.support.mutated_images import SECRET, Mutation, mutated, mutations, secret_path, seeds
from tests.support.service import Service, running_service

pytestmark = pytest.mark.needs("qemu", "boot")

NAMES = st.deferred(lambda: st.sampled_from(sorted(seeds())))
MOST_BYTES = 64 * MIB


@dataclass(frozen=True)
class Converter:
    """A running service that stands still, and an image in it."""

    runner: asyncio.Runner
    service: Service
    image: Image
    folder: Path

    def convert(self, data: bytes, declared: str, target_format: str) -> PluginResult | None:
        """What the plugin makes of an image with that data; None if it is refused."""
        services = self.service.services
        imports = replace(services.settings.imports, convert_to=target_format)
        file, result = self.folder / "staged", self.folder / "result"
        file.write_bytes(data)
        result.unlink(missing_ok=True)
        given = PluginInput(replace(self.image, disk_format=declared), RequestContext("req"), file, result)
        changed = replace(services, settings=replace(services.settings, imports=imports))
        try:
            return self.runner.run(image_conversion.run(changed, given, lambda done, whole: None))
        except (UnsupportedMediaType, Invalid, LimitExceeded):
            return None


@pytest.fixture(scope="module")
def converter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Converter]:
    folder = tmp_path_factory.mktemp("converter")
    store = StoreSettings("file", "file", {"filesystem_store_datadir": str(folder / "images")})
    chosen = Settings(
        StoresSettings("file", (store,)),
        database=DatabaseSettings(f"sqlite:///{folder}/blick.sqlite", sqlite_synchronous=False),
        server=ServerSettings(bind_host="127.0.0.1"),
        identity=IdentitySettings(kind="none"),
        quotas=QuotaSettings(image_size_cap_bytes=MOST_BYTES),
        imports=ImportSettings(staging_dir=folder / "staging", convert_cpu_time_s=5),
    )
    boot.prepare(chosen)
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        service = runner.run(stack.enter_async_context(running_service(chosen)))
        try:
            created = runner.run(service.create())
            image = runner.run(service.services.database.read(images.get, created["id"], None))
            assert image is not None
            yield Converter(runner, service, image, folder)
        finally:
            runner.run(stack.aclose())


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=NAMES, changes=mutations(), target_format=st.sampled_from(["raw", "qcow2", "vmdk"]))
def test_damaged_images_are_converted_or_refused_and_lead_nowhere(
    converter: Converter, name: str, changes: list[Mutation], target_format: str
) -> None:
    assert secret_path().read_bytes() == SECRET
    declared = seeds()[name][1]
    result = converter.convert(mutated(name, changes), declared, target_format)
    assert not [child for child in psutil.Process().children(recursive=True) if child.name() == "qemu-img"]
    file = converter.folder / "result"
    if result is None or not result.has_new_data:
        return
    data = file.read_bytes()
    assert SECRET[:32] not in data
    assert len(data) <= MOST_BYTES
    assert result.values["disk_format"] == target_format
    assert result.values["virtual_size"] >= 0
    inspect_file(file, Inspection(target_format, "bare", ImageFormatSettings()))


def test_the_seeds_are_converted_as_they_are(converter: Converter) -> None:
    converted = [
        name for name, (data, declared) in seeds().items() if converter.convert(data, declared, "raw") is not None
    ]
    assert len(converted) == 10
