"""Money as users meet it: a hard cap, prices that stay, and what a crash may have cost."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import orjson
import pytest

from mergeit_async.config import build_settings
from mergeit_async.engine.prices import PriceSheet, sheets_of
from mergeit_async.engine.run_dir import RunDir
from mergeit_async.job import Job
from mergeit_async.simulator.settings import SimulatorSettings
from tests.running import PLAIN, asking, call, hashes, simulated, started, wait_until, write_dataset

PRICES = ("--price-in", "1", "--price-out", "10")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "rows.jsonl", 60)


def status(run: Path) -> dict[str, Any]:
    return orjson.loads(call("status", run, "--json").stdout)


def test_a_run_stops_before_its_cap_and_goes_on_with_a_higher_one(dataset, tmp_path):
    with simulated(SimulatorSettings(latency_s=0.02)) as server:
        options = (*asking(dataset, server.url), *PRICES, "--max-in-flight", "8")
        assert call("run", dataset, "--out", tmp_path / "free", *options).returncode == 0
        whole = status(tmp_path / "free")["spent_usd"]
        n_groups = server.stats.arrivals

        out, cap = tmp_path / "run", whole * 0.7
        stopped = call("run", dataset, "--out", out, *options, "--max-cost", cap)
        after = status(out)
        done = call("resume", out, "--max-cost", 10 * whole)

    assert stopped.returncode == 3, stopped.stderr
    assert "--max-cost" in stopped.stderr
    command = stopped.stderr.strip().splitlines()[-1]
    assert command.startswith(f"python -m mergeit_async resume {out} --max-cost ")
    assert float(command.split()[-1]) > cap
    assert 0 < after["spent_usd"] <= cap
    assert (after["max_cost_usd"], after["unknown_calls"]) == (cap, [])
    assert done.returncode == 0, done.stderr
    assert hashes(out) == hashes(tmp_path / "free")
    assert server.stats.arrivals == 2 * n_groups, "nothing is paid twice"
    assert status(out)["spent_usd"] == pytest.approx(whole)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--max-cost", "1"), "--price-in"),
        ((*PRICES, "--max-cost", "0.000001"), "less than one call may cost"),
        ((*PRICES, "--max-cost", "0"), "--max-cost"),
        ((*PRICES, "--max-cost", "nan"), "--max-cost"),
        (("--price-in", "1"), "--price-out"),
        (("--price-in", "-1", "--price-out", "1"), "--price-in"),
    ],
    ids=["no price", "below one call", "nothing", "no number", "half a price", "negative price"],
)
def test_money_that_makes_no_sense_is_refused_before_anything_is_sent(
    dataset, tmp_path, options, named
):
    out = tmp_path / "run"
    with simulated() as server:
        done = call("run", dataset, "--out", out, *asking(dataset, server.url), *options)
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert named in done.stderr
    assert server.stats.arrivals == 0
    assert not out.exists()


def test_calls_cut_off_by_a_kill_count_as_spent_with_all_that_was_reserved(dataset, tmp_path):
    out = tmp_path / "run"
    with simulated(SimulatorSettings(latency_s=60)) as server:
        options = (*asking(dataset, server.url), *PRICES, "--max-in-flight", "4", *PLAIN)
        with started("run", dataset, "--out", out, *options, "--max-cost", "1"):
            wait_until(lambda: server.stats.in_flight == 4)
        killed = status(out)
        stopped = call("resume", out, "--max-cost", killed["spent_usd"])

    # Intents that still waited for a slot look the same from outside.
    assert 4 <= len(killed["unknown_calls"]) <= 8
    unknown_usd = sum(call["reserved_usd"] for call in killed["unknown_calls"])
    assert killed["spent_usd"] == pytest.approx(unknown_usd)
    assert unknown_usd > 0
    assert stopped.returncode == 3, stopped.stderr
    assert "--max-cost" in stopped.stderr
    assert server.stats.arrivals == 4


# The price sheet is that of the day on which the run began.


@pytest.fixture
def begun(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run on OpenAI's server that was begun at other prices than today's, and sent nothing."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    vectors = str(dataset.with_suffix(".npy"))
    flags = {"dataset": dataset, "model": "gpt-4o-mini", "embedder": vectors, "max_cost": 1.0}
    Job.begin(build_settings(flags), tmp_path / "run")
    record = tmp_path / "run" / "run.toml"
    ((sheet,),) = (
        sheets.values() for sheets in tomllib.loads(record.read_text())["prices"].values()
    )
    assert sheet["source"] == "genai-prices"
    text = record.read_text()
    assert text.count(f"prompt = {sheet['prompt']}\n") == 1
    record.write_text(text.replace(f"prompt = {sheet['prompt']}\n", "prompt = 0.99\n"))
    return tmp_path / "run"


def prices_of(job: Job) -> list[PriceSheet]:
    job.run_dir.write_record(job._record)
    return sheets_of(RunDir(job.run_dir.path).read_record().prices, "gpt-4o-mini")


def test_a_resumed_run_keeps_the_prices_it_began_with(begun):
    (sheet,) = prices_of(Job.reopen(begun, {"max_cost": 2.0}))
    assert (sheet.prompt, sheet.source) == (0.99, "genai-prices")


def test_prices_given_on_resume_hold_from_then_on(begun):
    given = PriceSheet(prompt=3.0, cached=3.0, completion=4.0, source="given")
    assert prices_of(Job.reopen(begun, {"price_in": 3.0, "price_out": 4.0})) == [given]
    assert prices_of(Job.reopen(begun)) == [given]


def test_a_crash_leaves_no_more_calls_in_doubt_than_were_about_to_be_sent(dataset, tmp_path):
    out = tmp_path / "run"
    with simulated() as server:
        options = (*asking(dataset, server.url), *PRICES, "--rpm", "60", "--max-in-flight", "64")
        with started("run", dataset, "--out", out, *options) as process:
            wait_until(lambda: server.stats.answered >= 2)
            process.kill()
            process.wait()
        after = status(out)

    assert server.stats.arrivals <= 6
    assert len(after["unknown_calls"]) <= 4


def test_calls_of_a_time_without_a_price_are_told_where_a_cap_comes_later(dataset, tmp_path):
    out = tmp_path / "run"
    with simulated(SimulatorSettings(latency_s=0.3)) as server:
        options = (*asking(dataset, server.url), "--max-in-flight", "4")
        with started("run", dataset, "--out", out, *options) as process:
            wait_until(lambda: server.stats.answered >= 8)
            process.terminate()
            process.wait()
        done = call("resume", out, *PRICES, "--max-cost", "100")
    assert done.returncode == 0, done.stderr
    assert "calls were made before a price was known" in done.stderr
    assert "$0 of --max-cost" in done.stderr
    assert "before a price was known" not in call("resume", out, "--max-cost", "100").stderr
