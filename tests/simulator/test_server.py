from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import ProxyHandler, build_opener

import orjson
import pytest

from mergeit_async.errors import UsageError
from mergeit_async.simulator.server import Simulator
from mergeit_async.simulator.settings import SimulatorSettings
from tests.running import simulated

PROGRAM = """
from mergeit_async.simulator.server import serve
from mergeit_async.simulator.settings import SimulatorSettings
serve(SimulatorSettings())
"""


@contextmanager
def served() -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A simulator in a process of its own, and its base URL."""
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process:
        try:
            yield process, process.stdout.readline().split()[-1]
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_says_where_it_listens_and_ends_cleanly_on_a_signal(number: int) -> None:
    with served() as (process, url):
        models = ask(url)
        os.kill(process.pid, number)
        code = process.wait(timeout=5)

    assert url.startswith("http://127.0.0.1:")
    assert models["data"][0]["id"] == "sim-merge"
    assert code == 0


async def test_any_free_port_is_a_new_one_for_each() -> None:
    async with Simulator() as one, Simulator() as other:
        assert one.url != other.url


async def test_a_taken_port_is_refused_with_what_to_do() -> None:
    async with Simulator() as taken:
        port = int(taken.url.split(":")[-1].removesuffix("/v1"))
        with pytest.raises(UsageError, match=f"127.0.0.1:{port}.*choose another port"):
            async with Simulator(SimulatorSettings(port=port)):
                pass


async def test_a_fault_that_does_not_exist_is_refused_before_the_port_is_taken() -> None:
    with pytest.raises(UsageError, match="typo"):
        Simulator(SimulatorSettings(faults={"typo": 1}))


def test_a_running_server_is_changed_from_another_thread() -> None:
    with simulated() as server:
        server.control(rpm=60, down=True)
        with pytest.raises(OSError, match=r"\w"):
            ask(server.url)
        server.control(down=False)
        models = ask(server.url)
        limits = server.stats.snapshot()["limits"]

    assert models["object"] == "list"
    assert [limit[1:] for limit in limits] == [(None, None), (60, None)]


async def test_a_running_server_is_changed_from_its_own_thread() -> None:
    async with Simulator() as server:
        server.control(tpm=600)

        assert server.stats.snapshot()["limits"][-1][2] == 600


def test_a_change_that_makes_no_sense_is_refused_where_it_was_asked_for() -> None:
    with simulated() as server, pytest.raises(UsageError, match="rpm is -1"):
        server.control(rpm=-1)


def test_a_server_that_does_not_run_cannot_be_changed() -> None:
    with pytest.raises(UsageError, match="give it settings"):
        Simulator().control(rpm=60)


def ask(url: str) -> Any:
    """What models there are."""
    with build_opener(ProxyHandler({})).open(f"{url}/models", timeout=5) as response:
        return orjson.loads(response.read())
