"""What the simulated model says: a function of seed and request body, content faults included."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import orjson

from mergeit_async.simulator.calls import CHARS_PER_TOKEN, ChatCall, count_tokens
from mergeit_async.simulator.chance import Dice, Mix
from mergeit_async.simulator.settings import SimulatorSettings
from mergeit_async.simulator.weaving import WORDINGS, Source, find_sources, weave

# Written by hand, as it costs a third of building and dumping it. No clock in `created`: equal
# bodies get equal bytes.
_COMPLETION = (
    b'{"id":"chatcmpl-%b","object":"chat.completion","created":0,"model":%b,"choices":[{"index":0,'
    b'"message":{"role":"assistant","content":%b,"refusal":%b},"finish_reason":"%b"}],"usage":'
    b'{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d%b}}'
)
_CACHED = b',"prompt_tokens_details":{"cached_tokens":%d}'


@dataclass(frozen=True, slots=True)
class Draft:
    """A merge before it is said: the rows it came from, itself, and itself as JSON text."""

    sources: list[Source]
    merged: Source
    text: str


@dataclass(slots=True)  # not frozen: made for each request
class Utterance:
    """What the model says; `refusal` is said instead of `text`, `fault` is the one injected."""

    text: str
    finish_reason: str = "stop"
    refusal: str | None = None
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class ContentFault:
    """One kind of bad text: how it says a good draft, and its weight in the default mix."""

    say: Callable[[Draft], Utterance]
    share: float = 1.0


@dataclass(slots=True)  # not frozen: made for each request
class ChatAnswer:
    """A whole answer: the response body as bytes, its token counts, and the content fault in it.

    `cached_tokens` is None where the server has no prompt cache to report about.
    """

    body: bytes
    prompt_tokens: int
    completion_tokens: int
    fault: str | None
    cached_tokens: int | None = None


class Replier:
    """Answers chat calls; equal bodies get equal bytes."""

    def __init__(self, settings: SimulatorSettings, dice: Dice) -> None:
        """Raises UsageError for content fault rates that make no sense."""
        shares = {kind: fault.share for kind, fault in CONTENT_FAULTS.items()}
        self._mix = Mix(shares, settings.content_fault_rate, settings.content_faults)
        self._dice = dice

    def answer(self, call: ChatCall, digest: bytes, cached_tokens: int | None = None) -> ChatAnswer:
        """The answer to `call`, whose body has this digest; it reports so many tokens as cached."""
        said = self._say(call, digest)
        completion_tokens = count_tokens(said.refusal or said.text) or 1
        if call.max_tokens is not None and completion_tokens > call.max_tokens:
            said, completion_tokens = _cut(said, call.max_tokens), call.max_tokens
        body = _COMPLETION % (
            digest.hex().encode(),
            _as_json(call.model),
            b"null" if said.refusal else _as_json(said.text),
            _as_json(said.refusal) if said.refusal else b"null",
            said.finish_reason.encode(),
            call.prompt_tokens,
            completion_tokens,
            call.prompt_tokens + completion_tokens,
            b"" if cached_tokens is None else _CACHED % cached_tokens,
        )
        return ChatAnswer(body, call.prompt_tokens, completion_tokens, said.fault, cached_tokens)

    def _say(self, call: ChatCall, digest: bytes) -> Utterance:
        sources = find_sources(call.prompt)
        if len(sources) < 2:
            return _say_anything(call, digest)
        merged = weave(sources, int(WORDINGS * self._dice.roll(b"wording", digest)))
        text = _as_json(merged).decode()
        if self._mix.is_empty or not (kind := self._mix.pick(self._dice, b"content fault", digest)):
            return Utterance(text)
        return replace(CONTENT_FAULTS[kind].say(Draft(sources, merged, text)), fault=kind)


def _say_anything(call: ChatCall, digest: bytes) -> Utterance:
    text = f"This is the simulated answer {digest.hex()[:8]} to a prompt without rows to merge."
    if call.wants_json:
        asked = "Say which simulated answer this is."
        text = _as_json({"instruction": asked, "input": "", "output": text}).decode()
    return Utterance(text)


def _cut(said: Utterance, max_tokens: int) -> Utterance:
    return replace(said, text=said.text[: max_tokens * CHARS_PER_TOKEN], finish_reason="length")


def _as_json(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        # A row may hold half of an escaped surrogate pair; the standard library escapes it again.
        return json.dumps(value).encode()


def _say_row(row: Mapping[str, object]) -> Utterance:
    return Utterance(_as_json(row).decode())


def _say_fenced(draft: Draft) -> Utterance:
    return Utterance(f"```json\n{draft.text}\n```")


def _say_with_prose(draft: Draft) -> Utterance:
    return Utterance(f"Here is the merged row:\n\n{draft.text}\n\nI hope it is what you need.")


def _say_empty_output(draft: Draft) -> Utterance:
    return _say_row(draft.merged | {"output": ""})


def _say_wrong_types(draft: Draft) -> Utterance:
    inputs = [source["input"] for source in draft.sources]
    return _say_row(draft.merged | {"input": inputs})


def _say_copy(draft: Draft) -> Utterance:
    return _say_row(draft.sources[0])


def _say_leakage(draft: Draft) -> Utterance:
    tasks = " ".join(
        f"Example {number}: {source['instruction']}"
        for number, source in enumerate(draft.sources, start=1)
    )
    return _say_row(draft.merged | {"instruction": tasks})


def _say_no_json(draft: Draft) -> Utterance:
    return Utterance(f"The merged task reads as follows. {draft.merged['instruction']}")


def _say_cut(draft: Draft) -> Utterance:
    return Utterance(draft.text[: len(draft.text) * 2 // 3], finish_reason="length")


def _refuse(draft: Draft) -> Utterance:
    return Utterance("", refusal="I'm sorry, but I can't help with this request.")


def _apologise(draft: Draft) -> Utterance:
    return Utterance("I'm sorry, but as a simulated model I cannot merge these rows.")


def _withhold(draft: Draft) -> Utterance:
    return Utterance(draft.text[: len(draft.text) // 3], finish_reason="content_filter")


# Every content fault: its kind, how a good draft is said badly, and its weight in the mix of
# `content_fault_rate`. `fenced` and `prose` hold a good merge; a reader should find it.
CONTENT_FAULTS: Mapping[str, ContentFault] = {
    "fenced": ContentFault(_say_fenced),
    "prose": ContentFault(_say_with_prose),
    "empty_output": ContentFault(_say_empty_output),
    "wrong_types": ContentFault(_say_wrong_types),
    "copy": ContentFault(_say_copy),
    "leakage": ContentFault(_say_leakage),
    "not_json": ContentFault(_say_no_json),
    "cut": ContentFault(_say_cut),
    "refusal": ContentFault(_refuse),
    "apology": ContentFault(_apologise),
    "content_filter": ContentFault(_withhold, share=0),
}
