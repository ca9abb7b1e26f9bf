"""Real runs for tests: the command line in its own process, the simulator in its own thread."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mergeit_async.simulator.server import Simulator
from mergeit_async.simulator.settings import SimulatorSettings

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "instructions.jsonl"
RESULT_FILES = ("merged.jsonl", "lineage.jsonl", "filtered.jsonl", "rejected.jsonl")


@contextmanager
def simulated(settings: SimulatorSettings | None = None) -> Iterator[Simulator]:
    """A simulator that serves from a thread while the block runs."""
    loop = asyncio.new_event_loop()
    simulator = Simulator(settings)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(simulator.__aenter__(), loop).result(10)
        yield simulator
    finally:
        closing = simulator.__aexit__(None, None, None)
        asyncio.run_coroutine_threadsafe(closing, loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def command(*arguments: object) -> list[str]:
    """The command line of a call of ours."""
    return [sys.executable, "-m", "mergeit_async", *map(str, arguments)]


def environment(**changes: str) -> dict[str, str]:
    """The environment without any key, plus `changes`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("OPENAI_") and not name.lower().endswith("_proxy")
    }
    return kept | changes


def call(
    *arguments: object, timeout_s: float = 120, **env: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and keep what it printed."""
    return subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=environment(**env),
        check=False,
    )


def start(*arguments: object, **env: str) -> subprocess.Popen[str]:
    """Start a command and go on."""
    return subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**env),
    )


def hashes(run: Path) -> dict[str, str]:
    """The SHA-256 of each file of a result."""
    return {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in RESULT_FILES}
