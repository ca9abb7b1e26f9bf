"""What a job is at, and what a drain does to it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import anyio
import pytest

from mergeit_async.engine.under_way import UnderWay
from mergeit_async.errors import StoppedError


class Pipe:
    """A pipeline that notes when it is drained."""

    def __init__(self) -> None:
        self.drained: list[Exception | None] = []
        self.was_drained_before_it_ran = False

    def drain(self, error: Exception | None = None) -> None:
        self.drained.append(error)

    async def run(self, topics: Iterable[Any]) -> None:
        self.was_drained_before_it_ran = bool(self.drained)


async def test_what_comes_before_a_pipeline_is_cancelled():
    under_way = UnderWay()
    with pytest.raises(StoppedError, match="nothing was in flight"), under_way.cancellable():
        under_way.drain()
        await anyio.sleep(60)
    assert under_way.is_draining


async def test_a_pipeline_is_drained_and_so_is_the_next_one():
    under_way, first, second = UnderWay(), Pipe(), Pipe()
    pipes: list[Any] = [first, second]
    with under_way.cancellable():
        await under_way.run(pipes[0], ())
        under_way.drain()
        await under_way.run(pipes[1], ())
    assert (first.drained, first.was_drained_before_it_ran) == ([None], False)
    assert second.was_drained_before_it_ran


async def test_an_error_drains_the_pipeline_at_work_if_there_is_one():
    under_way, pipe, error = UnderWay(), Pipe(), StoppedError("gone")
    under_way.stop(error)
    pipes: list[Any] = [pipe]
    await under_way.run(pipes[0], ())
    under_way.stop(error)
    assert pipe.drained == [error]
