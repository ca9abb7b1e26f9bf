"""What a night may bring: a damaged journal, a clock set back, a slow end, a key on show."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from mergeit_async.config import build_settings
from mergeit_async.job import Job
from mergeit_async.simulator.settings import SimulatorSettings
from tests.running import PLAIN, asking, call, hashes, simulated, started, wait_until, write_dataset

KEY = "sk-a-key-that-must-never-be-seen"
PAGE = 4096


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "rows.jsonl", 240)


def interrupted(dataset: Path, url: str, out: Path, *options: object) -> None:
    """Begin a run and stop it half-way."""
    with started("run", dataset, "--out", out, *asking(dataset, url), *options) as process:
        wait_until(lambda: (out / "journal.db").exists())
        time.sleep(2.0)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 3


def test_a_damaged_journal_is_refused_with_the_ways_out(dataset, tmp_path):
    out = tmp_path / "run"
    with simulated(SimulatorSettings(latency_s=0.3)) as server:
        interrupted(dataset, server.url, out, "--max-in-flight", "8")
        content = bytearray((out / "journal.db").read_bytes())
        assert len(content) > 4 * PAGE
        content[PAGE : len(content) - PAGE] = b"\xa5" * (len(content) - 2 * PAGE)
        (out / "journal.db").write_bytes(content)
        arrivals = server.stats.arrivals
        resumed = call("resume", out)
        status = call("status", out)

        assert resumed.returncode in (2, 3), resumed.stderr
        assert status.returncode == 2, status.stderr
        for told in (resumed.stderr, status.stderr):
            assert "journal.db is damaged" in told
            assert ".recover" in told
            assert "Traceback" not in told
        assert server.stats.arrivals == arrivals

        (out / "journal.db").unlink()
        done = call("resume", out)
    assert done.returncode == 0, done.stderr


async def test_a_clock_that_is_set_back_an_hour_changes_nothing(dataset, tmp_path, monkeypatch):
    real = time.time
    offsets = iter([0.0, 0.0, *[-3600.0] * 100_000])
    with simulated(
        SimulatorSettings(latency_s=0.02, fault_rate=0.1, fault_retry_after_s=0.05)
    ) as s:
        settings = {"dataset": dataset, "model": "sim-merge", "base_url": s.url, "threshold": 0.3}
        await Job.begin(build_settings(settings), tmp_path / "straight").run()
        monkeypatch.setattr(time, "time", lambda: real() + next(offsets))
        await Job.begin(build_settings(settings), tmp_path / "set-back").run()

    assert hashes(tmp_path / "straight") == hashes(tmp_path / "set-back")


def test_answers_that_came_while_the_process_was_stopped_are_not_paid_twice(dataset, tmp_path):
    options = ("--max-in-flight", "16", "--timeout", "1")
    with simulated(SimulatorSettings(latency_s=0.4)) as server:
        run = ("run", dataset, "--out", tmp_path / "run", *asking(dataset, server.url), *options)
        with started(*run) as process:
            wait_until(lambda: server.stats.answered >= 30)
            process.send_signal(signal.SIGSTOP)
            time.sleep(2.5)
            process.send_signal(signal.SIGCONT)
            assert process.wait(30) == 0

    assert server.stats.snapshot()["answered_more_than_once"] == 0


def test_sigterm_drains_for_a_while_and_then_ends_the_process(dataset, tmp_path):
    out = tmp_path / "run"
    with simulated(SimulatorSettings(latency_s=120.0)) as server:
        options = (*asking(dataset, server.url), "--timeout", "600")
        with started("run", dataset, "--out", out, *options) as process:
            wait_until(lambda: server.stats.arrivals > 0)
            process.terminate()
            began = time.monotonic()
            assert process.wait(60) == 3
            assert 20 <= time.monotonic() - began <= 40
            assert process.stderr is not None
            told = process.stderr.read()

    assert "may have been billed" in told
    assert told.strip().splitlines()[-1] == f"python -m mergeit_async resume {out}"


@pytest.mark.parametrize(
    "faults",
    [{}, {"unauthorized": 1.0}, {"bad_request": 1.0}, {"redirect": 1.0}, {"server": 0.5}],
    ids=["none", "unauthorized", "bad_request", "redirect", "server"],
)
def test_the_key_is_in_no_file_and_no_output(dataset, tmp_path, faults):
    out = tmp_path / "run"
    settings = SimulatorSettings(api_key=KEY, faults=faults, content_fault_rate=0.2)
    with simulated(settings) as server:
        options = (*asking(dataset, server.url), "--max-tries", "2")
        printed: list[subprocess.CompletedProcess[str]] = [
            call("run", dataset, "--out", out, *options, OPENAI_API_KEY=KEY),
            call("resume", out, OPENAI_API_KEY=KEY),
            call("resume", out, OPENAI_API_KEY=KEY + "-wrong"),
            call("status", out, "--json"),
        ]
        assert server.stats.arrivals > 0

    for done in printed:
        assert KEY not in done.stdout + done.stderr
    files = [path for path in out.rglob("*") if path.is_file()]
    assert files
    for path in files:
        assert KEY.encode() not in path.read_bytes(), path


@pytest.mark.parametrize("fault", ["context_length", "bad_request", "too_large"])
def test_groups_that_stopped_a_run_are_asked_for_again_by_its_resume_command(
    dataset, tmp_path, fault
):
    out, straight = tmp_path / "run", tmp_path / "straight"
    with simulated(SimulatorSettings(faults={fault: 1.0})) as server:
        options = (*asking(dataset, server.url), *PLAIN)
        stopped = call("run", dataset, "--out", out, *options)
        server.control(faults={})
        resumed = call("resume", out)
        assert call("run", dataset, "--out", straight, *options).returncode == 0

    assert stopped.returncode == 3, stopped.stderr
    assert resumed.returncode == 0, resumed.stderr
    assert hashes(out) == hashes(straight)


def test_a_small_job_in_which_every_group_was_refused_is_not_done(tmp_path):
    dataset = write_dataset(tmp_path / "rows.jsonl", 12)
    with simulated(SimulatorSettings(faults={"context_length": 1.0})) as server:
        stopped = call("run", dataset, "--out", tmp_path / "run", *asking(dataset, server.url))
        server.control(faults={})
        resumed = call("resume", tmp_path / "run", "--json")

    assert stopped.returncode == 3
    assert resumed.returncode == 0
    assert b'"merged_groups": 0' not in resumed.stdout.encode()
