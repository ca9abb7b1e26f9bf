"""Flawed merges at a known rate: how many are accepted, by the structural gate alone and by all.

    python bench/flawed.py --data DIR [--rows 6000] [--flaw-rate 0.3] [--repair-failure-rate 0.5]

Real rows are merged by a simulator that says a share of its merges with a flaw (a source left out,
a number changed, an answer cut off, …) and mends that share of what it is asked to repair. What it
says without a flaw holds its sources word for word between known links, so that each accepted row
can be told by comparing it, with no gate involved. One run has the structural gate alone, the
other the information gate and repairs too; both must account for every source.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
from report import parser_of, publish
from server import serving
from whole_run import run

from mergeit_async.data.store import RowStore
from mergeit_async.engine.run_dir import RunDir
from mergeit_async.records import Row
from mergeit_async.simulator.weaving import WORDINGS, weave

GATES = {
    "structural": ("--min-information", "0", "--repair", "none"),
    "structural and information, with repairs": (),
}


def is_faithful(merged: dict[str, str], sources: list[Row]) -> bool:
    """Whether a merged row is what the simulator says without a flaw."""
    plain = [
        {"instruction": row.instruction, "input": row.input, "output": row.output}
        for row in sources
    ]
    return any(
        all(merged[name].strip() == woven[name].strip() for name in merged)
        for woven in (weave(plain, wording) for wording in range(WORDINGS))
    )


def loses_a_source(merged: dict[str, str], sources: list[Row]) -> bool:
    """Whether neither what a source asks nor what it answers is anywhere in the merged row."""
    return any(
        row.instruction not in merged["instruction"] and row.output not in merged["output"]
        for row in sources
    )


def look_at(path: Path) -> dict[str, Any]:
    """What the accepted merges of a run are worth, and whether each input row is there once."""
    directory = RunDir(path)
    counts: Counter[str] = Counter()
    ended: Counter[str] = Counter()
    with RowStore.open(directory.plan.rows) as store:
        rows = {row.id: row for row in (store[at] for at in range(len(store)))}
        merged_lines = directory.merged.read_bytes().splitlines()
        lineage_lines = directory.lineage.read_bytes().splitlines()
        for merged_line, lineage_line in zip(merged_lines, lineage_lines, strict=True):
            lineage, merged = orjson.loads(lineage_line), orjson.loads(merged_line)
            ended.update(source["id"] for source in lineage["sources"])
            if lineage["kind"] != "merged":
                continue
            sources = [rows[source["id"]] for source in lineage["sources"]]
            counts["accepted"] += 1
            counts["flawed"] += not is_faithful(merged, sources)
            counts["a source lost"] += loses_a_source(merged, sources)
        for line in directory.filtered.read_bytes().splitlines():
            ended[orjson.loads(line)["id"]] += 1
    assert ended.keys() == rows.keys() and set(ended.values()) == {1}, "a row is lost or doubled"
    share = counts["flawed"] / counts["accepted"]
    return {**counts, "flawed_share": round(share, 5), "rows_accounted_for": len(ended)}


def measure(options: Any, gates: tuple[str, ...], folder: Path) -> dict[str, Any]:
    """One run and what is in it."""
    rates = ("--flaw-rate", options.flaw_rate, "--repair-failure-rate", options.repair_failure_rate)
    plan = ("--limit", options.rows, "--per-cluster", "all", "--max-in-flight", 64)
    vectors = ("--embedder", options.data / "alpaca_17k.minilm.f16.npy")
    with serving(*map(str, rates)) as server:
        send = ("--model", "sim-merge", "--base-url", server.url)
        dataset = options.data / "alpaca_17k.jsonl"
        summary = run(dataset, "--out", folder, *plan, *vectors, *send, *gates)
        seen = server.stats()
    told = {name: summary[name] for name in ("groups", "merged_groups", "reasons")}
    asked = {name: seen[name] for name in ("arrivals", "repairs", "repairs_failed")}
    return told | asked | {"flaws": seen["content_faults"]} | look_at(folder)


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--flaw-rate", type=float, default=0.3)
    parser.add_argument("--repair-failure-rate", type=float, default=0.5)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        results = {
            name: measure(options, gates, Path(folder) / str(place))
            for place, (name, gates) in enumerate(GATES.items())
        }
    alone, both = (result["flawed_share"] for result in results.values())
    publish(
        {
            "command": f"python bench/flawed.py --rows {options.rows}",
            "flaw_rate": options.flaw_rate,
            "repair_failure_rate": options.repair_failure_rate,
            "flawed_share_falls_to_one_in": round(alone / both, 1) if both else None,
            "runs": results,
        },
        options.json,
    )


if __name__ == "__main__":
    main()
