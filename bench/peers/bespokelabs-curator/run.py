"""curator with its `openai` backend, three times as fast here as its `litellm` one.

Its rate limits are lifted and its cache folder is new. It counts tokens before each call whatever
the limits are. The send phase leaves out its request files and its final dataset.
"""

from __future__ import annotations

import json
from typing import Any

# Points tiktoken at the vocabulary that litellm brings along; else curator downloads it.
import litellm.litellm_core_utils.default_encoding  # noqa: F401
from bespokelabs import curator

# It asks the server once for its rate limits, with an empty chat that is refused.
PROBES = 1


class Chat(curator.LLM):
    """One chat a row; rows carry a number only, since curator copies each row several times."""

    bodies: list[dict[str, Any]]

    def prompt(self, row: dict[str, Any]) -> list[dict[str, str]]:
        return self.bodies[row["number"]]["messages"]

    def parse(self, row: dict[str, Any], reply: str) -> dict[str, str]:
        return {"reply": reply}


def send_all(bodies: list[dict[str, Any]], url: str, in_flight: int, watch: Any) -> list[str]:
    llm = Chat(
        model_name=bodies[0]["model"],
        backend="openai",
        backend_params={
            "base_url": url,
            "api_key": "none",
            "max_concurrent_requests": in_flight,
            "max_requests_per_minute": 10**9,
            "max_tokens_per_minute": 10**12,
        },
    )
    llm.bodies = bodies
    processor = llm._request_processor
    send = processor.requests_to_responses

    def timed_send(files: list[str]) -> None:
        with watch:
            send(files)

    processor.requests_to_responses = timed_send
    return list(llm([row_of(*item) for item in enumerate(bodies)]).dataset["reply"])


def row_of(number: int, body: dict[str, Any]) -> dict[str, Any]:
    options = {key: value for key, value in body.items() if key not in ("model", "messages")}
    return {"number": number, "generation_params": json.dumps(options)}
