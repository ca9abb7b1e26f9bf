"""Holm's correction for many tests (Holm 1979), which neither scipy nor scikit-learn has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def correct_for_many(p_values: Sequence[float]) -> list[float]:
    """Each p after correction for all of them, in the given order.

    Where those below 0.05 are called effects, one or more of them is none in at most 5 % of
    experiments, whatever depends on what. scipy.stats.false_discovery_control is for another
    promise: the share of false ones among those called.
    """
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values, kind="stable")
    factors = np.arange(len(values), 0, -1)
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(factors * values[order]))
    return [float(p) for p in corrected]
