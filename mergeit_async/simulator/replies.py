"""What the simulated model says: a function of seed and request body, content faults included.

The last user turn decides: two rows or more are merged, unless two of them are candidates, which
are compared; one is scored by a judge; none, after an earlier turn with rows, asks for a repair of
their merge; all else is talked about.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mergeit_async.simulator.abilities import say_object, wants_object
from mergeit_async.simulator.calls import ChatCall, text_of
from mergeit_async.simulator.chance import Dice, Mix
from mergeit_async.simulator.completions import ChatAnswer, Utterance, complete
from mergeit_async.simulator.content_faults import CONTENT_FAULTS, SHARES, say_row
from mergeit_async.simulator.flaws import FLAWS, spoil
from mergeit_async.simulator.judging import Judge
from mergeit_async.simulator.notes import write_notes
from mergeit_async.simulator.pairs import find_pair
from mergeit_async.simulator.settings import SimulatorSettings
from mergeit_async.simulator.weaving import WORDINGS, Draft, Source, find_sources, weave


class Replier:
    """Answers chat calls; equal bodies get equal bytes."""

    def __init__(self, settings: SimulatorSettings, dice: Dice) -> None:
        """Raises UsageError for content fault rates that make no sense."""
        self._settings = settings
        self._mix = _mix_faults(settings)
        self._dice = dice
        self._judge = Judge(dice, settings.judge_faults)
        self._takes_forms = settings.structured != "ignored"
        self._tells_logprobs = settings.logprobs == "offered"

    def answer(self, call: ChatCall, digest: bytes, cached_tokens: int | None = None) -> ChatAnswer:
        """The answer to `call`, whose body has this digest; it reports so many tokens as cached."""
        return complete(
            call,
            digest,
            self._say(call, digest),
            tells_logprobs=self._tells_logprobs,
            cached_tokens=cached_tokens,
        )

    def _say(self, call: ChatCall, digest: bytes) -> Utterance:
        rows = find_sources(call.prompt)
        if len(rows) > 2 and (pair := find_pair(call)):
            return self._judge.prefer(pair, digest, self._form_of(call))
        if len(rows) > 1:
            return self._merge(call, rows, digest)
        if rows and self._is_judged(call):
            return self._judge.say(rows[0], digest)
        if earlier := _find_earlier(call):
            return self._repair(call, earlier, digest)
        return self._talk(call, digest)

    def _is_judged(self, call: ChatCall) -> bool:
        """Whether `call` goes to a judge that may answer in lines instead of some form."""
        judges = call.model in self._settings.judge_models
        return judges and not (self._takes_forms and wants_object(call.response_format))

    def _form_of(self, call: ChatCall) -> Any:
        """The form that `call` is answered in."""
        return call.response_format if self._takes_forms else None

    def _merge(self, call: ChatCall, sources: list[Source], digest: bytes) -> Utterance:
        draft = self._draft(call, sources, digest)
        if self._mix.is_empty or not (kind := self._mix.pick(self._dice, b"content fault", digest)):
            return say_row(draft)
        if kind in FLAWS:
            return self._say_flawed(draft, kind, digest)
        return replace(CONTENT_FAULTS[kind].say(draft), fault=kind)

    def _repair(self, call: ChatCall, sources: list[Source], digest: bytes) -> Utterance:
        draft = self._draft(call, sources, digest)
        if self._dice.roll(b"repair", digest) >= self._settings.repair_failure_rate:
            return replace(say_row(draft), task="repair")
        kind = list(FLAWS)[int(len(FLAWS) * self._dice.roll(b"repair flaw", digest))]
        return replace(self._say_flawed(draft, kind, digest), task="repair")

    def _draft(self, call: ChatCall, sources: list[Source], digest: bytes) -> Draft:
        wording = int(WORDINGS * self._dice.roll(b"wording", digest))
        notes = write_notes(call, sources, self._form_of(call))
        return Draft(sources, wording, weave(sources, wording), notes)

    def _say_flawed(self, draft: Draft, kind: str, digest: bytes) -> Utterance:
        kind, merged = spoil(draft, kind, self._dice.roll(b"flaw", digest))
        return replace(say_row(draft, merged), fault=kind)

    def _talk(self, call: ChatCall, digest: bytes) -> Utterance:
        text = f"This is the simulated answer {digest.hex()[:8]} to a prompt without rows to merge."
        if self._takes_forms:
            text = say_object(call.response_format, text) or text
        return Utterance(text, task="talk")


def _mix_faults(settings: SimulatorSettings) -> Mix:
    named = dict(settings.content_faults)
    for kind in FLAWS:
        named[kind] = named.get(kind, 0.0) + settings.flaw_rate / len(FLAWS)
    return Mix(SHARES, settings.content_fault_rate, named)


def _find_earlier(call: ChatCall) -> list[Source]:
    """The rows of the latest user turn before the last that shows at least two."""
    for turn in reversed(call.preamble):
        if turn.get("role") == "user" and len(rows := find_sources(text_of(turn))) > 1:
            return rows
    return []
