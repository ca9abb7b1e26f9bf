"""The embedded model, loaded once for all tests."""

from __future__ import annotations

import pytest

from mergeit_async.providers.word_vectors import WordVectors


@pytest.fixture(scope="session")
def encoder() -> WordVectors:
    return WordVectors()
