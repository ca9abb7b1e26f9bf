"""The requests of a run: what is sent for a group, and what for a row to be scored."""

from __future__ import annotations

from collections.abc import Sequence

from mergeit_async.config import Settings
from mergeit_async.engine.prompts import Prompts
from mergeit_async.merging.judge import build_judge_request
from mergeit_async.merging.messages import (
    build_repair_request,
    build_request,
    build_response_format,
)
from mergeit_async.records import ChatRequest, Example, Group, Row

# For prompts that name none; the temperature is the paper's.
DEFAULT_PARAMETERS: dict[str, float | int] = {"temperature": 0.25, "max_output_tokens": 4096}
# Alternatives to each token of a score: as many as OpenAI gives.
TOP_LOGPROBS = 20
LOGPROBS, SAMPLES = "logprobs", "samples"
PLAIN = "text"


class Requests:
    """Builds the requests of one run; equal rows and samples give equal requests.

    Merges are drawn from the sample `first_sample` on: who asks the same twice and wants two
    answers counts on from another.
    `has_logprobs` tells whether the judge's scores come with the probabilities of their tokens;
    else they come by samples.
    """

    def __init__(self, settings: Settings, prompts: Prompts, first_sample: int = 0) -> None:
        given = {
            "temperature": settings.temperature,
            "max_output_tokens": settings.max_output_tokens,
        }
        chosen = (
            DEFAULT_PARAMETERS
            | dict(prompts.merge.parameters)
            | {name: value for name, value in given.items() if value is not None}
        )
        self._prompts = prompts
        self._first_sample = first_sample
        self._endpoint = settings.endpoint
        self._model = settings.model
        self._judge = settings.judge or settings.model
        self._temperature = float(chosen["temperature"])
        self._most_tokens = int(chosen["max_output_tokens"])
        self._response_format = b""
        self.has_logprobs = False

    def settle(self, form: str, scores: str = SAMPLES) -> None:
        """From now on ask in this form, and for scores in that way; see `probe`."""
        self._response_format = self.response_format(form)
        self.has_logprobs = scores == LOGPROBS

    def response_format(self, form: str) -> bytes:
        """The parameter that asks for a merged row in this form; empty for plain text."""
        return build_response_format(form, self._prompts.merge.schema)

    @property
    def can_repair(self) -> bool:
        """Whether there is a prompt that asks for what is missing."""
        return self._prompts.repair is not None

    @property
    def has_notes(self) -> bool:
        """Whether replies say what the sources hold before the merged row."""
        return self._prompts.merge.has_notes

    def merge(self, group: Group, sample: int) -> ChatRequest:
        """The `sample`-th request for a merge of `group`."""
        return build_request(
            self._prompts.merge,
            group,
            endpoint=self._endpoint,
            model=self._model,
            temperature=self._temperature,
            max_output_tokens=self._most_tokens,
            sample=self._first_sample + sample,
            response_format=self._response_format,
            has_notes=self.has_notes,
        )

    def repair(
        self, group: Group, sample: int, attempt: str, defects: Sequence[str]
    ) -> ChatRequest:
        """The `sample`-th request for `group`: a reply that had these defects, mended."""
        asked, repair = self.merge(group, sample), self._prompts.repair
        if repair is None:
            return asked
        return build_repair_request(
            asked,
            self._prompts.merge,
            repair,
            group,
            attempt=attempt,
            defects=defects,
            endpoint=self._endpoint,
        )

    def score(self, row: Row | Example, sample: int) -> ChatRequest:
        """The `sample`-th request for the scores of `row`."""
        assert self._prompts.judge is not None, "a run without a judge scores nothing"
        return build_judge_request(
            self._prompts.judge,
            row,
            endpoint=self._endpoint,
            model=self._judge,
            sample=sample,
            top_logprobs=TOP_LOGPROBS if self.has_logprobs else 0,
        )
