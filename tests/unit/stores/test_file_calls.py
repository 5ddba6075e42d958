"""Calls that hang: who waits for how long, and what happens behind them. The hanging calls really block a thread."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from blick.model.errors import StoreUnavailable
from blick.stores.file.calls import CallLimits, Calls, Lane
from tests.support.waiting import eventually_here

LIMIT_S = 0.05


class Hanging:
    """A call that ends when it is told to, or after a test at the latest."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.may_end = threading.Event()
        self.ended = 0

    def __call__(self) -> str:
        self.began.set()
        self.may_end.wait()
        self.ended += 1
        return "late"


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    call = Hanging()
    yield call
    call.may_end.set()


@pytest.fixture
async def calls(hanging: Hanging) -> AsyncIterator[Calls]:
    made = Calls("s", CallLimits(LIMIT_S, threads=2, warn_from=2))
    yield made
    hanging.may_end.set()
    await made.aclose()


async def _hang(lane: Lane, call: Hanging) -> None:
    """Let `call` begin in `lane`, and wait until it is given up."""
    task = asyncio.create_task(lane.run_patiently(20, call))
    assert await asyncio.to_thread(call.began.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("limits", [CallLimits(), CallLimits(60.0, 2, 2)])
async def test_results_and_errors_come_back(limits: CallLimits) -> None:
    calls = Calls("s", limits)
    assert await calls.run(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await calls.run(divmod, 7, 0)
    await calls.aclose()


async def test_a_hanging_call_is_waited_for_no_longer_than_the_limit(calls: Calls, hanging: Hanging) -> None:
    lane = Lane(calls)
    with pytest.raises(StoreUnavailable):
        await lane.run(hanging)
    with pytest.raises(StoreUnavailable):
        lane.require_wanted()
    with pytest.raises(StoreUnavailable):
        await lane.run(lambda: "another of the same lane")
    assert hanging.ended == 0


async def test_what_it_uses_is_closed_right_behind_it(calls: Calls, hanging: Hanging) -> None:
    lane, closed = Lane(calls), threading.Event()
    seen: list[int] = []

    def close() -> None:
        seen.append(hanging.ended)
        closed.set()

    await _hang(lane, hanging)
    assert not lane.end(close)
    assert not closed.is_set()
    hanging.may_end.set()
    assert await asyncio.to_thread(closed.wait, 60)
    assert seen == [1]


async def test_without_a_running_call_the_caller_closes(calls: Calls) -> None:
    lane = Lane(calls)
    assert lane.end(lambda: pytest.fail("called twice"))


async def test_a_call_that_never_got_a_thread_never_starts(calls: Calls, hanging: Hanging) -> None:
    others = [Hanging(), Hanging()]
    tasks = [asyncio.create_task(Lane(calls).run_patiently(1000, other)) for other in others]
    for other in others:
        await asyncio.to_thread(other.began.wait)
    lane = Lane(calls)
    with pytest.raises(StoreUnavailable):
        await lane.run(hanging)
    assert lane.end(lambda: None)
    for other in others:
        other.may_end.set()
    assert await asyncio.gather(*tasks) == ["late", "late"]
    await calls.aclose()
    assert not hanging.began.is_set()


async def test_once_all_threads_hang_nobody_waits_in_line(calls: Calls) -> None:
    both = [Hanging(), Hanging()]
    await asyncio.gather(*[_hang(Lane(calls), each) for each in both])
    with pytest.raises(StoreUnavailable, match="all threads"):
        await calls.run(int)
    for each in both:
        each.may_end.set()
    await eventually_here(lambda: [each.ended for each in both] == [1, 1])


async def test_a_hanging_call_does_not_hold_up_the_end(calls: Calls, hanging: Hanging) -> None:
    await _hang(Lane(calls), hanging)
    await calls.aclose()
    assert hanging.ended == 0


async def test_busy_threads_are_worth_one_warning(
    calls: Calls, hanging: Hanging, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        await calls.run(int)
        assert caplog.messages == []
        second = Hanging()
        tasks = [asyncio.create_task(Lane(calls).run_patiently(1000, each)) for each in (hanging, second)]
        for each in (hanging, second):
            await asyncio.to_thread(each.began.wait)
        for each in (hanging, second):
            each.may_end.set()
        await asyncio.gather(*tasks)
    assert caplog.messages == ["store s: 2 of 2 threads wait for files"]
