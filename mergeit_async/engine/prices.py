"""What calls cost: a price sheet per server, frozen when a run first uses that server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mergeit_async.records import ChatReply, ChatRequest

# Price sheets by the URL of a server and the name of a model there.
Prices = Mapping[str, Mapping[str, "PriceSheet"]]

MILLION = 1_000_000
# A prompt long enough for rounding not to show, and short of every tier for long prompts.
SAMPLE_TOKENS = 1000


@dataclass(frozen=True, slots=True)
class PriceSheet:
    """US dollars per million tokens; `cached` are prompt tokens from the server's prompt cache.

    `source` is "genai-prices" or "given" (by --price-in and --price-out).
    """

    prompt: float
    cached: float
    completion: float
    source: str

    def cost(self, reply: ChatReply) -> float | None:
        """US dollars for what the server reported; None where it reported nothing."""
        if reply.prompt_tokens is None or reply.completion_tokens is None:
            return None
        cached = min(reply.cached_tokens or 0, reply.prompt_tokens)
        return self.of_tokens(reply.prompt_tokens, reply.completion_tokens, cached)

    def of_tokens(self, prompt: float, completion: float, cached: float = 0) -> float:
        """US dollars for so many tokens; `cached` of the prompt's were in the cache."""
        whole = (prompt - cached) * self.prompt + cached * self.cached
        return (whole + completion * self.completion) / MILLION

    def ceiling(self, request: ChatRequest) -> float:
        """US dollars that a call cannot exceed: no token is shorter than a byte."""
        prompt = request.most_prompt_tokens * max(self.prompt, self.cached)
        return (prompt + request.max_tokens * self.completion) / MILLION


def sheets_of(prices: Prices, model: str) -> list[PriceSheet]:
    """The prices of one model, of all servers where it has one."""
    return [sheets[model] for sheets in prices.values() if model in sheets]


def find_price(model: str, base_url: str) -> PriceSheet | None:
    """The list price of `model` on the server at `base_url`; None if unknown.

    The server's address decides: a model of your own that is named like a vendor's has no price.
    Tiers for very long prompts are left out.
    """
    # Here, not above: prices take long to import, and many runs need none.
    from genai_prices import Usage, calc_price

    midnight = datetime.now(UTC).replace(hour=0, minute=0)
    hours = [midnight + timedelta(hours=hour) for hour in range(24)]

    def dollars(**tokens: int) -> float:
        """The dearest price of the day: some vendors charge less at night."""
        usage = Usage(**tokens)
        prices = [
            calc_price(usage, model, provider_api_url=base_url, genai_request_timestamp=hour)
            for hour in hours
        ]
        if not is_at(prices[0].provider.api_pattern, base_url):
            raise LookupError(base_url)
        return float(max(price.total_price for price in prices)) * MILLION / SAMPLE_TOKENS

    try:
        return PriceSheet(
            prompt=dollars(input_tokens=SAMPLE_TOKENS),
            cached=dollars(input_tokens=SAMPLE_TOKENS, cache_read_tokens=SAMPLE_TOKENS),
            completion=dollars(output_tokens=SAMPLE_TOKENS),
            source="genai-prices",
        )
    except LookupError:
        return None


def is_at(pattern: str, base_url: str) -> bool:
    """Whether a vendor's `pattern` stands for this very host, not for the first half of its name.

    The patterns have no end: api.openai.com.gateway.example begins as OpenAI's address does.
    """
    found = re.match(pattern, base_url)
    if found is None:
        return False
    return found.group().endswith((".", "/")) or base_url[found.end() :][:1] in ("", "/", ":")
