"""Scores without a model: each row has hidden ones, and an answer says digits near them."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from operator import itemgetter
from typing import NamedTuple

from mergeit_async.simulator.chance import Dice, Mix
from mergeit_async.simulator.completions import Token, Utterance, as_json
from mergeit_async.simulator.weaving import Source

DIGITS = range(1, 7)
# How far a judge's opinions spread around the hidden score.
_SPREAD = 0.6
# What else could stand in the place of a digit, as rarely as with real models.
_STRAY, _STRAY_LOGPROB = "\n", -9.0
_SURE_LOGPROB = -1e-4


class Scores(NamedTuple):
    """Real-valued scores from 1 to 6."""

    quality: float
    complexity: float


@dataclass(frozen=True, slots=True)
class Opinion:
    """The tokens for both digits that a good answer says."""

    quality: Token
    complexity: Token


class Judge:
    """Scores rows; equal rows have equal hidden scores, equal digests say equal digits."""

    def __init__(self, dice: Dice, faults: Mapping[str, float]) -> None:
        """Raises UsageError for fault kinds or rates that make no sense."""
        self._dice = dice
        self._mix = Mix(dict.fromkeys(JUDGE_FAULTS, 1.0), 0.0, faults)

    def scores(self, row: Source) -> Scores:
        """The hidden scores of a row; its complexity grows with the number of its words.

        Twice as many words weigh more than what the hash adds, so that a merged row mostly is more
        complex than the rows it was made of.
        """
        key = as_json([row["instruction"], row["input"], row["output"]])
        words = sum(len(text.split()) for text in row.values())
        quality = 1.5 + 3.5 * self._dice.roll(b"quality", key)
        complexity = 1 + self._dice.roll(b"complexity", key) + 0.7 * math.log2(1 + words / 8)
        return Scores(quality, min(6.0, complexity))

    def say(self, row: Source, digest: bytes) -> Utterance:
        """What is said of `row` to the request with this digest."""
        real = self.scores(row)
        opinion = Opinion(
            _draw_digit(real.quality, self._dice.roll(b"say quality", digest)),
            _draw_digit(real.complexity, self._dice.roll(b"say complexity", digest)),
        )
        kind = self._mix.pick(self._dice, b"judge fault", digest)
        said = JUDGE_FAULTS[kind](opinion) if kind else _say_scores(opinion)
        return replace(said, task="judge", fault=kind)


def _draw_digit(real: float, roll: float) -> Token:
    """The digit at `roll` of a bell around `real`."""
    exponents = [-(((digit - real) / _SPREAD) ** 2) / 2 for digit in DIGITS]
    bounds = list(accumulate(map(math.exp, exponents)))
    drawn = min(bisect_right(bounds, roll * bounds[-1]), len(DIGITS) - 1)
    whole = math.log(bounds[-1])
    likely = [
        (str(digit), exponent - whole) for digit, exponent in zip(DIGITS, exponents, strict=True)
    ]
    likely.append((_STRAY, _STRAY_LOGPROB))
    likely.sort(key=itemgetter(1), reverse=True)
    return Token(str(DIGITS[drawn]), likely)


@lru_cache(maxsize=64)
def _plain(text: str) -> Token:
    return Token(text, [(text, _SURE_LOGPROB), (_STRAY * 2, _STRAY_LOGPROB)])


def _say_tokens(tokens: list[Token]) -> Utterance:
    return Utterance("".join(token.text for token in tokens), tokens=tokens)


def _say_scores(opinion: Opinion) -> Utterance:
    colon, space = _plain(":"), _plain(" ")
    first = [_plain("quality"), colon, space, opinion.quality]
    second = [_plain("complexity"), colon, space, opinion.complexity]
    return _say_tokens([*first, _plain("\n"), *second])


def _say_in_words(opinion: Opinion) -> Utterance:
    text = "This is a fine row: clear, well put, and demanding enough to be worth keeping."
    return _say_tokens([_plain(word) for word in re.findall(r"\s*\S+", text)])


def _say_out_of_range(opinion: Opinion) -> Utterance:
    return _say_scores(Opinion(_plain("9"), _plain("0")))


def _say_without_logprobs(opinion: Opinion) -> Utterance:
    return replace(_say_scores(opinion), tokens=())


def _say_one_score(opinion: Opinion) -> Utterance:
    return _say_tokens([opinion.quality])


# Every fault of a judge's answer: its kind, and how an opinion is said badly.
JUDGE_FAULTS: Mapping[str, Callable[[Opinion], Utterance]] = {
    "prose": _say_in_words,
    "out_of_range": _say_out_of_range,
    "no_logprobs": _say_without_logprobs,
    "score_only": _say_one_score,
}
