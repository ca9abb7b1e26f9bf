"""One pass of our engine, durable journal on, in a process of its own; see compare.py.

Rivals get their bodies ready made; the engine loads the rows and renders each request on its way.
Seconds and CPU include those of the process that writes the journal, and its start.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from drive import Stopwatch
from engine import run_engine
from workload import opened_workload

from mergeit_async import __version__


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--groups", type=int, required=True)
    parser.add_argument("--url", required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    options = parser.parse_args()
    with opened_workload(options.data, options.groups) as workload, TemporaryDirectory() as folder:
        run = run_engine(workload, options, options.in_flight, Path(folder))
        with Stopwatch() as watch, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            answered = runner.run(run)
    result = {
        "version": __version__,
        "requests": options.groups,
        "answered": answered,
        "probes": 0,
        "seconds": watch.seconds,
        "client_cpu_s": watch.cpu_s,
    }
    print(orjson.dumps(result).decode())


if __name__ == "__main__":
    main()
