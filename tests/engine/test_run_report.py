"""What a run has made, for a person to look at."""

from __future__ import annotations

import pytest

from mergeit_async.engine.run_dir import RunDir
from mergeit_async.engine.run_report import LEAST_KEEPING, OF_EACH_REASON, gain_of, read_report
from mergeit_async.errors import UsageError
from mergeit_async.records import Outcome, Status
from mergeit_async.simulator.settings import SimulatorSettings
from mergeit_async.viewer.report_page import histogram, write_report_page
from tests.running import asking, call, simulated, write_dataset


def judged(merged: tuple[float, float], *sources: tuple[float, float]) -> Outcome:
    names = ("quality", "complexity")
    told = {
        "merged": dict(zip(names, merged, strict=True)),
        "sources": [dict(zip(names, each, strict=True)) for each in sources],
    }
    return Outcome(0, "g", Status.MERGED, 1, scores={"judge": told})


def test_a_gain_is_the_product_above_the_mean_of_the_sources():
    assert gain_of(judged((5, 4), (3, 2), (4, 2))) == 20 - 7
    assert gain_of(Outcome(0, "g", Status.MERGED, 1)) is None


def test_a_run_is_shown_with_its_rows_while_it_is_stopped_and_when_it_has_ended(tmp_path):
    dataset = write_dataset(tmp_path / "rows.jsonl", 80)
    spoiling = SimulatorSettings(flaw_rate=0.6, seed=2)
    with simulated(spoiling) as server:
        options = (*asking(dataset, server.url), "--max-attempts", "1")
        assert call("run", dataset, "--out", tmp_path / "run", *options).returncode == 0
    report = read_report(RunDir(tmp_path / "run"))
    groups = report.status.groups
    assert len(report.information) == groups["merged"]
    assert len(report.least) == min(LEAST_KEEPING, groups["merged"])
    assert [each.outcome.scores["information"] for each in report.least] == sorted(
        report.information
    )[: len(report.least)]
    assert sum(report.status.reasons.values()) == groups["kept"]
    assert all(0 < len(some) <= OF_EACH_REASON for some in report.refused.values())
    shown = [*report.least, *(each for some in report.refused.values() for each in some)]
    assert all(len(each.rows) == 2 for each in shown)
    write_report_page(RunDir(tmp_path / "run"), report)
    page = (tmp_path / "run" / "report.html").read_text()
    assert all(f"{reason}</h3>" in page for reason in report.refused)
    assert all(
        f"{name} {hash_[:12]}" in page for name, hash_ in report.record.identity.prompts.items()
    )
    assert call("report", tmp_path / "run").returncode == 0


def test_a_directory_without_a_run_is_told(tmp_path):
    with pytest.raises(UsageError, match="holds no run"):
        read_report(RunDir(tmp_path))


def test_bars_count_each_value_once():
    bars = histogram([0.0, 0.5, 0.51, 1.0], 0.0, 1.0)
    assert sum(bar["count"] for bar in bars) == 4
    assert max(bar["height"] for bar in bars) == 100
    assert histogram([], 0.0, 1.0) == []
