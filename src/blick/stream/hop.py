"""Blocking calls, made from the event loop.

Cancelling an await does not stop the thread behind it. A hop therefore joins its thread before a
cancellation goes on: once `await hop(...)` has ended, in whatever way, nothing of the call is running any
more, and files, buffers and connections that it used may be closed or reused.
"""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def hop(executor: Executor | None, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `call(*args, **kwargs)` in a thread of `executor` (None: the loop's own) and give its result.

    Raises what the call raises. When cancelled, waits for the call to end, then lets the cancellation go on;
    the call's own result or error is dropped then. A call that has not started is not started any more.
    """
    loop = asyncio.get_running_loop()
    if kwargs:
        future = loop.run_in_executor(executor, lambda: call(*args, **kwargs))
    else:
        future = loop.run_in_executor(executor, call, *args)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        await _join(future)
        raise


async def interruptible_hop(
    executor: Executor | None, interrupt: Callable[[], None], call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
) -> T:
    """Like `hop`, for calls that may wait long: when cancelled, `interrupt()` is called first.

    It is called once, from the event loop's thread, while the call runs, and has to make it end soon.
    """
    task = asyncio.ensure_future(hop(executor, call, *args, **kwargs))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        interrupt()
        task.cancel()
        await _join(task)
        raise


async def hop_within(limit_s: float, executor: Executor, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Like `hop`, for calls that may hang: waits no longer than `limit_s`, cancelled or not. Raises TimeoutError then.

    A call that is waited for no more may still run, in its thread, and what it uses stays in use: the caller has to
    know when it ends (say, by what the call does last) and leave all of that alone until then.
    """
    loop = asyncio.get_running_loop()
    future = asyncio.wrap_future(executor.submit(call, *args, **kwargs))
    future.add_done_callback(_see)
    give_up_at = loop.time() + limit_s
    cancelled = False
    while not future.done() and (left_s := give_up_at - loop.time()) > 0:
        try:
            await asyncio.wait({future}, timeout=left_s)
        except asyncio.CancelledError:
            cancelled = True
    ended = future.done()
    if not ended:
        future.cancel()  # keeps one that has not started from starting
    if cancelled:
        raise asyncio.CancelledError
    if not ended:
        raise TimeoutError
    return future.result()


async def to_the_end(work: Coroutine[Any, Any, T]) -> T:
    """Await `work` to its end even when cancelled meanwhile; the cancellation goes on after it.

    For cleaning up, which must not be left half done. `work` itself is never cancelled, so it has to be short.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await _join(task)
        raise


async def _join(future: "asyncio.Future[T]") -> None:
    """Wait until `future` is done, whatever further cancellations arrive meanwhile."""
    while not future.done():
        try:
            await asyncio.wait({future})
        except asyncio.CancelledError:
            continue
    _see(future)


def _see(future: "asyncio.Future[T]") -> None:
    """The loop must not report its error as lost."""
    if not future.cancelled():
        future.exception()
