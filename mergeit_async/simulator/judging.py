"""Verdicts without a model.

A row has hidden scores, and an answer says digits near them; of a pair, the row that keeps more of
the sources is preferred.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from operator import itemgetter
from typing import Any, NamedTuple

from mergeit_async.simulator.chance import Dice, Mix
from mergeit_async.simulator.completions import Token, Utterance, as_json
from mergeit_async.simulator.pairs import A, B, Pair, prefer, say_choice
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
        self._mix = Mix(dict.fromkeys(_KINDS, 1.0), 0.0, faults)

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
        if kind is None or kind not in JUDGE_FAULTS:
            return replace(_say_scores(opinion), task="judge")
        return replace(JUDGE_FAULTS[kind](opinion), task="judge", fault=kind)

    def prefer(self, pair: Pair, digest: bytes, form: Any) -> Utterance:
        """What is said of a pair to the request with this digest, in this form."""
        kind = self._mix.pick(self._dice, b"judge fault", digest)
        kind = kind if kind in PAIR_FAULTS else None
        choice = A if kind == POSITION_BIAS else prefer(pair)
        if said := say_choice(choice, form):
            # Whoever is held to a form can be biased, but neither wordy nor off the scale.
            kind = kind if kind == POSITION_BIAS else None
            return Utterance(as_json(said).decode(), task="judge", fault=kind)
        say = PAIR_FAULTS[kind] if kind else _say_choice
        return replace(say(choice), task="judge", fault=kind)


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


def _say_choice(choice: str) -> Utterance:
    """One token; the other two letters are far behind."""
    letter = choice if choice in (A, B) else "T"
    rest = [(other, _STRAY_LOGPROB) for other in (A, B, "T") if other != letter]
    return _say_tokens([Token(letter, [(letter, _SURE_LOGPROB), *rest])])


def _say_other_choice(choice: str) -> Utterance:
    return _say_tokens([_plain("C")])


def _say_choice_in_words(choice: str) -> Utterance:
    text = "Both rows have their strengths, and it depends on what they are wanted for."
    return _say_tokens([_plain(word) for word in re.findall(r"\s*\S+", text)])


# Every fault of a verdict on a pair; the bias says A, whatever the rows are.
POSITION_BIAS = "position_bias"
PAIR_FAULTS: Mapping[str, Callable[[str], Utterance]] = {
    POSITION_BIAS: _say_choice,
    "prose": _say_choice_in_words,
    "out_of_range": _say_other_choice,
}
# Every fault of a judge's answer: its kind, and how an opinion is said badly.
JUDGE_FAULTS: Mapping[str, Callable[[Opinion], Utterance]] = {
    "prose": _say_in_words,
    "out_of_range": _say_out_of_range,
    "no_logprobs": _say_without_logprobs,
    "score_only": _say_one_score,
}
_KINDS = tuple(dict.fromkeys([*JUDGE_FAULTS, *PAIR_FAULTS]))
