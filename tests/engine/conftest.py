"""An event loop whose clock jumps to the next timer instead of waiting for it."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from typing import Any

import pytest


class JumpingSelector(selectors.SelectSelector):
    """Waits for nothing: what would be waited for is added to the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        # Each turn of the loop takes a moment, as it does in life; idle time is jumped over.
        self.now += 1e-6 if ready or not timeout else max(timeout, 1e-6)
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = JumpingSelector()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


@pytest.fixture
def simulate() -> Callable[[Callable[[], Awaitable[Any]]], Any]:
    """Run an async function on a clock of its own; returns what it returns."""

    def run(function: Callable[[], Awaitable[Any]]) -> Any:
        with asyncio.Runner(loop_factory=JumpingLoop) as runner:
            return runner.run(function())

    return run
