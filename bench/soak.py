"""One job, killed at random again and again, must end as if nobody had touched it.

    python bench/soak.py --data DIR [--kills 1000] [--rows 3000] [--json FILE]

The job merges real rows against a simulator with 10 % mixed transport faults and 10 % bad replies.
Each of its processes is killed with SIGKILL: half of them while they start, plan or resume, half
while they merge. In the end every file of the result must have the bytes of an undisturbed run,
at least 95 % of the groups must be merged, and no request may have been sent again after its
reply was committed.
"""

from __future__ import annotations

import hashlib
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
from report import parser_of, publish
from server import serving

RESULT_FILES = ("merged.jsonl", "lineage.jsonl", "filtered.jsonl", "rejected.jsonl")
SIMULATOR = (
    *("--latency", "0.15", "--latency-sigma", "0.5", "--hang", "1", "--seed", "7"),
    *("--fault-rate", "0.1", "--content-fault-rate", "0.1", "--fault-retry-after", "0.1"),
)
OPTIONS = (
    *("--model", "sim-merge", "--per-cluster", "all", "--max-attempts", "4", "--max-tries", "40"),
    *("--max-in-flight", "4", "--timeout", "0.9"),
)
LONGEST_START_S = 1.5
LONGEST_MERGING_S = 0.6

# A call after the one that brought the reply, for the same request: it was paid twice.
SENT_AGAIN = """
SELECT count(*) FROM calls AS later WHERE EXISTS (
    SELECT 1 FROM calls AS paid WHERE paid.request_key = later.request_key
    AND paid.http_status = 200 AND paid.latency_s IS NOT NULL AND paid.id < later.id)
"""
OPEN = "SELECT count(*) FROM calls WHERE ended_at IS NULL"


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "mergeit_async", *map(str, arguments)]


def finish(*arguments: object) -> dict[str, Any]:
    """Run a command to its end; its summary."""
    done = subprocess.run(command(*arguments, "--json"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = orjson.loads(done.stdout)
    return summary


def hashes(run: Path) -> dict[str, str]:
    return {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in RESULT_FILES}


def count_replies(run: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{run / 'journal.db'}?mode=ro", uri=True)) as journal:
            return int(journal.execute("SELECT count(*) FROM replies").fetchone()[0])
    except sqlite3.OperationalError:  # not there yet
        return 0


def kill_once(begin: list[str], run: Path, dice: random.Random) -> bool:
    """Start a process and kill it; whether it was merging by then."""
    before = count_replies(run)
    process = subprocess.Popen(begin, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if dice.random() < 0.5:
        time.sleep(dice.uniform(0.0, LONGEST_START_S))
    else:
        give_up = time.monotonic() + 30
        while count_replies(run) == before and process.poll() is None:
            assert time.monotonic() < give_up, "no reply in 30 seconds"
            time.sleep(0.02)
        time.sleep(dice.uniform(0.0, LONGEST_MERGING_S))
    process.send_signal(signal.SIGKILL)
    process.wait()
    return count_replies(run) > before


def soak(dataset: Path, folder: Path, kills: int, url: str) -> dict[str, Any]:
    dice = random.Random(kills)
    options = (*OPTIONS, "--base-url", url)
    began = time.monotonic()
    undisturbed = finish("run", dataset, "--out", folder / "undisturbed", *options)
    run = folder / "killed"
    while_merging = 0
    for number in range(kills):
        begun = (run / "run.toml").exists()
        begin = command("resume", run) if begun else command("run", dataset, "--out", run, *options)
        while_merging += kill_once(begin, run, dice)
        if (number + 1) % 50 == 0:
            sys.stderr.write(f"{number + 1} kills, {count_replies(run)} replies\n")
    summary = finish("resume", run)
    with closing(sqlite3.connect(run / "journal.db")) as journal:
        sent_again = journal.execute(SENT_AGAIN).fetchone()[0]
        in_doubt = journal.execute(OPEN).fetchone()[0]
    return {
        "kills": kills,
        "of_them_while_merging": while_merging,
        "groups": summary["groups"],
        "merged_share": round(summary["merged_groups"] / summary["groups"], 4),
        "failed_groups": summary["failed_groups"],
        "bytes_equal": hashes(run) == hashes(folder / "undisturbed")
        and summary == undisturbed | {"run_dir": summary["run_dir"]},
        "sent_again_after_commit": sent_again,
        "calls_left_open_by_kills": in_doubt,
        "minutes": round((time.monotonic() - began) / 60, 1),
    }


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=17_000)
    options = parser.parse_args()
    with TemporaryDirectory() as temporary, serving(*SIMULATOR) as server:
        folder = Path(temporary)
        dataset = folder / "rows.jsonl"
        with (options.data / "alpaca_17k.jsonl").open("rb") as rows:
            dataset.write_bytes(b"".join(islice(rows, options.rows)))
        result = soak(dataset, folder, options.kills, server.url)
    result |= {"command": f"python bench/soak.py --kills {options.kills} --rows {options.rows}"}
    publish(result, options.json)
    passed = result["bytes_equal"] and not result["sent_again_after_commit"]
    sys.exit(0 if passed and result["merged_share"] >= 0.95 else 1)


if __name__ == "__main__":
    main()
