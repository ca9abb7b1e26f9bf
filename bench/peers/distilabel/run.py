"""distilabel's OpenAILLM, its `agenerate` called directly behind a semaphore.

That is kinder than its own `generate`, which waits for the slowest call of each batch and has one
`max_new_tokens` for all, and much kinder than a pipeline with its processes and queues.
"""

from __future__ import annotations

import asyncio
from typing import Any

from distilabel.models import OpenAILLM


def send_all(bodies: list[dict[str, Any]], url: str, in_flight: int, watch: Any) -> list[str]:
    return asyncio.run(_send(bodies, url, in_flight, watch))


async def _send(bodies: list[dict[str, Any]], url: str, in_flight: int, watch: Any) -> list[str]:
    slots = asyncio.Semaphore(in_flight)
    llm = OpenAILLM(model=bodies[0]["model"], base_url=url, api_key="none")
    llm.load()

    async def ask(body: dict[str, Any]) -> str:
        async with slots:
            output = await llm.agenerate(
                input=body["messages"],
                temperature=body["temperature"],
                max_new_tokens=body["max_tokens"],
                extra_body={"seed": body["seed"]},
            )
        return output["generations"][0]

    with watch:
        return await asyncio.gather(*map(ask, bodies))
