"""A simulated server on its socket: inside a test's event loop, or as a process of its own."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from types import TracebackType
from typing import Self

import anyio
from aiohttp import web

from mergeit_async.errors import UsageError
from mergeit_async.simulator.endpoint import Endpoint
from mergeit_async.simulator.settings import SimulatorSettings
from mergeit_async.simulator.stats import Stats

# How long answers in progress may take once the server is closed; aiohttp reads 0 as "for ever".
_CLOSE_WITHIN_S = 0.05
_BACKLOG = 2048


def serve(settings: SimulatorSettings, announce: Callable[[str], object] | None = None) -> None:
    """Serve until SIGTERM or SIGINT arrives, then return.

    `announce` gets the base URL once connections are accepted; by default one line with it goes
    to stdout. Raises UsageError where the settings make no sense or the address cannot be taken.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve_until_signal(settings, announce or _write_ready_line))


class Simulator:
    """A simulated server in the running event loop: `async with Simulator(settings) as sim`.

    aiohttp's low-level server, because its router costs as much as all that is done here.
    """

    def __init__(self, settings: SimulatorSettings | None = None) -> None:
        """Raises UsageError for fault kinds or rates that make no sense."""
        self.settings = settings or SimulatorSettings()
        self._endpoint = Endpoint(self.settings)
        self._runner: web.ServerRunner | None = None
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

    async def __aenter__(self) -> Self:
        """Accept connections. Raises UsageError where the address cannot be taken."""
        # A caller that hangs up is no longer in flight, hence the cancellation.
        server = web.Server(self._endpoint.handle, handler_cancellation=True, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=_CLOSE_WITHIN_S)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self.settings.host, self.settings.port, backlog=_BACKLOG)
        try:
            await site.start()
        except OSError as error:
            raise UsageError(
                f"The simulator cannot listen on {self.settings.host}:{self.settings.port} "
                f"({error.strerror}); choose another port, or 0 for any free one."
            ) from error
        self._port = site.port
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the port and all connections; answers in progress are cut off."""
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def _root(self) -> str:
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        return f"http://{host}:{self._port}"


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
