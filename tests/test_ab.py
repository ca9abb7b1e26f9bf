"""A/B runs as their users meet them: compared, interrupted, grown, reused, refused."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import orjson
import pytest

from mergeit_async.simulator.settings import SimulatorSettings
from tests.running import (
    asking,
    call,
    simulated,
    start,
    started,
    wait_until,
    write_dataset,
)

SIMULATOR = SimulatorSettings(latency_s=0.02, flaw_rate=0.3, fault_rate=0.05, seed=5)
JUDGED = ("--judge", "sim-judge", "--max-in-flight", "6")
PRICES = ("--price-in", "1", "--price-out", "2", "--judge-price-in", "1", "--judge-price-out", "2")
AB, ABC = ("A=merge/v1", "B=merge/v3"), ("A=merge/v1", "B=merge/v3", "C=merge/v1")
RESULTS = ("ab.json", "ab.html")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "rows.jsonl", 80)


def comparing(
    dataset: Path, out: Path, url: str, arms: Sequence[str] = AB, groups: int = 12
) -> tuple[object, ...]:
    named = [option for arm in arms for option in ("--arm", arm)]
    return ("ab", dataset, "--out", out, *asking(dataset, url), *named, "--groups", groups)


def sent(run: Path) -> list[str]:
    with closing(sqlite3.connect(run / "journal.db")) as journal:
        return [key for (key,) in journal.execute("SELECT request_key FROM calls")]


def answered(run: Path) -> set[str]:
    with closing(sqlite3.connect(run / "journal.db")) as journal:
        return {key for (key,) in journal.execute("SELECT request_key FROM replies")}


def test_arms_are_compared_on_the_same_groups(dataset, tmp_path):
    with simulated(SIMULATOR) as server:
        done = call(*comparing(dataset, tmp_path / "ab", server.url), *JUDGED, *PRICES, "--json")
    assert done.returncode == 0, done.stderr
    result = orjson.loads(done.stdout)
    assert result == orjson.loads((tmp_path / "ab" / "ab.json").read_bytes())
    assert [(arm["name"], arm["groups"], arm["without_reply"]) for arm in result["arms"]] == [
        ("A", 12, 0),
        ("B", 12, 0),
    ]
    (pair,) = result["comparisons"]
    names = [effect["metric"] for effect in pair["effects"]]
    assert names[:3] == ["passed", "preference", "judge_score"]
    assert names[-1] == "cost_per_merge"
    assert pair["preferences"]["n"] + pair["preferences"]["left_out"] == 12
    assert all(set(group["arms"]) == {"A", "B"} for group in result["groups"])
    assert "too few to find a difference" in done.stderr, "told before anything is sent"


def test_a_killed_comparison_ends_with_the_same_bytes_and_pays_nothing_twice(dataset, tmp_path):
    chance = random.Random(1)
    with simulated(SIMULATOR) as server:
        whole = call(*comparing(dataset, tmp_path / "whole", server.url, ABC), *JUDGED)
        assert whole.returncode == 0, whole.stderr
        out = tmp_path / "killed"
        for _ in range(5):
            process = start(*comparing(dataset, out, server.url, ABC), *JUDGED)
            before = len(sent(out)) if (out / "journal.db").exists() else 0
            wait_until(partial(is_under_way, process, out, before), 60)
            time.sleep(chance.random() * 0.3)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        done = call("resume", out, "--base-url", server.url)
        assert done.returncode == 0, done.stderr
    for name in RESULTS:
        assert (out / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert answered(out) == answered(tmp_path / "whole")


def is_under_way(process: subprocess.Popen[str], run: Path, before: int) -> bool:
    try:
        return process.poll() is not None or len(sent(run)) > before
    except sqlite3.Error:  # not there yet
        return False


def test_an_arm_that_is_added_later_pays_only_for_itself(dataset, tmp_path):
    with simulated(SIMULATOR) as server:
        at_once, later = tmp_path / "at_once", tmp_path / "later"
        call(*comparing(dataset, at_once, server.url, ABC), *JUDGED)
        call(*comparing(dataset, later, server.url, AB, groups=6), *JUDGED)
        first = answered(later)
        done = call(*comparing(dataset, later, server.url, ABC), *JUDGED)
        assert done.returncode == 0, done.stderr
        # All is there: nothing is sent.
        before = server.stats.arrivals
        assert call("resume", later, "--base-url", server.url).returncode == 0
        assert server.stats.arrivals == before
    assert first < answered(later) == answered(at_once)
    for name in RESULTS:
        assert (at_once / name).read_bytes() == (later / name).read_bytes()
    keys = [key for key in sent(later) if key in first]
    assert len(keys) <= 1.2 * len(first), "what was sent again are faults of the first time"


def test_a_run_with_the_winner_pays_nothing_for_what_was_compared(dataset, tmp_path):
    with simulated(SIMULATOR) as server:
        call(*comparing(dataset, tmp_path / "ab", server.url))
        options = (*asking(dataset, server.url), "--prompt", "merge/v3")
        options += ("--reuse", tmp_path / "ab")
        done = call("run", dataset, "--out", tmp_path / "run", *options)
        assert done.returncode == 0, done.stderr
    assert answered(tmp_path / "ab").isdisjoint(sent(tmp_path / "run"))


def test_arms_that_are_alike_draw_samples_of_their_own_and_nobody_wins(dataset, tmp_path):
    arms = ("A=merge/v3", "B=merge/v3")
    with simulated(SIMULATOR) as server:
        call(*comparing(dataset, tmp_path / "aa", server.url, arms, groups=30))
    result = orjson.loads((tmp_path / "aa" / "ab.json").read_bytes())
    assert [arm["first_sample"] for arm in result["arms"]] == [0, 3]
    assert result["verdict"]["winner"] is None
    assert any(group["arms"]["A"] != group["arms"]["B"] for group in result["groups"])


def test_an_arm_that_is_worse_than_the_first_ends_with_4(dataset, tmp_path):
    out = tmp_path / "ab"
    dearer = ("A=merge/v3", "B=merge/v2")
    with simulated() as server:
        options = comparing(dataset, out, server.url, dearer, groups=30)
        done = call(*options, "--fail-if-worse", "tokens")
        assert done.returncode == 4, done.stderr
        assert "Worse than A in tokens: B" in done.stderr
        # Passing the gate is all alike.
        assert call(*options, "--fail-if-worse", "passed").returncode == 0


@pytest.mark.parametrize(
    ("arms", "more", "named"),
    [
        (("A=merge/v1",), (), "only the arm"),
        (("A=merge/v1", "A=merge/v3"), (), "name of its own"),
        (("A=merge/v1", "B=merge/v99"), (), "merge/v99"),
        (AB, ("--fail-if-worse", "length"), "choose among"),
        (AB, ("--prompt", "merge/v1"), "--arm"),
    ],
)
def test_what_cannot_be_compared_is_said_before_anything_is_there(
    dataset, tmp_path, arms, more, named
):
    done = call(*comparing(dataset, tmp_path / "ab", "http://127.0.0.1:9/v1", arms), *more)
    assert (done.returncode, named in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "ab").exists()


def test_a_changed_arm_of_a_run_is_refused_and_the_run_stays_as_it_was(dataset, tmp_path):
    out = tmp_path / "ab"
    with simulated() as server:
        call(*comparing(dataset, out, server.url))
        before = (out / "ab.json").read_bytes()
        changed = ("A=merge/v1?temperature=1", "B=merge/v3")
        done = call(*comparing(dataset, out, server.url, changed))
    assert (done.returncode, "--out" in done.stderr) == (2, True), done.stderr
    assert (out / "ab.json").read_bytes() == before


def test_a_dry_run_sends_nothing(dataset, tmp_path):
    with simulated() as server:
        done = call(*comparing(dataset, tmp_path / "ab", server.url), "--dry-run")
        assert server.stats.arrivals == 0
    assert done.returncode == 0, done.stderr
    assert "smallest difference of pass rates" in done.stdout


class Links(HTMLParser):
    """All tags of a page, and where they point."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("src", "href")]


