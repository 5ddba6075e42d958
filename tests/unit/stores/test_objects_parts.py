"""The parts that objects are uploaded in."""

import pytest

from blick.stores.objects.parts import (
    LEAST_PART_BYTES,
    MEMORY_BYTES,
    MIB,
    MOST_OBJECT_BYTES,
    MOST_PARTS,
    PartData,
    PartPlan,
)


@pytest.mark.parametrize("wished_bytes", [0, 5 * MIB, 10 * MIB, 5000 * MIB])
def test_ten_thousand_parts_hold_the_largest_object_of_unknown_size(wished_bytes: int) -> None:
    plan = PartPlan(wished_bytes, None)
    sizes = [plan.size_of(number) for number in range(1, MOST_PARTS + 1)]
    assert sum(sizes) >= MOST_OBJECT_BYTES
    assert min(sizes) >= LEAST_PART_BYTES
    assert sizes == sorted(sizes)
    assert max(sizes) <= 5 << 30  # what a server takes at most
    in_memory = [size for size in sizes if size <= MEMORY_BYTES]
    assert sum(in_memory) > 50 << 30


@pytest.mark.parametrize("size_bytes", [0, 1, 100 * MIB, 60 << 30, 234 << 30, 1 << 40, MOST_OBJECT_BYTES])
def test_parts_of_a_known_size_are_as_large_as_they_have_to_be(size_bytes: int) -> None:
    plan = PartPlan(10 * MIB, size_bytes)
    size = plan.size_of(1)
    assert size == plan.size_of(MOST_PARTS)
    assert size * MOST_PARTS >= size_bytes
    assert size >= LEAST_PART_BYTES
    if size > 6 * MIB:
        assert (size - MIB) * MOST_PARTS < size_bytes  # and no larger


def test_whatever_the_operator_wishes_several_parts_fit_into_memory() -> None:
    assert PartPlan(5000 * MIB, 100 * MIB).size_of(1) * 4 <= MEMORY_BYTES


@pytest.mark.parametrize("size_bytes", [8, MEMORY_BYTES + 1])
def test_a_part_gives_back_what_it_was_given(size_bytes: int) -> None:
    part = PartData(size_bytes)
    assert part.in_memory == (size_bytes == 8)
    assert part.memory_bytes == (8 if size_bytes == 8 else 0)
    part.append(memoryview(b"1234"))
    part.append(memoryview(b"567"))
    assert (part.size_bytes, part.room_bytes) == (7, size_bytes - 7)
    for _ in range(2):  # it may be sent again
        content = part.content()
        assert (bytes(content) if isinstance(content, bytearray) else content.read()) == b"1234567"
    part.let_go()


def test_an_empty_part_is_empty() -> None:
    for size_bytes in (8, MEMORY_BYTES + 1):
        assert PartData(size_bytes).content() == bytearray()
