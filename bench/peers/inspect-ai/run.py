"""inspect's model interface, without an evaluation, log or cache around it.

`max_connections` is its own bound. The aiohttp transport saves it a quarter of its time. Its
`openai` provider takes an unknown model for a reasoning one and drops the temperature, hence
`openai-api`.
"""

from __future__ import annotations

import asyncio
from typing import Any

from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    get_model,
)
from openai import DefaultAioHttpClient

MESSAGES = {
    "system": ChatMessageSystem,
    "user": ChatMessageUser,
    "assistant": ChatMessageAssistant,
}


def send_all(bodies: list[dict[str, Any]], url: str, in_flight: int, watch: Any) -> list[str]:
    return asyncio.run(_send(bodies, url, in_flight, watch))


async def _send(bodies: list[dict[str, Any]], url: str, in_flight: int, watch: Any) -> list[str]:
    model = get_model(
        f"openai-api/simulator/{bodies[0]['model']}",
        base_url=url,
        api_key="none",
        config=GenerateConfig(max_connections=in_flight),
        memoize=False,
        http_client=DefaultAioHttpClient(),
    )

    async def ask(body: dict[str, Any]) -> str:
        config = GenerateConfig(
            temperature=body["temperature"], max_tokens=body["max_tokens"], seed=body["seed"]
        )
        messages = [MESSAGES[turn["role"]](content=turn["content"]) for turn in body["messages"]]
        return (await model.generate(messages, config=config, cache=False)).completion

    async with model:
        with watch:
            return await asyncio.gather(*map(ask, bodies))
