"""The arms of an A/B run: what each asks with, as it is written and as settings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from mergeit_async.config import Settings, checked
from mergeit_async.engine.prompts import find_prompts
from mergeit_async.engine.requests import Requests
from mergeit_async.errors import UsageError
from mergeit_async.records import Group, Row

FORM = "NAME=TASK/VERSION[@MODEL][?temperature=T&max_output_tokens=N]"
_ARM = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]{0,31})=(?P<prompt>[^@?]+)(?:@(?P<model>[^?]+))?"
    r"(?:\?(?P<parameters>.*))?"
)
_PARAMETERS = ("temperature", "max_output_tokens")
# Arms that ask the same of these rows ask the same of all.
_TRIAL_ROWS = (
    Row("a", "Name a colour.", "", "Blue.", 0, 0),
    Row("b", "Count the letters.", "tree", "4", 1, 1),
)
_TRIAL_GROUP = Group(0, 0, "", _TRIAL_ROWS, 1.0)


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to merge.

    `parameters` are those of the call that differ from the prompt's own. `hash` is the content of
    the prompt version. `first_sample` is where its draws begin: arms of equal content draw
    distinct samples. `forms` is how its model was found to take what not all take; empty until it
    was asked.
    """

    name: str
    prompt: str
    model: str
    parameters: dict[str, float | int] = field(default_factory=dict)
    hash: str = ""
    first_sample: int = 0
    forms: dict[str, str] = field(default_factory=dict)

    @property
    def description(self) -> str:
        """The arm as it is written on the command line, without its name."""
        parameters = "&".join(f"{name}={value!r}" for name, value in self.parameters.items())
        return f"{self.prompt}@{self.model}" + (f"?{parameters}" if parameters else "")

    def is_same_as(self, other: Arm) -> bool:
        """Whether `other` is this arm, whatever has been found out about it since."""
        return (self.name, self.description, self.hash) == (
            other.name,
            other.description,
            other.hash,
        )


def parse_arms(texts: Sequence[str], settings: Settings) -> tuple[Arm, ...]:
    """Arms as written; what an arm does not name is as in `settings`.

    Raises `UsageError` for one that cannot be read, names an unknown prompt, or comes twice.
    """
    if not texts:
        raise UsageError("An A/B run needs arms; give at least two, each as --arm NAME=merge/v1.")
    arms = tuple(parse_arm(text, settings) for text in texts)
    (name, count), *_ = Counter(arm.name for arm in arms).most_common(1)
    if count > 1:
        raise UsageError(f"There are {count} arms {name!r}; give each a name of its own.")
    if len(arms) < 2:
        raise UsageError(f"There is only the arm {name!r}; give a second one to compare it with.")
    return arms


def first_model(texts: Sequence[str]) -> str | None:
    """The model that the first arm with one names."""
    found = (match["model"] for text in texts if (match := _ARM.fullmatch(text)))
    return next(filter(None, found), None)


def parse_arm(text: str, settings: Settings) -> Arm:
    """One arm, such as `C=merge/v2@other-model?temperature=0.7`."""
    match = _ARM.fullmatch(text)
    if match is None:
        raise UsageError(f"--arm {text!r} is not of the form {FORM}.")
    model = match["model"] or settings.model
    arm = Arm(match["name"], match["prompt"], model, parse_parameters(match["parameters"], text))
    chosen = settings_of(arm, settings)
    if chosen.is_offline:
        raise UsageError(
            f"--arm {text!r} names no model; name one for all arms with --model, or one for this "
            f"arm as {arm.name}={arm.prompt}@MODEL."
        )
    prompts = find_prompts(chosen)
    assert prompts is not None, "a run without a model"
    return replace(arm, hash=prompts.merge.hash)


def parse_parameters(text: str | None, arm: str) -> dict[str, float | int]:
    """`temperature=0.7&max_output_tokens=500` as numbers by name."""
    found: dict[str, float | int] = {}
    for part in text.split("&") if text else ():
        name, _, value = part.partition("=")
        if name not in _PARAMETERS:
            raise UsageError(
                f"--arm {arm!r}: there is no parameter {name!r}; there is "
                f"{' and '.join(_PARAMETERS)}."
            )
        try:
            found[name] = float(value) if name == "temperature" else int(value)
        except ValueError:
            raise UsageError(f"--arm {arm!r}: {name} {value!r} is no number.") from None
    return found


def settings_of(arm: Arm, settings: Settings) -> Settings:
    """The settings of a run that would merge as `arm` does."""
    own: dict[str, Any] = {"prompt": arm.prompt, "model": arm.model, **arm.parameters}
    return checked(settings.model_dump() | own)


def requests_of(arm: Arm, settings: Settings) -> Requests:
    """The requests of `arm`, in the forms that were found for it."""
    chosen = settings_of(arm, settings)
    prompts = find_prompts(chosen)
    assert prompts is not None, "a run without a model"
    requests = Requests(chosen, prompts, arm.first_sample)
    if arm.forms:
        requests.settle(**arm.forms)
    return requests


def count_samples(
    arms: Iterable[Arm], settings: Settings, before: Sequence[Arm] = ()
) -> tuple[Arm, ...]:
    """The arms, those of equal content with distinct samples, also from the arms `before`."""
    seen = Counter(content_of(arm, settings) for arm in before)
    counted = []
    for arm in arms:
        content = content_of(arm, settings)
        counted.append(replace(arm, first_sample=seen[content] * settings.max_attempts))
        seen[content] += 1
    return tuple(counted)


def content_of(arm: Arm, settings: Settings) -> str:
    """Equal for arms that send equal requests, whatever they and their prompts are called."""
    return requests_of(replace(arm, first_sample=0, forms={}), settings).merge(_TRIAL_GROUP, 0).key


def as_values(arm: Arm) -> dict[str, Any]:
    """An arm as TOML or JSON values."""
    return asdict(arm)
