"""What several test folders share: the sample datasets, where present, and small rows."""

from __future__ import annotations

from pathlib import Path

import pytest

SAMPLES = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def alpaca() -> Path:
    """The shared third of Alpaca; tests on it are skipped where it is absent."""
    path = SAMPLES / "alpaca_17k.jsonl"
    if not path.exists():
        pytest.skip("the shared Alpaca sample is not on this machine")
    return path
