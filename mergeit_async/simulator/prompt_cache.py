"""A provider's prompt cache: what an earlier call began with is known, and reported as such."""

from __future__ import annotations

from hashlib import blake2b

import orjson

from mergeit_async.simulator.calls import ChatCall, count_turn_tokens


class PromptCache:
    """The preambles of answered calls, by a mark: their model and turns before the last user's."""

    def __init__(self) -> None:
        self._known: set[bytes] = set()

    def mark(self, call: ChatCall) -> bytes:
        """What the preamble of `call` is known by."""
        return blake2b(orjson.dumps([call.model, call.preamble]), digest_size=16).digest()

    def cached_tokens(self, call: ChatCall) -> int:
        """The tokens of the preamble of `call` where it is known, else 0."""
        return count_turn_tokens(call.preamble) if self.mark(call) in self._known else 0

    def remember(self, mark: bytes) -> None:
        """Know this preamble from now on."""
        self._known.add(mark)
