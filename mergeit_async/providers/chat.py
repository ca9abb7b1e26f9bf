"""What the engine asks of a chat model, whoever serves it."""

from __future__ import annotations

from typing import Protocol

from mergeit_async.records import ChatReply, ChatRequest


class ChatProvider(Protocol):
    """Answers chat requests, one attempt each: retries, limits and budgets are not its business."""

    async def complete(self, request: ChatRequest, timeout_s: float) -> ChatReply:
        """The reply to `request`, within `timeout_s` seconds from the call.

        Raises ProviderError, and nothing else, for whatever goes wrong with the exchange.
        """

    async def check(self) -> None:
        """Find out, before a job starts, whether the server is there and takes the key.

        Raises ProviderError of kind AUTH, CONNECTION or TIMEOUT if not.
        """
