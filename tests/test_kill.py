"""Runs that are killed at any moment and resumed end with the bytes of an undisturbed run.

`MERGEIT_KILLS` sets how many (15 in the suite, more with `make soak`).
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from mergeit_async.engine.course import Course
from mergeit_async.engine.inspector_process import build_gate
from mergeit_async.engine.prompts import find_prompts
from mergeit_async.engine.requests import Requests
from mergeit_async.engine.writer import PROGRAM
from mergeit_async.job import Job
from mergeit_async.merging.verdict import Gate
from mergeit_async.providers.completion import write_request
from mergeit_async.records import ChatReply
from mergeit_async.simulator.server import Simulator
from mergeit_async.simulator.settings import SimulatorSettings
from tests.running import (
    EXAMPLES,
    call,
    command,
    environment,
    hashes,
    simulated,
    start,
    started,
    wait_until,
)

IN_FLIGHT = 6
KILLS = int(os.environ.get("MERGEIT_KILLS", "15"))
SIMULATOR = SimulatorSettings(
    latency_s=0.05,
    latency_sigma=0.5,
    fault_rate=0.1,
    content_fault_rate=0.1,
    fault_retry_after_s=0.05,
    hang_s=0.3,
    seed=11,
)
OPTIONS = (
    *("--model", "sim-merge", "--per-cluster", "all", "--threshold", "0.3"),
    *(
        "--max-in-flight",
        str(IN_FLIGHT),
        "--timeout",
        "0.25",
        "--max-attempts",
        "4",
        "--max-tries",
        "30",
    ),
)


JUDGED = (
    *("--model", "sim-merge", "--per-cluster", "all", "--threshold", "0.3", "--judge", "sim-judge"),
    *("--limit", "150", "--max-in-flight", "12", "--timeout", "0.5", "--max-tries", "30"),
)


@pytest.fixture(scope="module")
def server() -> Iterator[Simulator]:
    with simulated(SIMULATOR) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def undisturbed(server: Simulator, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The hashes of a run that nobody interrupts."""
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    done = call("run", EXAMPLES, "--out", out, "--base-url", server.url, *OPTIONS, "--json")
    assert done.returncode == 0, done.stderr
    summary = orjson.loads(done.stdout)
    assert summary["groups"] >= 60
    assert summary["merged_groups"] >= 0.95 * summary["groups"]
    assert summary["failed_groups"] == 0
    return hashes(out)


def answered_requests(run: Path) -> list[bytes]:
    """The bodies of all requests whose reply is committed in the run's journal."""
    if not (run / "journal.db").exists():
        return []
    with closing(sqlite3.connect(run / "journal.db")) as journal:
        found = journal.execute("SELECT request_key, text, finish_reason FROM replies").fetchall()
    if not found:
        return []
    replies = {key: ChatReply(text, reason) for key, text, reason in found}
    job = Job.reopen(run)
    planner, settings = job._planner, job.settings
    requests = Requests(settings, find_prompts(settings))
    requests.settle(**job._record.identity.forms)
    few_shots = find_prompts(settings).few_shots
    gate = build_gate(settings.min_information, str(job.run_dir.plan.words), few_shots)
    groups = (group for topic in planner.topics() for group in topic.groups)
    courses = (Course(planner.load_group(group), requests, 4) for group in groups)
    return [body for course in courses for body in answered_on(course, replies, gate)]


def answered_on(course: Course, replies: Mapping[str, ChatReply], gate: Gate) -> Iterator[bytes]:
    """The bodies of the requests for one group whose reply is known: each follows from the last."""
    while reply := replies.get(course.request.key):
        yield write_request(course.request, "max_tokens")
        if course.take(reply, gate.inspect(reply, course.group.rows)).outcome is not None:
            return


def resume_once(run: Path, server: Simulator) -> subprocess.CompletedProcess[str]:
    """Resume a run to its end; nothing that it has a reply to may be asked again."""
    answered = answered_requests(run)
    before = [server.stats.arrivals_of(body) for body in answered]
    done = call("resume", run)
    assert done.returncode == 0, done.stderr
    assert [server.stats.arrivals_of(body) for body in answered] == before
    return done


def wait_for_first_answers(run: Path, process: subprocess.Popen[str], wanted: int) -> None:
    """Wait until the journal of a running process holds some replies."""
    for _ in range(1200):
        time.sleep(0.05)
        if process.poll() is not None:
            return
        try:
            with closing(sqlite3.connect(run / "journal.db")) as journal:
                if journal.execute("SELECT count(*) FROM replies").fetchone()[0] >= wanted:
                    return
        except sqlite3.OperationalError:
            continue
    raise AssertionError("the run never got to its first replies")


def writers_of(run: Path) -> list[int]:
    """The processes that write the journal of a run, also where the run is gone."""
    if not Path("/proc/self/cmdline").exists():
        pytest.skip("this system does not list the commands of its processes")
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            if PROGRAM.encode() in words and bytes(run / "journal.db") in words:
                found.append(int(folder.name))
    return found


