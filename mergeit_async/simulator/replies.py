"""What the simulated model says: a function of seed and request body, content faults included."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace

import orjson

from mergeit_async.records import Example
from mergeit_async.simulator.calls import CHARS_PER_TOKEN, ChatCall, count_tokens
from mergeit_async.simulator.chance import Dice, Mix
from mergeit_async.simulator.settings import SimulatorSettings
from mergeit_async.simulator.weaving import WORDINGS, find_sources, weave


@dataclass(frozen=True, slots=True)
class Draft:
    """A merge before it is said: the rows it came from, itself, and itself as JSON text."""

    sources: list[Example]
    merged: Example
    text: str


@dataclass(frozen=True, slots=True)
class Utterance:
    """What the model says; `refusal` is said instead of `text`, `fault` is the one injected."""

    text: str
    finish_reason: str = "stop"
    refusal: str | None = None
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class ChatAnswer:
    """A whole answer: the response body as bytes, its token counts, and the content fault in it."""

    body: bytes
    prompt_tokens: int
    completion_tokens: int
    fault: str | None


class Replier:
    """Answers chat calls; equal bodies get equal bytes."""

    def __init__(self, settings: SimulatorSettings, dice: Dice) -> None:
        """Raises UsageError for content fault rates that make no sense."""
        shares = dict.fromkeys(CONTENT_FAULTS, 1.0)
        self._mix = Mix(shares, settings.content_fault_rate, settings.content_faults)
        self._dice = dice

    def answer(self, call: ChatCall, digest: bytes) -> ChatAnswer:
        """The answer to `call`, whose body has this digest."""
        said = _cut_to_limit(self._say(call, digest), call.max_tokens)
        completion_tokens = max(1, count_tokens(said.refusal or said.text))
        body = orjson.dumps(_completion(call, said, digest, completion_tokens))
        return ChatAnswer(body, call.prompt_tokens, completion_tokens, said.fault)

    def _say(self, call: ChatCall, digest: bytes) -> Utterance:
        sources = find_sources(call.prompt)
        if len(sources) < 2:
            return _say_anything(call, digest)
        merged = weave(sources, int(WORDINGS * self._dice.roll(b"wording", digest)))
        text = _as_json(merged)
        kind = self._mix.pick(self._dice, b"content fault", digest)
        if kind is None:
            return Utterance(text)
        return replace(CONTENT_FAULTS[kind](Draft(sources, merged, text)), fault=kind)


def _say_anything(call: ChatCall, digest: bytes) -> Utterance:
    text = f"This is the simulated answer {digest.hex()[:8]} to a prompt without rows to merge."
    if call.wants_json:
        return Utterance(_as_json(Example("Say which simulated answer this is.", "", text)))
    return Utterance(text)


def _cut_to_limit(said: Utterance, max_tokens: int | None) -> Utterance:
    if max_tokens is None or count_tokens(said.text) <= max_tokens:
        return said
    return replace(said, text=said.text[: max_tokens * CHARS_PER_TOKEN], finish_reason="length")


def _completion(
    call: ChatCall, said: Utterance, digest: bytes, completion_tokens: int
) -> Mapping[str, object]:
    message = {
        "role": "assistant",
        "content": None if said.refusal else said.text,
        "refusal": said.refusal,
    }
    return {
        "id": f"chatcmpl-{digest.hex()}",
        "object": "chat.completion",
        "created": 0,  # no clock: equal bodies get equal bytes
        "model": call.model,
        "choices": [{"index": 0, "message": message, "finish_reason": said.finish_reason}],
        "usage": {
            "prompt_tokens": call.prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": call.prompt_tokens + completion_tokens,
        },
    }


def _as_json(example: Example) -> str:
    try:
        return orjson.dumps(example).decode()
    except orjson.JSONEncodeError:
        # A row may hold half of an escaped surrogate pair; the standard library escapes it again.
        return json.dumps(asdict(example))


def _say_fenced(draft: Draft) -> Utterance:
    return Utterance(f"```json\n{draft.text}\n```")


def _say_with_prose(draft: Draft) -> Utterance:
    return Utterance(f"Here is the merged row:\n\n{draft.text}\n\nI hope it is what you need.")


def _say_empty_output(draft: Draft) -> Utterance:
    return Utterance(_as_json(replace(draft.merged, output="")))


def _say_wrong_types(draft: Draft) -> Utterance:
    inputs = [source.input for source in draft.sources]
    return Utterance(json.dumps(asdict(draft.merged) | {"input": inputs}))


def _say_copy(draft: Draft) -> Utterance:
    return Utterance(_as_json(draft.sources[0]))


def _say_leakage(draft: Draft) -> Utterance:
    tasks = " ".join(
        f"Example {number}: {source.instruction}"
        for number, source in enumerate(draft.sources, start=1)
    )
    return Utterance(_as_json(replace(draft.merged, instruction=tasks)))


def _say_no_json(draft: Draft) -> Utterance:
    return Utterance(f"The merged task reads as follows. {draft.merged.instruction}")


def _say_cut(draft: Draft) -> Utterance:
    return Utterance(draft.text[: len(draft.text) * 2 // 3], finish_reason="length")


def _refuse(draft: Draft) -> Utterance:
    return Utterance("", refusal="I'm sorry, but I can't help with this request.")


def _apologise(draft: Draft) -> Utterance:
    return Utterance("I'm sorry, but as a simulated model I cannot merge these rows.")


# Every content fault: its kind, and how a good draft is said badly. All kinds are equally likely
# under `content_fault_rate`. `fenced` and `prose` hold a good merge; a reader should find it.
CONTENT_FAULTS: Mapping[str, Callable[[Draft], Utterance]] = {
    "fenced": _say_fenced,
    "prose": _say_with_prose,
    "empty_output": _say_empty_output,
    "wrong_types": _say_wrong_types,
    "copy": _say_copy,
    "leakage": _say_leakage,
    "not_json": _say_no_json,
    "cut": _say_cut,
    "refusal": _refuse,
    "apology": _apologise,
}