def test_the_page_needs_nothing_else_and_rows_are_no_markup_in_it(tmp_path):
    dataset = write_dataset(tmp_path / "rows.jsonl", 40)
    rows = [orjson.loads(line) for line in dataset.read_bytes().splitlines()]
    for row in rows:
        row["output"] += ' <script src="http://evil/">alert(1)</script> שלום \u202e &amp; 🎉'
    dataset.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    with simulated(SIMULATOR) as server:
        call(*comparing(dataset, tmp_path / "ab", server.url, groups=20), "--max-attempts", "1")
    page = (tmp_path / "ab" / "ab.html").read_text()
    found = Links()
    found.feed(page)
    assert (found.links, "script" in found.tags) == ([], False)
    assert "&lt;script" in page
    arms = orjson.loads((tmp_path / "ab" / "ab.json").read_bytes())["arms"]
    assert all(f"{arm['prompt']} {arm['hash'][:12]}" in page for arm in arms)


def test_status_and_report_know_an_ab_run(dataset, tmp_path):
    with simulated() as server:
        call(*comparing(dataset, tmp_path / "ab", server.url, groups=4))
    assert orjson.loads(call("status", tmp_path / "ab", "--json").stdout)["state"] == "finished"
    refused = call("report", tmp_path / "ab")
    assert (refused.returncode, "ab.html" in refused.stderr) == (2, True)


