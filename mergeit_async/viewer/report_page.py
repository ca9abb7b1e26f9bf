"""A run as a page: what became of its groups, how much merges keep, examples: `report.html`."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np

from mergeit_async.engine.run_dir import RunDir
from mergeit_async.engine.run_report import RunReport
from mergeit_async.viewer.page import write_page
from mergeit_async.viewer.tables import status_rows

N_BARS = 20


def write_report_page(run: RunDir, report: RunReport) -> None:
    """Write `report` beside the run's result."""
    status = report.status
    ended = status.groups.get("merged", 0) + status.groups.get("kept", 0)
    write_page(
        run.report,
        "report.html.j2",
        report=report,
        rows=status_rows(status, run),
        merged=status.groups.get("merged", 0),
        ended=ended + status.groups.get("failed", 0),
        reasons=[
            (why, count / max(status.reasons.values())) for why, count in status.reasons.items()
        ],
        information=histogram(report.information, 0.0, 1.0),
        gains=histogram(report.gains, *limits(report.gains)),
        counts=status.reasons,
    )


def histogram(values: Sequence[float], low: float, high: float) -> list[dict[str, Any]]:
    """Bars of the shares of `values`, the highest 100; none without values."""
    if not values:
        return []
    counts, edges = np.histogram(np.clip(values, low, high), N_BARS, (low, high))
    return [
        {
            "height": float(count) / float(counts.max()) * 100,
            "count": int(count),
            "from": float(edges[at]),
            "to": float(edges[at + 1]),
        }
        for at, count in enumerate(counts)
    ]


def limits(values: Sequence[float]) -> tuple[float, float]:
    """A range around 0 that holds all values."""
    most = float(ceil(max((abs(value) for value in values), default=1.0))) or 1.0
    return -most, most
