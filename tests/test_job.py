"""The Python API against a real server: begun, observed, drained, reopened, refused."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import sqlite3
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import orjson
import pytest

from mergeit_async.config import Settings, build_settings
from mergeit_async.engine.run_dir import RunDir
from mergeit_async.errors import StoppedError, UsageError
from mergeit_async.job import Job
from mergeit_async.records import Outcome
from mergeit_async.simulator.server import Simulator
from mergeit_async.simulator.settings import SimulatorSettings
from tests.running import hashes

N_ROWS = 48
# Slow enough to be stopped on the way; every third reply is refused or has to be looked for.
SERVER = SimulatorSettings(latency_s=0.01, content_fault_rate=0.3, seed=4)
# What a job without a server is begun with; nothing listens there.
NOWHERE = "http://127.0.0.1:9/v1"
# As if every call so far had found no server.
FAIL_ALL = (
    "UPDATE outcomes SET status = 'failed', reason = 'connection', instruction = NULL,"
    " input = NULL, output = NULL"
)


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep keys and proxies of the machine away from the servers here."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Rows with vectors beside them, so that nothing needs to be embedded."""
    path = tmp_path / "rows.jsonl"
    rows = (
        {"instruction": f"Say {n}.", "input": "", "output": f"It is {n}."} for n in range(N_ROWS)
    )
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    np.save(path.with_suffix(".npy"), np.random.default_rng(0).normal(size=(N_ROWS, 8)))
    return path


def settings(dataset: Path, base_url: str = NOWHERE, **flags: Any) -> Settings:
    return build_settings(
        {
            "dataset": dataset,
            "embedder": str(dataset.with_suffix(".npy")),
            "threshold": -1.0,
            "model": "sim-merge",
            "base_url": base_url,
            "max_in_flight": 3,
        }
        | flags
    )


@pytest.fixture
async def undisturbed(dataset: Path, tmp_path: Path) -> dict[str, str]:
    """The hashes of a run that nobody interrupts."""
    out = tmp_path / "undisturbed"
    async with Simulator(SERVER) as server:
        summary = await Job.begin(settings(dataset, server.url), out).run()
    assert summary.merged_groups > 15
    return hashes(out)


def ask(run: Path, sql: str) -> list[tuple[Any, ...]]:
    """What is committed in the journal of a run."""
    with closing(sqlite3.connect(run / "journal.db")) as journal:
        return journal.execute(sql).fetchall()


async def stop_on_the_way(job: Job, after: int = 4) -> None:
    """Drain `job` after some outcomes."""

    def observe(_: Outcome) -> None:
        if job.progress.ended.total() == after:
            job.drain()

    with pytest.raises(StoppedError, match="Stopped on request"):
        await job.run(observe)


# Running.


async def test_each_outcome_is_durable_when_it_is_observed(dataset, tmp_path):
    run = tmp_path / "run"
    observed: list[tuple[int, str]] = []

    def observe(outcome: Outcome) -> None:
        sql = f"SELECT position, status FROM outcomes WHERE position = {outcome.position}"
        observed.extend(ask(run, sql))

    async with Simulator(SERVER) as server:
        summary = await Job.begin(settings(dataset, server.url), run).run(observe)

    assert len(observed) == summary.groups == summary.merged_groups
    assert sorted(observed) == [(position, "merged") for position in range(summary.groups)]
    assert summary.rows_in == summary.merged + summary.kept == N_ROWS


async def test_outcomes_come_in_while_the_run_goes_on_and_then_there_is_a_result(dataset, tmp_path):
    async with Simulator(SERVER) as server:
        job = Job.begin(settings(dataset, server.url), tmp_path / "run")
        async with job.outcomes() as outcomes:
            first = await outcomes.receive()
            assert not job.run_dir.merged.exists()
            rest = [outcome async for outcome in outcomes]

    assert job.run_dir.merged.exists()
    assert sorted(outcome.position for outcome in [first, *rest]) == list(range(len(rest) + 1))


# Stopping and going on.


