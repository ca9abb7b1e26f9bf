from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from mergeit_async.config import build_settings
from mergeit_async.engine.identity import Identity
from mergeit_async.engine.prices import PriceSheet
from mergeit_async.engine.run_dir import Record, RunDir, Stamp
from mergeit_async.engine.tuning import (
    LOOK_EVERY_S,
    read_tuning,
    request_tuning,
    watch_tuning,
    write_tuning,
)
from mergeit_async.errors import UsageError

OWN = "http://127.0.0.1:9/v1"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tune.toml"


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    found = RunDir(tmp_path / "run")
    settings = build_settings({"dataset": tmp_path / "r.jsonl", "model": "m", "base_url": OWN})
    found.create(Record(settings, Identity("rows", {}), Stamp(1, 2)))
    return found


def test_what_is_asked_for_adds_to_what_was_asked_for_before(path):
    assert read_tuning(path) == {}
    write_tuning(path, {"rpm": 60, "max_cost": 1.5})
    write_tuning(path, {"rpm": 90})
    assert read_tuning(path) == {"rpm": 90, "max_cost": 1.5}


def test_a_job_hears_within_a_second_and_only_of_what_is_new(simulate, path):
    heard: list[tuple[float, dict[str, Any]]] = []

    def apply(changes: dict[str, Any]) -> None:
        heard.append((anyio.current_time(), changes))

    async def act() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch_tuning, path, apply)
            await anyio.sleep(10.5)
            write_tuning(path, {"rpm": 60})
            await anyio.sleep(10)
            write_tuning(path, {"rpm": 60})
            await anyio.sleep(10)
            write_tuning(path, {"max_cost": 3.0})
            await anyio.sleep(10)
            tasks.cancel_scope.cancel()

    simulate(act)

    assert [changes for _, changes in heard] == [{"rpm": 60}, {"rpm": 60, "max_cost": 3.0}]
    assert heard[0][0] - 10.5 <= LOOK_EVERY_S
    assert heard[1][0] - 30.5 <= LOOK_EVERY_S


@pytest.mark.parametrize("text", ["rpm = ", "\udcff", "threshold = 0.9\n", "rpm = 0\n"])
def test_a_file_that_cannot_be_used_changes_nothing_until_it_is_mended(simulate, path, text):
    heard: list[dict[str, Any]] = []

    def apply(changes: dict[str, Any]) -> None:
        if changes["rpm"] == 0:
            raise UsageError("--rpm 0 will not do.")
        heard.append(changes)

    async def act() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch_tuning, path, apply)
            path.write_bytes(text.encode(errors="surrogateescape"))
            await anyio.sleep(5)
            assert heard == []
            path.write_text("rpm = 7\n")
            await anyio.sleep(5)
            tasks.cancel_scope.cancel()

    simulate(act)

    assert heard == [{"rpm": 7}]


def test_a_run_that_somebody_works_on_is_tuned(run):
    with run.locked():
        said = request_tuning(run, {"rpm": 90, "max_in_flight": 4})
    assert "--rpm 90, --max-in-flight 4 within" in said
    assert read_tuning(run.tuning) == {"rpm": 90, "max_in_flight": 4}


def test_changes_are_told_by_the_names_of_options_and_in_full(run):
    with run.locked():
        said = request_tuning(run, {"timeout_s": 7.5, "tpm": 12_345_678})
    assert "--timeout 7.5, --tpm 12345678 within" in said


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({}, "Nothing to change.*--timeout"),
        ({"rpm": 0}, "--rpm 0"),
        ({"max_in_flight": 10**6}, "--max-in-flight"),
        ({"max_cost": -1.0}, "--max-cost"),
        ({"timeout_s": 0.0}, "--timeout"),
        ({"max_cost": 5.0}, "--price-in"),
        ({"threshold": 0.9}, "--threshold"),
        ({"base_url": ("http://127.0.0.1:1/v1", OWN)}, "--base-url"),
    ],
)
def test_what_a_running_job_cannot_take_is_refused(run, changes, named):
    with run.locked(), pytest.raises(UsageError, match=named):
        request_tuning(run, changes)
    assert not run.tuning.exists()


def test_a_cap_is_taken_where_prices_are_known(run):
    record = run.read_record()
    prices = {OWN: {record.settings.model: PriceSheet(1.0, 1.0, 1.0, "given")}}
    run.write_record(Record(record.settings, record.identity, record.stamp, prices))
    with run.locked():
        request_tuning(run, {"max_cost": 5.0})
    assert read_tuning(run.tuning) == {"max_cost": 5.0}


def test_a_run_that_nobody_works_on_is_not_tuned(run):
    with pytest.raises(UsageError, match=r"No process is working on .*; give .* to resume"):
        request_tuning(run, {"rpm": 90})
    assert not run.tuning.exists()


def test_where_there_is_no_run_there_is_nothing_to_tune(tmp_path):
    with pytest.raises(UsageError, match="holds no run"):
        request_tuning(RunDir(tmp_path), {"rpm": 90})
