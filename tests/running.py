"""Real runs for tests: the command line in its own process, the simulator in its own thread."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import orjson

from mergeit_async.simulator.server import Simulator
from mergeit_async.simulator.settings import SimulatorSettings

EXAMPLES = Path(__file__).resolve().parents[1] / "examples" / "instructions.jsonl"
# No call before the first merge: nobody asks which form the server takes.
PLAIN = ("--structured-output", "text")
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


@contextmanager
def started(*arguments: object, **env: str) -> Iterator[subprocess.Popen[str]]:
    """A command that goes on while the block runs, and is killed at the end if it still does."""
    process = start(*arguments, **env)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def write_dataset(path: Path, n_rows: int) -> Path:
    """Rows with vectors beside them (same name, .npy), so that nothing needs to be embedded."""
    rows = (
        {"instruction": f"Say {n}.", "input": "", "output": f"It is {n}."} for n in range(n_rows)
    )
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    np.save(path.with_suffix(".npy"), np.random.default_rng(0).normal(size=(n_rows, 8)))
    return path


def asking(dataset: Path, *urls: str) -> tuple[object, ...]:
    """Options that merge most rows of a dataset of `write_dataset` by the servers at `urls`."""
    servers = [option for url in urls for option in ("--base-url", url)]
    vectors = ("--embedder", dataset.with_suffix(".npy"), "--threshold", "-1")
    return ("--model", "sim-merge", "--per-cluster", "all", *vectors, *servers)


def wait_until(is_true: Callable[[], object], within_s: float = 20.0) -> None:
    """Wait until something holds; fails where it does not in time."""
    deadline = time.monotonic() + within_s
    while not is_true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def hashes(run: Path) -> dict[str, str]:
    """The SHA-256 of each file of a result."""
    return {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in RESULT_FILES}