@contextmanager
def halted(pid: int) -> Iterator[None]:
    """A process that stands still while the block runs."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def wait_for_arrival(server: Simulator) -> None:
    """Wait until a request has reached the server."""
    for _ in range(400):
        time.sleep(0.05)
        if server.stats.arrivals:
            return
    raise AssertionError("no request ever came")


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_killed_run_resumes_to_the_same_bytes_and_sends_nothing_twice(
    server: Simulator, undisturbed: dict[str, str], tmp_path: Path, seed: int
):
    dice = random.Random(seed)
    run = tmp_path / "run"
    process = start("run", EXAMPLES, "--out", run, "--base-url", server.url, *OPTIONS)
    if dice.random() < 0.7:
        wait_for_first_answers(run, process, wanted=dice.randrange(1, 80))
    else:
        time.sleep(dice.uniform(0.5, 4.0))
    process.kill()
    process.communicate()

    if not (run / "run.toml").exists():  # killed before there was a run
        shutil.rmtree(run, ignore_errors=True)
        done = call("run", EXAMPLES, "--out", run, "--base-url", server.url, *OPTIONS)
    else:
        done = resume_once(run, server)

    assert done.returncode == 0, done.stderr
    assert hashes(run) == undisturbed


# A call for a request to which the reply was saved before it began: it would be paid twice.
SENT_AGAIN = """
SELECT count(*) FROM calls AS later WHERE EXISTS (
    SELECT 1 FROM calls AS paid WHERE paid.request_key = later.request_key
    AND paid.http_status = 200 AND paid.latency_s IS NOT NULL AND paid.id < later.id)
