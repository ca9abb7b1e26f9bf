"""What a run is: everything that decides its bytes, hashed, and compared when it is resumed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mergeit_async.config import Settings
from mergeit_async.data.dataset import dataset_digest
from mergeit_async.data.normalise import DATA_VERSION
from mergeit_async.engine.prompts import Prompts
from mergeit_async.filtering.topic_plan import ALGORITHM_VERSION as FILTERING_VERSION
from mergeit_async.ids import digest
from mergeit_async.merging.compose import COMPOSE_VERSION
from mergeit_async.merging.gate import GATE_VERSION
from mergeit_async.merging.information import INFORMATION_VERSION
from mergeit_async.merging.judge import JUDGE_VERSION
from mergeit_async.merging.messages import REQUEST_VERSION

# A run is only resumed by code and tables of the same versions: others would give other bytes.
ALGORITHMS: Mapping[str, str] = MappingProxyType(
    {
        "data": DATA_VERSION,
        "filtering": FILTERING_VERSION,
        "request": REQUEST_VERSION,
        "gate": GATE_VERSION,
        "information": INFORMATION_VERSION,
        "judge": JUDGE_VERSION,
        "compose": COMPOSE_VERSION,
        "wordllama": f"wordllama/{version('wordllama')}",
        "py3langid": f"py3langid/{version('py3langid')}",
    }
)


@dataclass(frozen=True, slots=True)
class Identity:
    """The contents that decide the result of a run.

    `dataset`, `vectors` and the values of `prompts` are hashes of what was found at those places
    (`vectors` is empty where nothing is precomputed, `prompts` where no model is asked);
    `algorithms` are the versions of the code whose change would change results. `forms` are how
    the servers were found to take what not all servers take; empty until they were asked.
    """

    dataset: str
    settings: Mapping[str, Any]
    prompts: Mapping[str, str] = field(default_factory=dict)
    vectors: str = ""
    algorithms: Mapping[str, str] = field(default_factory=dict)
    forms: Mapping[str, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """One hash over all of it."""
        parts = (self.settings, self.prompts, self.algorithms, self.forms)
        return digest([self.dataset, self.vectors, *map(dict, parts)])

    def difference(self, later: Identity) -> str | None:
        """What has changed from this to `later`, as the subject of a sentence; None if nothing."""
        if self.dataset != later.dataset:
            return "the dataset"
        if self.vectors != later.vectors:
            return "the file of precomputed vectors"
        for name in sorted(self.prompts.keys() & later.prompts.keys()):
            if self.prompts[name] != later.prompts[name]:
                return f"the prompt {name}"
        return changed_entry("the setting", self.settings, later.settings) or changed_entry(
            "the version of", self.algorithms, later.algorithms
        )


def changed_entry(what: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first name whose value differs, with both values."""
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            return f"{what} {name} ({before.get(name)}, now {now.get(name)})"
    return None


def identify(
    settings: Settings, dataset: str, prompts: Prompts | None, vectors: str | None = None
) -> Identity:
    """What decides the result of a run with these settings, as things are now.

    `vectors` is the hash of precomputed vectors where it is known; else their file is read.
    """
    if vectors is None:
        vectors = dataset_digest(Path(settings.embedder)) if settings.is_precomputed else ""
    return Identity(
        dataset=dataset,
        settings=settings.identity(),
        prompts=prompts.hashes if prompts else {},
        vectors=vectors,
        algorithms=dict(ALGORITHMS),
    )
