"""Content inspection on real images that were damaged: it refuses or accepts, and does nothing else, and soon."""

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from blick.conf.settings import ImageFormatSettings
from blick.model.errors import UnsupportedMediaType
from blick.stream.inspect import Inspection, inspect_file
from tests.support.images import MIB
from tests.support.mutated_images import Mutation, mutated, mutations, seeds

pytestmark = pytest.mark.needs("qemu", "boot")

STRICT = ImageFormatSettings()
LENIENT = ImageFormatSettings(require_image_format_match=False)
LONGEST_S = 5.0
"""Of the processor; the slowest there was took 0.2 s."""

NAMES = st.deferred(lambda: st.sampled_from(sorted(seeds())))
OTHERS = st.sampled_from(["raw", "qcow2", "vmdk", "vhd", "vhdx", "vdi", "iso", "ami", "gpt", "luks", "qed"])


def outcome(data: bytes, declared: str, options: ImageFormatSettings, piece_bytes: int) -> int | str | None:
    """The size of the disk inside, or why it is refused."""
    inspection = Inspection(declared, "bare", options)
    try:
        for start in range(0, len(data), piece_bytes):
            if inspection.is_settled:
                break
            inspection.feed(memoryview(data)[start : start + piece_bytes])
        return inspection.finish(len(data))
    except UnsupportedMediaType as error:
        return str(error)


def outcome_of_file(path: Path, declared: str, options: ImageFormatSettings) -> int | str | None:
    try:
        return inspect_file(path, Inspection(declared, "bare", options))
    except UnsupportedMediaType as error:
        return str(error)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "image"


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=NAMES, changes=mutations(), other=OTHERS, is_own=st.booleans(), lenient=st.booleans())
def test_damaged_images_are_refused_or_accepted_and_no_more(
    path: Path, name: str, changes: list[Mutation], other: str, is_own: bool, lenient: bool
) -> None:
    data = mutated(name, changes)
    declared = seeds()[name][1] if is_own else other
    options = LENIENT if lenient else STRICT
    begun_at_s = time.process_time()
    whole = outcome(data, declared, options, MIB)
    assert time.process_time() - begun_at_s < LONGEST_S
    assert outcome(data, declared, options, 65_537) == whole
    path.write_bytes(data)
    assert outcome_of_file(path, declared, options) == whole


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(name=NAMES, at=st.integers(0, 4 * MIB), declared=OTHERS)
def test_images_that_end_early_are_refused_or_accepted(name: str, at: int, declared: str) -> None:
    data = seeds()[name][0]
    cut = data[: at % (len(data) + 1)]
    for format_name in (declared, seeds()[name][1]):
        found = outcome(cut, format_name, STRICT, MIB)
        assert isinstance(found, str) or found is None or found >= 0
        if format_name == "raw" and isinstance(found, int):
            assert found == len(cut)


def test_the_seeds_are_what_they_should_be() -> None:
    accepted = [
        name for name, (data, declared) in seeds().items() if not isinstance(outcome(data, declared, STRICT, MIB), str)
    ]
    assert len(accepted) == 10
    assert len(seeds()) - len(accepted) == 6
