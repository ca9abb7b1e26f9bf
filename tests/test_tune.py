"""Limits of a running job are changed by another process, without a restart."""

from __future__ import annotations

import subprocess
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mergeit_async.simulator.server import Simulator
from mergeit_async.simulator.settings import SimulatorSettings
from tests.running import asking, call, command, simulated, started, wait_until, write_dataset

# What a job may take to hear of it, and a little for a busy machine.
HEARD_WITHIN_S = 2.0


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "rows.jsonl", 1200)


@pytest.fixture
def server() -> Iterator[Simulator]:
    with simulated(SimulatorSettings(latency_s=0.5)) as simulator:
        yield simulator


@contextmanager
def working(dataset: Path, server: Simulator, *options: object) -> Iterator[subprocess.Popen[str]]:
    """A job that is at work on about 600 groups; killed at the end if it still is."""
    out = dataset.parent / "run"
    with started("run", dataset, "--out", out, *asking(dataset, server.url), *options) as process:
        wait_until(lambda: server.stats.answered >= 10)
        yield process


def tune(dataset: Path, *options: object) -> None:
    done = call("tune", dataset.parent / "run", *options)
    assert done.returncode == 0, done.stderr


def recorded(dataset: Path, name: str) -> object:
    return tomllib.loads((dataset.parent / "run" / "run.toml").read_text())["settings"].get(name)


def test_more_or_fewer_calls_in_flight(dataset, server):
    with working(dataset, server, "--max-in-flight", "3"):
        assert server.stats.peak_in_flight == 3
        tune(dataset, "--max-in-flight", "24")
        wait_until(lambda: server.stats.in_flight >= 22, HEARD_WITHIN_S + 2)  # they open gradually
        assert recorded(dataset, "max_in_flight") == 24
        tune(dataset, "--max-in-flight", "2")
        wait_until(lambda: server.stats.in_flight <= 2, HEARD_WITHIN_S)
        server.stats.reset()
        time.sleep(1.0)
        assert 1 <= server.stats.peak_in_flight <= 2
        assert recorded(dataset, "max_in_flight") == 2


def test_a_lower_and_a_higher_rate(dataset, server):
    with working(dataset, server, "--max-in-flight", "12"):
        tune(dataset, "--rpm", "120")
        time.sleep(HEARD_WITHIN_S)
        server.stats.reset()
        time.sleep(2.0)
        assert 2 <= server.stats.arrivals <= 6
        assert recorded(dataset, "rpm") == 120
        tune(dataset, "--rpm", "100000")
        time.sleep(HEARD_WITHIN_S)
        server.stats.reset()
        time.sleep(1.0)
        assert server.stats.arrivals >= 15


def test_a_lower_cap_stops_the_job_before_it_is_passed(dataset, server):
    prices = ("--price-in", "1", "--price-out", "10", "--max-cost", "100")
    with working(dataset, server, *prices, "--max-in-flight", "6") as process:
        tune(dataset, "--max-cost", "0.0001")
        _, stderr = process.communicate(timeout=HEARD_WITHIN_S + 5)
    assert process.returncode == 3, stderr
    assert "$0.0001 of --max-cost" in stderr
    assert recorded(dataset, "max_cost") == 0.0001


def test_bad_values_are_refused_and_change_nothing(dataset, server):
    with working(dataset, server, "--max-in-flight", "3") as process:
        for options, named in [
            (("--rpm", "0"), "--rpm 0"),
            (("--max-cost", "1"), "--price-in"),
        ]:
            done = call("tune", dataset.parent / "run", *options)
            assert done.returncode == 2, options
            assert len(done.stderr.strip().splitlines()) == 1
            assert named in done.stderr
        assert process.poll() is None
        assert not (dataset.parent / "run" / "tune.toml").exists()


def test_more_calls_in_flight_than_the_system_has_files_for_are_refused(dataset, server):
    with working(dataset, server, "--max-in-flight", "3") as process:
        asked = command("tune", dataset.parent / "run", "--max-in-flight", "5000")
        limited = ["sh", "-c", 'ulimit -n 1000 && exec "$@"', "sh", *asked]
        done = subprocess.run(limited, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1
        assert "open files, and this system allows 1,000" in done.stderr
        assert process.poll() is None
        assert not (dataset.parent / "run" / "tune.toml").exists()


def test_a_run_that_nobody_works_on_is_not_tuned(dataset, tmp_path):
    out = tmp_path / "run"
    call("run", dataset, "--out", out, *asking(dataset, "http://127.0.0.1:9/v1"))
    done = call("tune", out, "--rpm", "60")
    assert done.returncode == 2
    assert "No process is working" in done.stderr
    assert call("tune", tmp_path, "--rpm", "60").returncode == 2
