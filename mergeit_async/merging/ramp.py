"""How far a value has come on its way from one bound to another."""

from __future__ import annotations


def ramp(value: float, low: float, high: float) -> float:
    """0 up to `low`, 1 from `high` on, and straight between them."""
    return min(1.0, max(0.0, (value - low) / (high - low)))
