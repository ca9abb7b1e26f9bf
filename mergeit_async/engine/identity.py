"""What a run is: everything that decides its bytes, hashed, and compared when it is resumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mergeit_async.config import Settings
from mergeit_async.data.dataset import dataset_digest
from mergeit_async.data.normalise import DATA_VERSION
from mergeit_async.filtering.topic_plan import ALGORITHM_VERSION as FILTERING_VERSION
from mergeit_async.ids import digest
from mergeit_async.merging.compose import COMPOSE_VERSION
from mergeit_async.merging.gate import GATE_VERSION
from mergeit_async.merging.messages import REQUEST_VERSION
from mergeit_async.templates.version import PromptVersion, load_prompt

# A run is only resumed by code of the same versions: others would give other bytes.
ALGORITHMS: Mapping[str, str] = MappingProxyType(
    {
        "data": DATA_VERSION,
        "filtering": FILTERING_VERSION,
        "request": REQUEST_VERSION,
        "gate": GATE_VERSION,
        "compose": COMPOSE_VERSION,
    }
)


@dataclass(frozen=True, slots=True)
class Identity:
    """The contents that decide the result of a run.

    `dataset`, `prompt` and `vectors` are hashes of what was found at those places (`prompt` is
    empty where none is used, `vectors` where nothing is precomputed); `algorithms` the versions
    of the code whose change would change results.
    """

    dataset: str
    settings: Mapping[str, Any]
    prompt: str = ""
    vectors: str = ""
    algorithms: Mapping[str, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """One hash over all of it."""
        return digest(
            [self.dataset, self.settings, self.prompt, self.vectors, dict(self.algorithms)]
        )

    def difference(self, later: Identity) -> str | None:
        """What has changed from this to `later`, as the subject of a sentence; None if nothing."""
        if self.dataset != later.dataset:
            return "the dataset"
        if self.prompt != later.prompt:
            return f"the prompt {self.settings.get('prompt')}"
        if self.vectors != later.vectors:
            return "the file of precomputed vectors"
        return changed_entry("the setting", self.settings, later.settings) or changed_entry(
            "the version of", self.algorithms, later.algorithms
        )


def changed_entry(what: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first name whose value differs, with both values."""
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            return f"{what} {name} ({before.get(name)}, now {now.get(name)})"
    return None


def find_prompt(settings: Settings) -> PromptVersion | None:
    """The prompt of a run; none where no model is asked."""
    return None if settings.is_offline else load_prompt(settings.prompt, settings.prompts)


def identify(
    settings: Settings, dataset: str, prompt: PromptVersion | None, vectors: str | None = None
) -> Identity:
    """What decides the result of a run with these settings, as things are now.

    `vectors` is the hash of precomputed vectors where it is known; else their file is read.
    """
    if vectors is None:
        vectors = dataset_digest(Path(settings.embedder)) if settings.is_precomputed else ""
    return Identity(
        dataset=dataset,
        settings=settings.identity(),
        prompt=prompt.hash if prompt else "",
        vectors=vectors,
        algorithms=dict(ALGORITHMS),
    )
