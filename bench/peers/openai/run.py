"""The openai package behind a semaphore, on its aiohttp transport, the faster of its two."""

from __future__ import annotations

import asyncio
from typing import Any

from openai import AsyncOpenAI, DefaultAioHttpClient


def send_all(bodies: list[dict[str, Any]], url: str, in_flight: int, watch: Any) -> list[str]:
    return asyncio.run(_send(bodies, url, in_flight, watch))


async def _send(bodies: list[dict[str, Any]], url: str, in_flight: int, watch: Any) -> list[str]:
    slots = asyncio.Semaphore(in_flight)

    async def ask(body: dict[str, Any]) -> str:
        async with slots:
            completion = await client.chat.completions.create(**body)
        return completion.choices[0].message.content

    transport = DefaultAioHttpClient()
    async with AsyncOpenAI(base_url=url, api_key="none", http_client=transport) as client:
        with watch:
            return await asyncio.gather(*map(ask, bodies))
