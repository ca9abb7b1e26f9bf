"""Chance that repeats: draws by seed and key, and kinds picked by their rates."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from hashlib import blake2b
from itertools import accumulate
from statistics import NormalDist
from typing import Any

from mergeit_async.errors import UsageError

_NORMAL = NormalDist()
# 52 bits and a half: the largest draw is still below 1, the smallest above 0.
_DRAW_BITS = 52
_STEP = 2.0**-_DRAW_BITS


class Dice:
    """Draws that depend on the seed, the purpose and the key alone, in whatever order they come."""

    def __init__(self, seed: int) -> None:
        self._salt = seed.to_bytes(16, "little", signed=True)
        self._hashes: dict[bytes, Any] = {}

    def roll(self, purpose: bytes, key: bytes) -> float:
        """A number between 0 and 1, both excluded, evenly spread over the keys.

        `purpose` (at most 16 bytes) keeps draws for different things apart.
        """
        if purpose not in self._hashes:
            self._hashes[purpose] = blake2b(digest_size=8, salt=self._salt, person=purpose)
        mark = self._hashes[purpose].copy()
        mark.update(key)
        drawn = int.from_bytes(mark.digest(), "little") >> (64 - _DRAW_BITS)
        return (drawn + 0.5) * _STEP


def stretch(median: float, sigma: float, roll: float) -> float:
    """The log-normal value at the quantile `roll`; the median itself when `sigma` is 0."""
    return median * math.exp(sigma * _NORMAL.inv_cdf(roll)) if sigma else median


class Mix:
    """Kinds of faults, each with the probability that a draw picks it."""

    def __init__(
        self, shares: Mapping[str, float], rate: float, named: Mapping[str, float]
    ) -> None:
        """`rate` is spread over all kinds by their `shares`; `named` rates come on top.

        Raises UsageError for an unknown kind, and for rates that are no probabilities.
        """
        _check_kinds(named, shares)
        whole = sum(shares.values())
        rates = {kind: rate * share / whole for kind, share in shares.items()}
        rates |= {kind: rates[kind] + extra for kind, extra in named.items()}
        _check_rates([rate, *named.values(), sum(rates.values())])
        self._kinds = [kind for kind, probability in rates.items() if probability > 0]
        self._bounds = list(accumulate(rates[kind] for kind in self._kinds))
        self.is_empty = not self._kinds

    def pick(self, dice: Dice, purpose: bytes, key: bytes) -> str | None:
        """The kind that this draw meets, or None where no fault is due."""
        return None if self.is_empty else self.kind_at(dice.roll(purpose, key))

    def kind_at(self, roll: float) -> str | None:
        """The kind at `roll` (0 to 1) when all rates are laid end to end."""
        position = bisect_right(self._bounds, roll)
        return self._kinds[position] if position < len(self._kinds) else None


def _check_kinds(named: Mapping[str, float], known: Mapping[str, float]) -> None:
    for kind in named:
        if kind not in known:
            raise UsageError(
                f"The simulator knows no fault {kind!r}; choose among {', '.join(known)}."
            )


def _check_rates(rates: list[float]) -> None:
    for rate in rates:
        # The sum of shares may pass 1 by a rounding error.
        if not 0 <= rate <= 1 + 1e-9:
            raise UsageError(
                f"A fault rate of the simulator is {rate}; each, and their sum, must be 0 to 1."
            )