@pytest.mark.parametrize("how", ["drain", "cancel"])
async def test_a_stopped_job_leaves_nothing_unknown_and_reopens_to_the_same_bytes(
    dataset, tmp_path, undisturbed, how
):
    run = tmp_path / "run"
    async with Simulator(SERVER) as server:
        job = Job.begin(settings(dataset, server.url), run)
        if how == "drain":
            await stop_on_the_way(job)
        else:
            with anyio.CancelScope() as scope:
                await job.run(lambda _: job.progress.ended.total() == 4 and scope.cancel())
            assert scope.cancelled_caught

        ended = ask(run, "SELECT count(*) FROM outcomes")[0][0]
        assert 4 <= ended < 15
        assert ask(run, "SELECT 1 FROM calls WHERE ended_at IS NULL") == []
        assert not (run / "merged.jsonl").exists()

        again = Job.reopen(run)
        await again.run()
        assert again.progress.resumed == ended
        assert server.stats.snapshot()["answered_more_than_once"] == 0
    assert hashes(run) == undisturbed


async def test_a_run_goes_on_without_its_dataset_once_the_rows_are_stored(
    dataset, tmp_path, undisturbed
):
    run = tmp_path / "run"
    async with Simulator(SERVER) as server:
        await stop_on_the_way(Job.begin(settings(dataset, server.url), run))
        dataset.rename(tmp_path / "moved.jsonl")
        await Job.reopen(run).run()
    assert hashes(run) == undisturbed


async def test_a_job_drained_before_it_runs_sends_nothing(dataset, tmp_path):
    async with Simulator(SERVER) as server:
        job = Job.begin(settings(dataset, server.url), tmp_path / "run")
        job.drain()
        with pytest.raises(StoppedError):
            await job.run()
        assert server.stats.arrivals == 0


