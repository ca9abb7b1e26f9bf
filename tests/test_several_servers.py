"""One run on several servers: the work is shared, and a dead server delays nobody."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import orjson
import pytest

from mergeit_async.simulator.server import Simulator
from mergeit_async.simulator.settings import SimulatorSettings
from tests.running import asking, call, hashes, simulated, started, wait_until, write_dataset

NOWHERE = "http://127.0.0.1:9/v1"
# What a process needs until it asks, on a busy machine.
START_S = 5.0
# The same seed: interchangeable servers. Some replies are refused and asked for again.
LIKE_THE_OTHER = SimulatorSettings(latency_s=0.05, content_fault_rate=0.1, seed=3)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("several") / "rows.jsonl", 240)


@pytest.fixture(scope="module")
def alone(dataset: Path) -> dict[str, str]:
    """The hashes of a run on one server."""
    out = dataset.parent / "alone"
    with simulated(LIKE_THE_OTHER) as server:
        done = call("run", dataset, "--out", out, *asking(dataset, server.url))
    assert done.returncode == 0, done.stderr
    return hashes(out)


def test_two_servers_share_the_work_and_the_result_is_that_of_one(dataset, alone, tmp_path):
    with simulated(LIKE_THE_OTHER) as one, simulated(LIKE_THE_OTHER) as two:
        urls = (one.url + ",in-flight=4", two.url + ",in-flight=12")
        done = call("run", dataset, "--out", tmp_path / "run", *asking(dataset, *urls))
    assert done.returncode == 0, done.stderr
    assert hashes(tmp_path / "run") == alone
    assert one.stats.peak_in_flight <= 4
    assert two.stats.peak_in_flight <= 12
    assert two.stats.arrivals / one.stats.arrivals == pytest.approx(3, rel=0.4)


def test_a_server_that_is_not_there_is_done_without(dataset, alone, tmp_path):
    with simulated(LIKE_THE_OTHER) as server:
        urls = (NOWHERE, server.url)
        done = call("run", dataset, "--out", tmp_path / "run", *asking(dataset, *urls), "--json")
    assert done.returncode == 0, done.stderr
    assert orjson.loads(done.stdout)["failed_groups"] == 0
    assert hashes(tmp_path / "run") == alone


def test_a_run_without_any_server_stops_within_seconds(dataset, tmp_path):
    out, began = tmp_path / "run", time.monotonic()
    done = call("run", dataset, "--out", out, *asking(dataset, NOWHERE, NOWHERE + "/2"))
    assert time.monotonic() - began < 15
    assert done.returncode == 3, done.stderr
    assert done.stderr.strip().splitlines()[-1] == f"python -m mergeit_async resume {out}"


def test_a_server_that_dies_is_done_without_and_taken_back_when_it_is_there_again(
    dataset, alone, tmp_path
):
    out = tmp_path / "run"
    with ExitStack() as first_life, ExitStack() as job, simulated(LIKE_THE_OTHER) as steady:
        mortal = first_life.enter_context(simulated(LIKE_THE_OTHER))
        port = int(mortal.url.rpartition(":")[2].partition("/")[0])
        options = (*asking(dataset, mortal.url, steady.url), "--max-in-flight", "1", "--json")
        process = job.enter_context(started("run", dataset, "--out", out, *options))
        wait_until(lambda: mortal.stats.answered >= 5)
        first_life.close()
        served = steady.stats.answered
        wait_until(lambda: steady.stats.answered >= served + 10)
        with simulated(reborn(port)) as again:
            stdout, stderr = process.communicate(timeout=60)
            assert again.stats.answered > 5
    assert process.returncode == 0, stderr
    assert orjson.loads(stdout)["failed_groups"] == 0
    assert hashes(out) == alone


def reborn(port: int) -> SimulatorSettings:
    """The same server at the same place."""
    return SimulatorSettings(port=port, latency_s=0.05, content_fault_rate=0.1, seed=3)


WRONG = (
    "unauthorized",
    "forbidden",
    "model_not_found",
    "bad_request",
    "context_length",
    "redirect",
)


@pytest.mark.parametrize("what", WRONG)
def test_a_server_that_refuses_all_work_is_named_and_done_without(dataset, alone, tmp_path, what):
    with simulated(LIKE_THE_OTHER) as right, simulated(refusing(what)) as wrong:
        urls = (wrong.url, right.url)
        done = call("run", dataset, "--out", tmp_path / "run", *asking(dataset, *urls), "--json")
    assert done.returncode == 0, done.stderr
    assert orjson.loads(done.stdout)["failed_groups"] == 0
    assert hashes(tmp_path / "run") == alone
    assert f"{wrong.url} is left out" in done.stderr
    assert f"{right.url} is left out" not in done.stderr


@pytest.mark.parametrize("what", ["unauthorized", "model_not_found", "bad_request"])
def test_a_run_stops_at_once_where_all_servers_refuse_the_work(dataset, tmp_path, what):
    out = tmp_path / "run"
    with simulated(refusing("model_not_found")) as one, simulated(refusing(what)) as two:
        began = time.monotonic()
        done = call("run", dataset, "--out", out, *asking(dataset, one.url, two.url))
        assert time.monotonic() - began < 5 + START_S
    assert done.returncode == 3, done.stderr
    assert "does not take the work" in done.stderr
    assert done.stderr.strip().splitlines()[-1] == f"python -m mergeit_async resume {out}"


def refusing(what: str) -> SimulatorSettings:
    """A server that answers each call alike."""
    return SimulatorSettings(latency_s=0.01, faults={what: 1.0})


def test_a_key_that_one_server_refuses_is_named_and_the_others_carry_on(dataset, tmp_path):
    with simulated() as open_to_all, simulated(SimulatorSettings(api_key="right")) as closed:
        urls: tuple[Simulator, ...] = (open_to_all, closed)
        done = call(
            *("run", dataset, "--out", tmp_path / "run"),
            *asking(dataset, *(server.url for server in urls)),
            OPENAI_API_KEY="wr0ng-key",
        )
    assert done.returncode == 0, done.stderr
    assert f"{closed.url} is left out: auth (HTTP 401)" in done.stderr
    assert "check the key" in done.stderr
    assert "wr0ng-key" not in done.stderr


@pytest.mark.parametrize(
    ("urls", "named"),
    [
        (("http://host/v1,rpm=0",), "rpm=0"),
        (("http://host/v1", "http://host/v1,rpm=5"), "twice"),
        (("http://host/v1,key-env=NO_SUCH_KEY",), "NO_SUCH_KEY"),
        (("http://host/v1", "host:8000"), "host:8000"),
    ],
)
def test_servers_that_make_no_sense_are_refused(dataset, tmp_path, urls, named):
    out = tmp_path / "run"
    done = call("run", dataset, "--out", out, *asking(dataset, *urls))
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert named in done.stderr
    assert not out.exists()
