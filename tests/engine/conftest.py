"""An event loop whose clock jumps to the next timer instead of waiting for it."""

from __future__ import annotations

import asyncio
import gc
import selectors
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from anyio._backends._asyncio import WorkerThread

from mergeit_async.engine import writer
from mergeit_async.engine.writer import Writer

# Real seconds after which a thread or a writer that is waited for is looked at again.
LOOK_EVERY_S = 0.05


class JumpingSelector(selectors.SelectSelector):
    """Waits for nothing but commits: what would be waited for is added to the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready and timeout != 0 and (is_thread_at_work() or WatchedWriter.at_work):
            # A commit takes no time on this clock, or timers would go off while the disk is slow.
            ready, timeout = super().select(LOOK_EVERY_S), 0
        # Each turn of the loop takes a moment, as it does in life; idle time is jumped over.
        self.now += 1e-6 if ready or not timeout else max(timeout, 1e-6)
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = JumpingSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now

    def jump(self, seconds: float) -> None:
        """What the clock does while a laptop sleeps or the process is stopped."""
        self._clock.now += seconds


class WatchedWriter(Writer):
    """A journal's writer of which it is known how many of its kind owe an answer."""

    at_work = 0

    async def answer(self) -> None:
        WatchedWriter.at_work += 1
        try:
            await super().answer()
        finally:
            WatchedWriter.at_work -= 1


def is_thread_at_work() -> bool:
    """Whether a worker thread of any loop computes, or its result is not received yet."""
    return any(
        isinstance(thread, WorkerThread)
        and not thread.stopping
        and thread not in thread.idle_workers
        for thread in threading.enumerate()
    )


@pytest.fixture(scope="session")
def simulate() -> Callable[[Callable[[], Awaitable[Any]]], Any]:
    """Run an async function on a clock of its own; returns what it returns.

    Fails where an error of a task was never looked at.
    """
    # What is there already is not looked through each time.
    gc.freeze()
    writer.Writer = WatchedWriter

    def run(function: Callable[[], Awaitable[Any]]) -> Any:
        unheard: list[dict[str, Any]] = []

        async def main() -> Any:
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: unheard.append(context))
            return await function()

        with asyncio.Runner(loop_factory=JumpingLoop) as runner:
            result = runner.run(main())
        gc.collect()
        assert unheard == []
        return result

    return run
