"""Scores of one row by a model, after Deita (arXiv 2312.15685): asked for, read and compared.

A row has two scores from 1 to 6, the quality of its answer and the complexity of its request.
Where the server tells the probabilities of the tokens, a score is its expectation over the six
digits, as Deita has it; else the digit that was written, and several samples make it finer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import exp
from statistics import fmean
from typing import NamedTuple, Protocol

from mergeit_async.merging.messages import identify_request
from mergeit_async.records import (
    ChatReply,
    ChatRequest,
    Example,
    Message,
    Refusal,
    Row,
    TokenChoice,
)

# Changes with whatever changes the scores that are read from a reply, or what they decide.
JUDGE_VERSION = "judge/1"
LOWEST, HIGHEST = 1, 6
# Two short lines, and a few words of a model that does not leave it at that.
MAX_TOKENS = 24

_GRADES = {str(grade): float(grade) for grade in range(LOWEST, HIGHEST + 1)}
_NAMES = ("quality", "complexity")
# A label, what may stand between, a number that is no part of another, and its scale.
_SCORE = re.compile(
    r"""(?<![^\W_])(?:(?P<quality>quality)|complexity)
    (?:[\s_-]?(?:score|rating|grade|level)(?![^\W_]))?
    (?:\s?\([^()\n]{0,40}\))?
    (?:[\s*_"'`:=|>#(\[—]|[-–](?=\s)|is(?=\s)){0,20}
    (?P<number>[-−–+]?[0-9]+(?:[.,][0-9]+)?)
    (?![^\W_]|\s?%|[.,]?[0-9]|\s?(?:[-–—~]|to\s|or\s)\s?[0-9])
    (?:\s?(?:/|(?:out\s)?of\s)\s?(?P<scale>[0-9]+(?:[.,][0-9]+)?))?""",
    re.IGNORECASE | re.VERBOSE,
)
_MINUS = str.maketrans("−–,", "--.")
# How the vocabularies of some models write white space in a token.
_BLANKS = str.maketrans("▁ĠĊ", "  \n")
_STOPPED = {
    "content_filter": "the server's content filter cut the judge's reply off",
    "refusal": "the judge declined to answer",
}


class Scores(NamedTuple):
    """What one row was given, both 1 to 6."""

    quality: float
    complexity: float

    @property
    def product(self) -> float:
        """Both in one number, 1 to 36: Deita ranks rows by quality times complexity."""
        return self.quality * self.complexity


class Judge(Protocol):
    """A prompt version that scores: the turns that never change, and the turn for one row."""

    @property
    def preamble(self) -> tuple[Message, ...]:
        """The system message, the same in every call."""

    def ask(self, row: Row | Example) -> str:
        """The user turn that asks for the scores of `row`."""


def build_judge_request(
    prompt: Judge,
    row: Row | Example,
    *,
    endpoint: str,
    model: str,
    sample: int,
    top_logprobs: int,
) -> ChatRequest:
    """The `sample`-th request for the scores of `row`, with its key (see `ids.request_key`).

    With `top_logprobs` one reply tells how sure the model is, and the temperature is 0; without,
    it is 1, so that samples differ where the model is not sure.
    """
    draft = ChatRequest(
        key="",
        model=model,
        messages=(*prompt.preamble, Message("user", prompt.ask(row))),
        temperature=0.0 if top_logprobs else 1.0,
        max_tokens=MAX_TOKENS,
        sample=sample,
        estimated_prompt_tokens=0,
        top_logprobs=top_logprobs,
    )
    return identify_request(draft, endpoint, prompt.preamble)


def read_scores(reply: ChatReply) -> Scores | Refusal:
    """The scores in a reply, or why there are none. Never raises.

    Refusals: judge_unreadable, where one of the numbers is missing, is given twice and
    differently, or may have been cut off; judge_out_of_range, where one is not on the scale from
    1 to 6. Numbers between the grades count as they are.
    """
    if stopped := _STOPPED.get(reply.finish_reason):
        return Refusal("judge_unreadable", stopped)
    found = _find_scores(reply)
    for name in _NAMES:
        if refusal := _check_score(name, found, reply.text):
            return refusal
    tokens = _place_tokens(reply.choices)
    return Scores(*[_weigh_score(name, _read_number(found[name][0]), tokens) for name in _NAMES])


def mean_scores(scores: Sequence[Scores]) -> Scores:
    """The means of several samples of one row; raises ValueError where there is none."""
    return Scores(
        fmean(score.quality for score in scores), fmean(score.complexity for score in scores)
    )


def is_better(merged: Scores, sources: Sequence[Scores]) -> bool:
    """Whether a merge is worth more than its sources: above their mean (arXiv 2503.00034).

    What is compared is quality times complexity. Raises ValueError where there is no source.
    """
    return merged.product > fmean(source.product for source in sources)


Found = dict[str, list[re.Match[str]]]


def _find_scores(reply: ChatReply) -> Found:
    """All numbers with a label in the reply, by label, without one that was cut off."""
    found: Found = {name: [] for name in _NAMES}
    is_cut = reply.finish_reason == "length"
    for match in _SCORE.finditer(reply.text):
        # What comes after a number shows that it was whole: 1 may have become 10, 5. a 5.5.
        if not is_cut or reply.text[match.end() : match.end() + 9].strip(" .,/"):
            found[_read_name(match)].append(match)
    return found


def _check_score(name: str, found: Found, text: str) -> Refusal | None:
    """Why there is no score of that `name`, or None."""
    matches = found[name]
    if not matches:
        return Refusal("judge_unreadable", f"the judge gives no {name} in {text[:80]!r}")
    if len({_read_number(match) for match in matches}) > 1:
        return Refusal("judge_unreadable", f"the judge gives more than one {name}: {text[:80]!r}")
    for match in matches:
        scale = match["scale"]
        is_on_scale = scale is None or float(scale.translate(_MINUS)) == HIGHEST
        if not is_on_scale or not LOWEST <= _read_number(match) <= HIGHEST:
            written = match[0][match.start("number") - match.start() :][:20]
            return Refusal("judge_out_of_range", f"{name} is {written}, not on the scale of 1 to 6")
    return None


def _read_name(match: re.Match[str]) -> str:
    return "complexity" if match["quality"] is None else "quality"


def _read_number(match: re.Match[str]) -> float:
    return float(match["number"].translate(_MINUS))


class Tokens(NamedTuple):
    """The text that the tokens of a reply make, and which of them has its first letter where."""

    text: str
    starting: dict[int, TokenChoice]


def _place_tokens(choices: Sequence[TokenChoice]) -> Tokens:
    texts = [choice.token.translate(_BLANKS) for choice in choices]
    starting, place = {}, 0
    for choice, text in zip(choices, texts, strict=True):
        starting[place + len(text) - len(text.lstrip())] = choice
        place += len(text)
    return Tokens("".join(texts), starting)


def _weigh_score(name: str, written: float, tokens: Tokens) -> float:
    """The expectation of a score, or `written` where its digit is no token of its own."""
    for match in _SCORE.finditer(tokens.text):
        choice = tokens.starting.get(match.start("number"))
        if choice is None or _read_name(match) != name:
            continue
        if _read_token(choice.token) == match["number"]:
            return _expect_grade(choice) or written
    return written


def _expect_grade(choice: TokenChoice) -> float | None:
    """The mean of the six grades by their probabilities; None where none of them has any."""
    weights = dict.fromkeys(_GRADES, 0.0)
    for token, logprob in choice.logprobs.items():
        if (digit := _read_token(token)) in weights:
            weights[digit] += exp(min(0.0, logprob))
    total = sum(weights.values())
    if not total:
        return None
    mean = sum([_GRADES[digit] * (weight / total) for digit, weight in weights.items()])
    return min(max(mean, float(LOWEST)), float(HIGHEST))  # rounding may take it past the ends


def _read_token(token: str) -> str:
    return token.translate(_BLANKS).strip()
