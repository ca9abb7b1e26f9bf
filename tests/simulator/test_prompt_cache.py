from __future__ import annotations

from typing import Any

import orjson

from mergeit_async.simulator.calls import ChatCall, read_call
from mergeit_async.simulator.prompt_cache import PromptCache

SYSTEM = {"role": "system", "content": "Merge the rows."}


def call(*before: Any, prompt: str = "hi", model: str = "m") -> ChatCall:
    turns = [*before, {"role": "user", "content": prompt}]
    return read_call(orjson.dumps({"model": model, "messages": turns}))


def test_what_an_answered_call_began_with_is_cached_for_the_next() -> None:
    cache = PromptCache()
    before = cache.cached_tokens(call(SYSTEM))
    cache.remember(cache.mark(call(SYSTEM)))

    assert before == 0
    assert cache.cached_tokens(call(SYSTEM, prompt="something else")) == 4


def test_another_beginning_or_another_model_is_not_cached() -> None:
    cache = PromptCache()
    cache.remember(cache.mark(call(SYSTEM)))

    assert cache.cached_tokens(call(SYSTEM | {"role": "assistant"})) == 0
    assert cache.cached_tokens(call(SYSTEM, SYSTEM)) == 0
    assert cache.cached_tokens(call(SYSTEM, model="n")) == 0


def test_a_call_of_one_turn_has_nothing_to_cache() -> None:
    cache = PromptCache()
    cache.remember(cache.mark(call()))

    assert cache.cached_tokens(call()) == 0
