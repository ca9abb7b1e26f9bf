"""The traces of bench/limits.py as one SVG: python bench/plot_limits.py RESULTS.json PLOT.svg"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import orjson

matplotlib.use("svg")
from matplotlib import pyplot as plt

SMOOTH_S = 3


def smooth(values: list[float]) -> list[float]:
    """Means over the seconds around each."""
    return [
        sum(values[max(0, i - SMOOTH_S) : i + 1]) / len(values[max(0, i - SMOOTH_S) : i + 1])
        for i in range(len(values))
    ]


def main() -> None:
    source, target = map(Path, sys.argv[1:3])
    results = orjson.loads(source.read_bytes())["results"]
    figure, axes = plt.subplots(len(results), 1, figsize=(8, 1.9 * len(results)), squeeze=False)
    for axis, result in zip(axes[:, 0], results, strict=True):
        trace = result["trace"]
        seconds = [row[0] - trace[0][0] for row in trace]
        axis.plot(seconds, smooth([row[2] for row in trace]), color="#1f6f8b", label="answered/s")
        axis.bar(
            seconds, [row[3] for row in trace], color="#c0392b", label="refused in that second"
        )
        for at_s, allowed in result.get("allowed", []):
            axis.axvline(at_s, color="#bbbbbb", linewidth=0.8)
            axis.annotate(f"{allowed:g}/s", (at_s, allowed), fontsize=7, color="#666666")
        axis.set_title(result["case"], fontsize=9, loc="left")
        axis.set_ylim(bottom=0)
        axis.tick_params(labelsize=7)
    axes[0, 0].legend(fontsize=7, loc="lower right")
    axes[-1, 0].set_xlabel("seconds", fontsize=8)
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    main()
