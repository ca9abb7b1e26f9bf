"""How much of a server's limits the engine uses, and how many calls are refused for it.

    python bench/limits.py --data DIR [--only NAME ...] [--json FILE] [--plot FILE]

Each case runs the whole of stage 2 for a while against a simulator in a process of its own, which
enforces its limits by token buckets, and reads what came of it from the simulator's own count:
the share used of what the server would have given in the time looked at, and the share of calls
that it refused with a 429.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
import orjson
import uvloop
from report import parser_of
from server import serving
from workload import Workload, opened_pipeline, opened_workload

TOKENS_A_CALL = 2600  # about what a merge of two Alpaca rows reserves with merge/v1


@dataclass(frozen=True, slots=True)
class Case:
    """One server and what the user says of it; `changes` are seconds and what /control sets.

    `looked_at` are stretches of seconds since the first arrival over which shares are counted.
    """

    name: str
    server: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    changes: tuple[tuple[float, Mapping[str, Any]], ...] = ()
    looked_at: tuple[tuple[int, int], ...] = ((5, 65),)
    seconds: float = 70


RPM = 6000
TPM = RPM * TOKENS_A_CALL // 2
LATENCY = ("--latency", "0.4", "--latency-sigma", "0.4")
SILENT = ("--no-rate-headers",)
SHORT = ("--burst", "5")
SWINGS = ((65.0, {"rpm": RPM / 2}), (130.0, {"rpm": RPM}))

CASES = (
    Case("rpm known", (*LATENCY, "--rpm", str(RPM)), {"rpm": RPM}),
    Case(
        "tpm known, charged prompt + max",
        (*LATENCY, *SHORT, "--tpm", str(TPM)),
        {"tpm": TPM},
    ),
    Case(
        "tpm known, charged as reported",
        (*LATENCY, *SHORT, "--tpm", str(TPM), "--tpm-charge", "reported"),
        {"tpm": TPM},
    ),
    Case(
        "tpm known, charged as reported, no headers",
        (*LATENCY, *SILENT, *SHORT, "--tpm", str(TPM), "--tpm-charge", "reported"),
        {"tpm": TPM},
    ),
    Case("unknown, told by headers", (*LATENCY, "--rpm", str(RPM)), looked_at=((35, 65),)),
    Case(
        "unknown, no headers",
        (*LATENCY, *SILENT, *SHORT, "--rpm", str(RPM)),
        looked_at=((35, 65),),
    ),
    Case(
        "unknown, no headers, halved, then doubled",
        (*LATENCY, *SILENT, *SHORT, "--rpm", str(RPM)),
        changes=SWINGS,
        looked_at=((35, 65), (95, 130), (160, 190)),
        seconds=195,
    ),
    Case(
        "unknown, at most 48 at once",
        (*LATENCY, *SILENT, "--max-concurrent", "48"),
        looked_at=((35, 65),),
    ),
)


async def drive(case: Case, workload: Workload, url: str, journal: Path) -> None:
    """Run the engine for the time of the case."""
    settings = {"max_in_flight": 256, **case.settings}
    async with (
        opened_pipeline(workload, url, journal, settings) as pipeline,
        aiohttp.ClientSession() as control,
    ):
        loop = asyncio.get_running_loop()
        root = url.removesuffix("/v1")
        for at_s, change in case.changes:
            loop.call_later(at_s, lambda c=change: loop.create_task(tell(control, root, c)))
        loop.call_later(case.seconds, pipeline.drain)
        try:
            await pipeline.run(workload.topics())
        except Exception as end:
            assert "request" in str(end), end


async def tell(control: aiohttp.ClientSession, root: str, change: Mapping[str, Any]) -> None:
    async with control.post(f"{root}/control", json=change) as response:
        assert response.status == 200, await response.text()


def used(case: Case, trace: list[list[int]], first: int, last: int) -> dict[str, Any]:
    """The shares of the limit used and of the calls refused, from one second to another."""
    rows = [row for row in trace if first <= row[0] - trace[0][0] < last]
    arrivals, answered, refused, tokens = (sum(row[i] for row in rows) for i in range(1, 5))
    result: dict[str, Any] = {
        "seconds": [first, last],
        "answered_per_s": round(answered / (last - first), 1),
        "refused_share": round(refused / max(1, arrivals), 5),
    }
    if rpm := limit_at(case, "rpm", first):
        result["used_share"] = round((arrivals - refused) / (rpm / 60 * (last - first)), 4)
    if tpm := limit_at(case, "tpm", first):
        result["used_share"] = round(tokens / (tpm / 60 * (last - first)), 4)
    return result


def limit_at(case: Case, name: str, second: float) -> float | None:
    """The limit in force at that second."""
    flag = f"--{name}"
    value = float(case.server[case.server.index(flag) + 1]) if flag in case.server else None
    for at_s, change in case.changes:
        if at_s <= second:
            value = change.get(name, value)
    return value


def run_case(case: Case, workload: Workload) -> dict[str, Any]:
    with (
        serving(*case.server) as server,
        TemporaryDirectory() as folder,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(drive(case, workload, server.url, Path(folder) / "journal.db"))
        trace = server.stats()["trace"]
    arrivals, refused = (sum(row[i] for row in trace) for i in (1, 3))
    return {
        "case": case.name,
        "refused_share_of_all": round(refused / arrivals, 5),
        "looked_at": [used(case, trace, first, last) for first, last in case.looked_at],
        "allowed": allowed(case),
        "trace": trace,
    }


def allowed(case: Case) -> list[tuple[float, float]]:
    """The requests a second that the server allows, from which second on."""
    if "--rpm" not in case.server:
        return []
    first = float(case.server[case.server.index("--rpm") + 1]) / 60
    return [(0.0, first), *((at_s, change["rpm"] / 60) for at_s, change in case.changes)]


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--only", nargs="*", help="part of the names of the cases to run")
    parser.add_argument("--plot", type=Path, help="an SVG of the traces (needs matplotlib)")
    options = parser.parse_args()
    results = []
    with opened_workload(options.data, 60_000) as workload:
        for case in CASES:
            if not options.only or any(part in case.name for part in options.only):
                result = run_case(case, workload)
                results.append(result)
                print({name: value for name, value in result.items() if name != "trace"})
    if options.json:
        content = {"command": "python bench/limits.py", "results": results}
        options.json.write_bytes(orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE))
    if options.plot:
        subprocess.run(
            [
                sys.executable,
                Path(__file__).with_name("plot_limits.py"),
                options.json,
                options.plot,
            ],
            check=True,
        )


if __name__ == "__main__":
    main()