"""


@pytest.fixture(scope="module")
def judging() -> Iterator[Simulator]:
    """A server of merges that are flawed, repairs that fail and scores that cannot be read."""
    settings = replace(
        SIMULATOR,
        fault_rate=0.04,
        flaw_rate=0.3,
        repair_failure_rate=0.5,
        judge_faults={"prose": 0.1, "out_of_range": 0.05, "no_logprobs": 0.1},
    )
    with simulated(settings) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def undisturbed_and_judged(
    judging: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    out = tmp_path_factory.mktemp("judged") / "run"
    done = call("run", EXAMPLES, "--out", out, "--base-url", judging.url, *JUDGED, "--json")
    assert done.returncode == 0, done.stderr
    summary = orjson.loads(done.stdout)
    assert summary["failed_groups"] == 0
    assert summary["merged_groups"] >= 0.3 * summary["groups"]
    assert any("not_better" in reason for reason in summary["reasons"])
    return hashes(out)


@pytest.mark.parametrize("seed", range(max(5, KILLS // 5)))
def test_a_run_with_a_judge_and_repairs_survives_kills_too(
    judging: Simulator, undisturbed_and_judged: dict[str, str], tmp_path: Path, seed: int
):
    dice = random.Random(seed)
    run = tmp_path / "run"
    process = start("run", EXAMPLES, "--out", run, "--base-url", judging.url, *JUDGED)
    wait_for_first_answers(run, process, wanted=1)
    for _ in range(2):
        time.sleep(dice.uniform(0.0, 3.0))
        process.kill()
        process.communicate()
        process = start("resume", run)
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr
    assert hashes(run) == undisturbed_and_judged
    with closing(sqlite3.connect(run / "journal.db")) as journal:
        assert journal.execute(SENT_AGAIN).fetchone() == (0,)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_what_is_in_flight_and_the_run_resumes(
    server: Simulator, undisturbed: dict[str, str], tmp_path: Path, number: signal.Signals
):
    run = tmp_path / "run"
    process = start("run", EXAMPLES, "--out", run, "--base-url", server.url, *OPTIONS)
    wait_for_first_answers(run, process, wanted=10)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=20)

    assert process.returncode == 3, stderr
    assert stderr.strip().splitlines()[-1] == f"python -m mergeit_async resume {run}"
    assert "Traceback" not in stderr
    with closing(sqlite3.connect(run / "journal.db")) as journal:
        unknown = journal.execute("SELECT count(*) FROM calls WHERE ended_at IS NULL").fetchone()
    assert unknown == (0,)
    assert not (run / "merged.jsonl").exists()

    resume_once(run, server)
    assert hashes(run) == undisturbed


def test_ctrl_c_in_a_terminal_leaves_the_writer_to_finish(
    server: Simulator, undisturbed: dict[str, str], tmp_path: Path
):
    run = tmp_path / "run"
    process = subprocess.Popen(
        command("run", EXAMPLES, "--out", run, "--base-url", server.url, *OPTIONS),
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        process_group=0,
    )
    wait_for_first_answers(run, process, wanted=10)
    os.killpg(process.pid, signal.SIGINT)
    _, stderr = process.communicate(timeout=20)

    assert process.returncode == 3, stderr
    assert "Traceback" not in stderr
    assert writers_of(run) == []
    with closing(sqlite3.connect(run / "journal.db")) as journal:
        unknown = journal.execute("SELECT count(*) FROM calls WHERE ended_at IS NULL").fetchone()
    assert unknown == (0,)
    assert call("resume", run).returncode == 0
    assert writers_of(run) == []
    assert hashes(run) == undisturbed


def test_a_run_whose_writer_is_killed_stops_and_resumes_to_the_same_bytes(
    server: Simulator, undisturbed: dict[str, str], tmp_path: Path
):
    run = tmp_path / "run"
    with started("run", EXAMPLES, "--out", run, "--base-url", server.url, *OPTIONS) as process:
        wait_for_first_answers(run, process, wanted=20)
        (writer,) = writers_of(run)
        os.kill(writer, signal.SIGKILL)
        _, stderr = process.communicate(timeout=20)

    assert process.returncode == 3, stderr
    assert stderr.strip().splitlines()[-2:] == [
        f"The process that writes {run}/journal.db has ended, killed or out of memory; all that it "
        "committed is kept.",
        f"python -m mergeit_async resume {run}",
    ]
    assert "Traceback" not in stderr
    assert "Exception" not in stderr
    resume_once(run, server)
    assert hashes(run) == undisturbed


def test_a_run_resumed_while_the_killed_one_still_writes_waits_for_its_last_batch(
    undisturbed: dict[str, str], tmp_path: Path
):
    run = tmp_path / "run"
    with simulated(SIMULATOR) as server:
        with started("run", EXAMPLES, "--out", run, "--base-url", server.url, *OPTIONS) as process:
            wait_for_first_answers(run, process, wanted=20)
            (writer,) = writers_of(run)
            with halted(writer):
                time.sleep(0.5)  # a batch is on its way, and what was sent is answered
                process.kill()
                process.wait()  # its stderr is open as long as its writer is there
                arrivals = server.stats.arrivals
                resumed = start("resume", run)
                wait_until(lambda: len(writers_of(run)) == 2)
                time.sleep(0.5)
                assert server.stats.arrivals == arrivals
                assert resumed.poll() is None
            _, stderr = resumed.communicate(timeout=60)
        assert resumed.returncode == 0, stderr
        # What the first run had not handed to its writer: a reply for each of its workers.
        assert server.stats.snapshot()["answered_more_than_once"] <= 2 * IN_FLIGHT
    assert hashes(run) == undisturbed
    assert writers_of(run) == []


def test_a_second_signal_stops_at_once(tmp_path: Path):
    with simulated(SimulatorSettings(latency_s=30)) as slow:
        run = tmp_path / "run"
        process = start(
            "run", EXAMPLES, "--out", run, "--base-url", slow.url, "--model", "sim-merge"
        )
        wait_for_arrival(slow)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None, "the first signal waits for what is in flight"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=3)
    assert process.returncode == 3
    assert stderr.strip().splitlines()[-1] == f"python -m mergeit_async resume {run}"


def test_two_processes_cannot_work_on_one_run(tmp_path: Path):
    with simulated(SimulatorSettings(latency_s=30)) as slow:
        run = tmp_path / "run"
        process = start(
            "run", EXAMPLES, "--out", run, "--base-url", slow.url, "--model", "sim-merge"
        )
        wait_for_arrival(slow)
        second = call("resume", run)
        state = orjson.loads(call("status", run, "--json").stdout)["state"]
        process.kill()
        process.communicate()
    assert second.returncode == 2
    assert "Another process" in second.stderr
    assert state == "running"
    assert orjson.loads(call("status", run, "--json").stdout)["state"] == "stopped"


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not on this machine")
def test_the_intent_is_on_disk_before_the_first_byte_of_its_request(tmp_path: Path):
    rows = tmp_path / "rows.jsonl"
    row = {"instruction": "Name the capital of France.", "input": "", "output": "Paris."}
    other = {"instruction": "Name the capital of Italy.", "input": "", "output": "Rome."}
    rows.write_bytes(orjson.dumps(row) + b"\n" + orjson.dumps(other) + b"\n")
    run, trace = tmp_path / "run", tmp_path / "trace"
    with simulated(SimulatorSettings()) as simulator:
        subprocess.run(
            [
                *("strace", "-f", "-y", "-s", "100000", "-o", trace),
                *("-e", "trace=pwrite64,write,writev,sendto,sendmsg,fsync,fdatasync"),
                *command("run", rows, "--out", run, "--base-url", simulator.url),
                *("--model", "sim-merge", "--threshold", "0"),
            ],
            check=True,
            capture_output=True,
            timeout=120,
            env=environment(),
        )
    with closing(sqlite3.connect(run / "journal.db")) as journal:
        (key,) = journal.execute("SELECT request_key FROM calls").fetchone()
    lines = trace.read_text(errors="replace").splitlines()
    intent = first(lines, rf"pwrite64\(\d+<.*journal\.db-wal>.*{key}")
    synced = first(lines, r"f(data)?sync\(\d+<.*journal\.db-wal>", after=intent)
    sent = first(lines, r"(write|writev|sendto|sendmsg)\(.*POST /v1/chat/completions")
    assert intent < synced < sent


def first(lines: list[str], pattern: str, after: int = -1) -> int:
    """The place of the first line after `after` that matches."""
    for place, line in enumerate(lines):
        if place > after and re.search(pattern, line):
            return place
    raise AssertionError(f"no line matches {pattern}")
