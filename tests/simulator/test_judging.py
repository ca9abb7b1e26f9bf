from __future__ import annotations

import math
import re
from collections import Counter
from itertools import combinations
from statistics import mean

import pytest

from mergeit_async.simulator.chance import Dice
from mergeit_async.simulator.completions import Token, Utterance
from mergeit_async.simulator.judging import DIGITS, Judge
from mergeit_async.simulator.weaving import Source, weave


def row_of(words: int, name: str = "x") -> Source:
    return {"instruction": f"Describe {name}.", "input": "", "output": "word " * (words - 2)}


def judge(seed: int = 0, **faults: float) -> Judge:
    return Judge(Dice(seed), faults)


def say(row: Source, digest: bytes = b"d", seed: int = 0, **faults: float) -> Utterance:
    return judge(seed, **faults).say(row, digest)


def digits(said: Utterance) -> tuple[int, int]:
    found = re.fullmatch(r"quality: (\d)\ncomplexity: (\d)", said.text)
    assert found
    return int(found[1]), int(found[2])


ROWS = [row_of(words, str(number)) for number in range(40) for words in (6, 60, 600)]


def test_hidden_scores_are_a_function_of_seed_and_row_within_their_range() -> None:
    scores = [judge().scores(row) for row in ROWS]

    assert scores == [judge().scores(row) for row in ROWS]
    assert scores != [judge(seed=1).scores(row) for row in ROWS]
    assert all(1 <= score <= 6 for pair in scores for score in pair)
    assert len({pair.quality for pair in scores}) == len(ROWS)


def test_half_a_surrogate_pair_can_be_scored() -> None:
    assert judge().scores({"instruction": "\ud83d", "input": "", "output": "x"}).quality > 1


def test_merged_rows_mostly_are_more_complex_than_their_parts() -> None:
    rows = [row_of(words, str(number)) for number, words in enumerate([20, 30, 40, 50, 60] * 4)]
    pairs = list(combinations(rows, 2))

    def complexity(row: Source) -> float:
        return judge().scores(row).complexity

    richer = [complexity(weave(pair, 0)) > max(map(complexity, pair)) for pair in pairs]

    assert mean(richer) > 0.75


def test_longer_rows_are_more_complex() -> None:
    means = [mean(judge().scores(row).complexity for row in ROWS[at::3]) for at in range(3)]

    assert means[0] + 0.8 < means[1]
    assert means[1] + 0.8 < means[2]


def test_the_digits_said_lie_around_the_hidden_scores() -> None:
    row = row_of(60)
    said = [digits(say(row, b"%d" % number)) for number in range(800)]

    assert len(set(said)) > 4
    for heard, real in zip(zip(*said, strict=True), judge().scores(row), strict=True):
        assert mean(heard) == pytest.approx(real, abs=0.15)
        assert max(abs(digit - real) for digit in heard) < 3


def test_equal_requests_are_told_the_same() -> None:
    assert say(ROWS[0]) == say(ROWS[0])


def test_probabilities_are_a_bell_around_the_hidden_score_and_fit_what_is_said() -> None:
    row = row_of(60)
    real = judge().scores(row)
    token = say(row).tokens[3]
    chances = {text: math.exp(logprob) for text, logprob in token.likely}
    heard = Counter(str(digits(say(row, b"%d" % number))[0]) for number in range(2000))

    assert list(chances.values()) == sorted(chances.values(), reverse=True)
    assert sum(chances.values()) == pytest.approx(1, abs=1e-3)
    expected = sum(digit * chances[str(digit)] for digit in DIGITS)
    assert expected == pytest.approx(real.quality, abs=0.1)
    assert all(heard[str(digit)] / 2000 == pytest.approx(chances[str(digit)], abs=0.05)
               for digit in DIGITS)  # fmt: skip
    assert chances.keys() - set(map(str, DIGITS)) == {"\n"}


def test_each_token_has_a_probability_and_together_they_are_the_text() -> None:
    said = say(ROWS[0])

    assert [token.text for token in said.tokens if not token.text.isdigit()] == [
        "quality", ":", " ", "\n", "complexity", ":", " ",
    ]  # fmt: skip
    assert "".join(token.text for token in said.tokens) == said.text
    assert all(_chance(token) <= 1 for token in said.tokens)


def _chance(token: Token) -> float:
    return math.exp(dict(token.likely)[token.text])


def test_a_judge_may_say_it_in_words() -> None:
    said = say(ROWS[0], prose=1.0)

    assert not re.search(r"\d", said.text)
    assert "".join(token.text for token in said.tokens) == said.text
    assert (said.fault, said.task) == ("prose", "judge")


def test_a_judge_may_leave_the_range() -> None:
    said = say(ROWS[0], out_of_range=1.0)

    assert said.text == "quality: 9\ncomplexity: 0"
    assert [token.text for token in said.tokens if token.text.isdigit()] == ["9", "0"]


def test_an_answer_may_lack_its_probabilities() -> None:
    said = say(ROWS[0], no_logprobs=1.0)

    assert said.text == say(ROWS[0]).text
    assert said.tokens == ()


def test_a_judge_may_give_one_score_only() -> None:
    assert say(ROWS[0], score_only=1.0).text == str(digits(say(ROWS[0]))[0])


def test_the_bias_of_pairs_leaves_scores_alone() -> None:
    row = row_of(60)

    assert say(row, position_bias=1.0) == say(row)
