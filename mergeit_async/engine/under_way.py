"""What a job is at, so that it can be told to stop: planning, or sending groups through."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio

from mergeit_async.engine.pipeline import Pipeline
from mergeit_async.engine.plan_folder import PlannedTopic
from mergeit_async.errors import StoppedError


class UnderWay:
    """Drains whatever a job is at, and at once whatever it begins after that."""

    def __init__(self) -> None:
        self.is_draining = False
        self._pipeline: Pipeline[Any] | None = None
        self._before_pipeline: anyio.CancelScope | None = None

    def drain(self) -> None:
        """Start nothing more; what is in flight is finished and committed."""
        self.is_draining = True
        if self._pipeline is not None:
            self._pipeline.drain()
        elif self._before_pipeline is not None:
            self._before_pipeline.cancel()

    def stop(self, error: Exception) -> None:
        """Drain the pipeline because of `error`."""
        if self._pipeline is not None:
            self._pipeline.drain(error)

    def widen(self, workers: int) -> None:
        """Have so many groups at once from now on, if that is more than so far."""
        if self._pipeline is not None:
            self._pipeline.widen(workers)

    @contextmanager
    def cancellable(self) -> Iterator[None]:
        """A block that a drain cancels as long as no pipeline runs; raises `StoppedError` then."""
        with anyio.CancelScope() as self._before_pipeline:
            yield
        if self._before_pipeline.cancelled_caught:
            raise StoppedError("Stopped on request; nothing was in flight.")

    async def run(self, pipeline: Pipeline[Any], topics: Iterable[PlannedTopic]) -> None:
        """Send `topics` through `pipeline`; raises what it raises."""
        self._pipeline = pipeline
        if self.is_draining:
            pipeline.drain()
        await pipeline.run(topics)