def test_a_dry_run_changes_nothing_of_a_finished_run(dataset, tmp_path):
    out = tmp_path / "ab"
    with simulated() as server:
        call(*comparing(dataset, out, server.url, groups=4))
        before = {path.name: path.read_bytes() for path in out.glob("ab*")}
        done = call(*comparing(dataset, out, server.url, ABC, groups=9), "--dry-run")
        assert done.returncode == 0, done.stderr
    assert {path.name: path.read_bytes() for path in out.glob("ab*")} == before


def test_a_run_that_never_merged_anything_may_begin_with_other_arms(dataset, tmp_path):
    out = tmp_path / "ab"
    refusing = SimulatorSettings(faults={"model_not_found": 1.0})
    with simulated(refusing) as server:
        done = call(*comparing(dataset, out, server.url, ("A=merge/v1@typo", "B=merge/v3@typo")))
    assert (done.returncode, "typo" in done.stderr) == (3, True), done.stderr
    with simulated() as server:
        done = call(*comparing(dataset, out, server.url, groups=4))
    assert done.returncode == 0, done.stderr


def test_an_arm_that_the_server_refuses_leaves_the_finished_run_as_it_was(dataset, tmp_path):
    out = tmp_path / "ab"
    with simulated() as server:
        call(*comparing(dataset, out, server.url, groups=4))
    before = {name: (out / name).read_bytes() for name in ("ab.toml", *RESULTS)}
    with simulated(SimulatorSettings(faults={"model_not_found": 1.0})) as server:
        more = (*AB, "C=merge/v2@nowhere")
        assert call(*comparing(dataset, out, server.url, more, groups=4)).returncode == 3
    assert {name: (out / name).read_bytes() for name in before} == before


def test_groups_without_a_reply_are_told_with_the_way_to_try_them_again(dataset, tmp_path):
    out = tmp_path / "ab"
    flaky = SimulatorSettings(faults={"server": 0.4}, seed=3)
    with simulated(flaky) as server:
        options = comparing(dataset, out, server.url, groups=15)
        done = call(*options, "--max-tries", "1", "--structured-output", "text")
    assert done.returncode == 0, done.stderr
    assert "--retry-failed" in done.stdout
    assert "--retry-failed" in (out / "ab.html").read_text()
    with simulated() as server:
        done = call("resume", out, "--retry-failed", "--base-url", server.url, "--json")
    assert [arm["without_reply"] for arm in orjson.loads(done.stdout)["arms"]] == [0, 0]


def test_one_price_is_not_taken_for_two_models(dataset, tmp_path):
    arms = ("A=merge/v1@small", "B=merge/v1@large")
    options = comparing(dataset, tmp_path / "ab", "http://127.0.0.1:9/v1", arms)
    done = call(*options, "--price-in", "1", "--price-out", "2")
    assert (done.returncode, "large, small" in done.stderr) == (2, True), done.stderr


def test_a_comparison_under_way_takes_other_limits(tmp_path):
    dataset, out = write_dataset(tmp_path / "rows.jsonl", 600), tmp_path / "ab"
    with simulated(SimulatorSettings(latency_s=0.5)) as server:
        options = comparing(dataset, out, server.url, groups=200)
        with started(*options, "--max-in-flight", "3"):
            wait_until(lambda: server.stats.answered >= 10, 60)
            assert server.stats.peak_in_flight == 3
            assert call("tune", out, "--max-in-flight", "24").returncode == 0
            wait_until(lambda: server.stats.in_flight >= 20, 10)
