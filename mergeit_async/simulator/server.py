"""A simulated server on its socket: inside a test's event loop, or as a process of its own."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

import anyio

from mergeit_async.errors import UsageError
from mergeit_async.simulator.endpoint import Endpoint
from mergeit_async.simulator.settings import SimulatorSettings
from mergeit_async.simulator.stats import Stats

_BACKLOG = 2048
_CHANGED_WITHIN_S = 10


def serve(settings: SimulatorSettings, announce: Callable[[str], object] | None = None) -> None:
    """Serve until SIGTERM or SIGINT arrives, then return.

    `announce` gets the base URL once connections are accepted; by default one line with it goes
    to stdout. Raises UsageError where the settings make no sense or the address cannot be taken.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve_until_signal(settings, announce or _write_ready_line))


class Simulator:
    """A simulated server in the running event loop: `async with Simulator(settings) as sim`."""

    def __init__(self, settings: SimulatorSettings | None = None) -> None:
        """Raises UsageError for fault kinds or rates that make no sense."""
        self.settings = settings or SimulatorSettings()
        self._endpoint = Endpoint(self.settings, time.monotonic())
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: asyncio.Server | None = None
        self._port = self.settings.port

    @property
    def url(self) -> str:
        """The base URL for clients: http://host:port/v1."""
        return f"{self._root}/v1"

    @property
    def stats_url(self) -> str:
        """Where GET returns the counts as JSON, and POST to `stats_url`/reset forgets them."""
        return f"{self._root}/stats"

    @property
    def stats(self) -> Stats:
        """The live counts."""
        return self._endpoint.stats

    def control(self, **changes: Any) -> None:
        """Change the running server; from any thread, and done when this returns.

        `rpm`, `tpm`, `burst_s`, `max_concurrent`, `latency_s`, `latency_sigma`, `fault_rate` and
        `faults` are settings; full buckets stay full, empty ones empty. `down=True` closes all
        connections, and new ones at once, until `down=False`; a number does so for such a time in
        seconds. All are taken or none. Raises UsageError for names and values that make no sense.
        """
        if self._loop is None:
            raise UsageError("The simulator cannot be changed before it runs; give it settings.")
        if self._loop is _running_loop():
            self._endpoint.change(changes)
        else:
            change = self._change(changes)
            asyncio.run_coroutine_threadsafe(change, self._loop).result(_CHANGED_WITHIN_S)

    async def __aenter__(self) -> Self:
        """Accept connections. Raises UsageError where the address cannot be taken."""
        self._loop = asyncio.get_running_loop()
        host, port = self.settings.host, self.settings.port
        accept = self._endpoint.connections.accept
        try:
            self._server = await self._loop.create_server(accept, host, port, backlog=_BACKLOG)
        except OSError as error:
            raise UsageError(
                f"The simulator cannot listen on {host}:{port} ({error.strerror}); "
                "choose another port, or 0 for any free one."
            ) from error
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the port and all connections; answers in progress are cut off."""
        if self._server is not None:
            self._server.close()
            self._endpoint.connections.shut()
            await self._server.wait_closed()
            await asyncio.sleep(0)  # the transports learn of their end in the next round

    async def _change(self, changes: Mapping[str, Any]) -> None:
        self._endpoint.change(changes)

    @property
    def _root(self) -> str:
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        return f"http://{host}:{self._port}"


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:  # not built for every platform
        return None
    return uvloop.new_event_loop


async def _serve_until_signal(
    settings: SimulatorSettings, announce: Callable[[str], object]
) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with Simulator(settings) as simulator:
            announce(simulator.url)
            await anext(aiter(signals))


def _write_ready_line(url: str) -> None:
    sys.stdout.write(f"simulator ready at {url}\n")
    sys.stdout.flush()