async def test_a_job_that_waits_for_another_writer_says_so_and_can_be_drained(begun):
    job = Job.reopen(begun)
    with job.run_dir.journal.with_suffix(".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(drain_when_told, job)
            with anyio.fail_after(8), pytest.raises(StoppedError, match="Stopped on request"):
                await job.run()
    assert f"still writes {job.run_dir.journal}" in job.progress.notices[0]


async def drain_when_told(job: Job) -> None:
    with anyio.move_on_after(5):
        await notice(job)
    job.drain()


async def notice(job: Job) -> None:
    while not job.progress.notices:  # noqa: ASYNC110 - nothing tells of a notice
        await anyio.sleep(0.05)


async def test_a_result_with_failed_groups_goes_away_until_their_retries_have_ended(
    dataset, tmp_path, undisturbed
):
    run = tmp_path / "run"
    async with Simulator(replace(SERVER, faults={"server": 0.7})) as server:
        failed = await Job.begin(settings(dataset, server.url, max_tries=1), run).run()
    assert failed.groups > failed.failed_groups > 5
    assert failed.kept + failed.merged == N_ROWS

    async with Simulator(SERVER) as server:
        job = Job.reopen(run, {"base_url": server.url, "max_tries": 8})
        job.drain()
        with pytest.raises(StoppedError):
            await job.run(retry_failed=True)
        assert not (run / "merged.jsonl").exists()
        await Job.reopen(run).run()
    assert hashes(run) == undisturbed


async def test_failures_that_a_late_writer_still_commits_are_retried_too(
    dataset, tmp_path, undisturbed
):
    run = tmp_path / "run"
    async with Simulator(SERVER) as server:
        await stop_on_the_way(Job.begin(settings(dataset, server.url), run))
        job = Job.reopen(run)
        with job.run_dir.journal.with_suffix(".lock").open("w") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(partial(job.run, retry_failed=True))
                with anyio.fail_after(8):
                    await notice(job)
                with closing(sqlite3.connect(job.run_dir.journal)) as journal, journal:
                    journal.execute(FAIL_ALL)
                fcntl.flock(other, fcntl.LOCK_UN)
    assert hashes(run) == undisturbed


async def test_a_disk_that_fails_while_planning_stops_the_run_which_then_goes_on(
    dataset, tmp_path, undisturbed
):
    run = tmp_path / "run"
    async with Simulator(SERVER) as server:
        job = Job.begin(settings(dataset, server.url), run)
        obstacle = run / "plan" / "labels.npy"
        obstacle.mkdir()
        with pytest.raises(StoppedError, match=f"Cannot write to {run}"):
            await job.run()
        obstacle.rmdir()
        await Job.reopen(run).run()
    assert hashes(run) == undisturbed


# Reopening what has changed.


@pytest.fixture
def begun(dataset: Path, tmp_path: Path) -> Path:
    """A run with a prompt of its own that was begun and not run."""
    shipped = Path(__file__).resolve().parents[1] / "prompts" / "merge" / "v1"
    shutil.copytree(shipped, tmp_path / "prompts" / "merge" / "mine")
    mine = {"prompt": "merge/mine", "prompts": tmp_path / "prompts"}
    Job.begin(settings(dataset, **mine), tmp_path / "run")
    return tmp_path / "run"


def replace_in(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new", "named"),
    [
        ("rows.jsonl", "It is 7.", "It is 8.", "the dataset"),
        ("prompts/merge/mine/user.j2", "JSON", "YAML", "the prompt merge/mine"),
        (
            "run/run.toml",
            "\n[settings]",
            "\n[settings]\nlimit = 9",
            "the setting limit (None, now 9)",
        ),
        ("run/run.toml", '"gate/', '"gate/0', "the version of gate (gate/0"),
    ],
)
def test_a_run_whose_input_has_changed_is_not_reopened(begun, tmp_path, file, old, new, named):
    replace_in(tmp_path / file, old, new)
    os.utime(tmp_path / "rows.jsonl", (0, 0))
    with pytest.raises(UsageError, match=re.escape(named) + ".* has changed since the run began"):
        Job.reopen(begun)


def test_settings_that_change_the_result_cannot_be_changed(begun):
    with pytest.raises(UsageError, match="--max-attempts changes the result"):
        Job.reopen(begun, {"max_attempts": 9})
    with pytest.raises(UsageError, match="colour"):
        Job.reopen(begun, {"colour": "red"})


async def test_settings_that_only_change_the_speed_are_taken_over_for_good(begun):
    job = Job.reopen(begun, {"max_in_flight": 7, "rpm": 70})
    with pytest.raises(StoppedError):  # nothing listens at the address
        await job.run()
    kept = Job.reopen(begun).settings
    assert (kept.max_in_flight, kept.rpm, kept.base_url) == (7, 70, (NOWHERE,))


# Keys.


@pytest.mark.parametrize(
    ("flags", "key"),
    [
        ({"base_url": "https://api.openai.com/v1"}, "OPENAI_API_KEY"),
        ({"base_url": "https://api.openai.com/v1/"}, "OPENAI_API_KEY"),
        ({"api_key_env": "MY_KEY"}, "MY_KEY"),
    ],
)
def test_a_missing_key_is_named_before_anything_is_begun(
    dataset, tmp_path, monkeypatch, flags, key
):
    with pytest.raises(UsageError, match=rf"no key in \${key}"):
        Job.begin(settings(dataset, **flags), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    monkeypatch.setenv(key, "sk-test")
    Job.begin(settings(dataset, **flags), tmp_path / "run")
    assert "sk-test" not in (tmp_path / "run" / "run.toml").read_text()


# Known defects.


async def test_a_run_that_another_works_on_is_left_alone(dataset, tmp_path):
    run = tmp_path / "run"
    async with Simulator(SERVER) as server:
        job = Job.begin(settings(dataset, server.url), run)
        await stop_on_the_way(job)
        with RunDir(run).locked(), pytest.raises(UsageError, match="Another process"):
            await job.run()
    assert len(ask(run, "SELECT 1 FROM replies")) >= 4


async def test_a_receiver_of_outcomes_hears_why_the_run_stopped(dataset, tmp_path):
    async with Simulator(SERVER) as server:
        job = Job.begin(settings(dataset, server.url), tmp_path / "run")
        with pytest.raises(StoppedError, match="Stopped on request"):
            async with job.outcomes() as outcomes:
                async for _ in outcomes:
                    job.drain()


async def test_outcomes_that_nobody_wants_any_more_break_nothing(dataset, tmp_path):
    async with Simulator(SERVER) as server:
        job = Job.begin(settings(dataset, server.url), tmp_path / "run")
        with suppress(StoppedError):
            async with job.outcomes() as outcomes:
                await outcomes.receive()
    assert ask(job.run_dir.path, "SELECT 1 FROM calls WHERE ended_at IS NULL") == []


def test_another_dataset_given_on_reopening_is_refused(begun, dataset, tmp_path):
    other = tmp_path / "other.jsonl"
    other.write_bytes(dataset.read_bytes().replace(b"It is", b"This is"))
    with pytest.raises(UsageError, match="the dataset has changed"):
        Job.reopen(begun, {"dataset": other})


def test_a_path_that_is_not_utf8_is_refused(dataset):
    odd = dataset.rename(dataset.with_name(os.fsdecode(b"rows-\xff.jsonl")))
    with pytest.raises(UsageError, match="rename it"):
        build_settings({"dataset": odd})
