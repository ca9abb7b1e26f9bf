"""The settings of a run: what they mean, their defaults, and which of them change its result."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mergeit_async.errors import UsageError
from mergeit_async.servers import Server, parse_server

OFFLINE_PREFIX = "offline/"
COMPOSE_MODEL = "offline/compose"
OPENAI_BASE_URL = "https://api.openai.com/v1"
DEFAULT_KEY_ENV = "OPENAI_API_KEY"

# The paper's 0.55 is a MiniLM cosine; other embedders have another scale (bench/filtering.py).
MINILM_THRESHOLD = 0.55
WORDLLAMA_THRESHOLD = 0.60

AtLeastOne = Annotated[int, Field(ge=1)]
Rate = Annotated[int, Field(ge=1)]
Dollars = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Settings(BaseModel):
    """Everything a run is told. Text forms in files and flags are parsed and checked here.

    Stage 1: `embedder` is wordllama, minilm[:PATH] or the path of a .npy file; `topics` is the
    number of topics (None: floor(sqrt(n / 2)), as in the paper); `per_cluster` the rows a topic
    keeps (None: all); `target_rows` the rows kept over all topics instead; `threshold` the cosine
    above which rows may be merged; `selection` the similarity facility location works on.

    Stage 2: `model` is offline/compose or the name a server knows; `max_attempts` the replies
    judged per group before its originals stay; `temperature` and
    `max_output_tokens`, the ceiling of one reply, are the prompt's own where they are None.

    Transport: `base_url` names one server or several (see `servers.parse_server`), `rpm` and
    `tpm` are requests and tokens a minute for each (None: not limited), `timeout_s` the most
    seconds a whole call may take, `max_tries` how often one request is sent on faults. `hedge`
    sends calls that take unusually long a second time.

    Money: `max_cost` is a hard cap in US dollars, `price_in` and `price_out` are US dollars per
    million tokens instead of the list price.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: Path
    columns: dict[str, str] = Field(default_factory=dict)
    limit: AtLeastOne | None = None

    embedder: str = "wordllama"
    topics: AtLeastOne | None = None
    per_cluster: AtLeastOne | None = 75
    target_rows: AtLeastOne | None = None
    selection: Literal["cosine", "euclidean"] = "euclidean"
    pairing: Literal["best_first", "first_match"] = "best_first"
    threshold: Annotated[float, Field(ge=-1, le=1)] | None = None
    max_group_size: Annotated[int, Field(ge=2, le=16)] = 2
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 42

    model: Annotated[str, Field(min_length=1)] = COMPOSE_MODEL
    prompt: str = "merge/v1"
    prompts: Path | None = None
    endpoint: str = "chat"
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    max_output_tokens: AtLeastOne | None = None
    max_attempts: AtLeastOne = 3

    base_url: tuple[str, ...] = (OPENAI_BASE_URL,)
    api_key_env: str = DEFAULT_KEY_ENV
    rpm: Rate | None = None
    tpm: Rate | None = None
    max_in_flight: Annotated[int, Field(ge=1, le=10_000)] = 64
    timeout_s: Annotated[float, Field(gt=0)] = 80.0
    max_tries: AtLeastOne = 8
    hedge: bool = False
    allow_plain_http: bool = False
    allow_network_fs: bool = False
    reuse: Path | None = None

    max_cost: Dollars | None = None
    price_in: Price | None = None
    price_out: Price | None = None

    @model_validator(mode="after")
    def _check_model(self) -> Self:
        if self.model.startswith(OFFLINE_PREFIX) and self.model != COMPOSE_MODEL:
            raise ValueError(
                f"there is no offline model {self.model!r}; use {COMPOSE_MODEL}, or the name of a "
                "model your server offers"
            )
        return self

    @field_validator("base_url", mode="before")
    @classmethod
    def _make_list(cls, base_url: Any) -> Any:
        return (base_url,) if isinstance(base_url, str) else base_url

    @model_validator(mode="after")
    def _check_servers(self) -> Self:
        if not self.base_url:
            raise ValueError("--base-url names no server")
        if len({server.url for server in self.servers}) < len(self.base_url):
            raise ValueError("--base-url names a server twice; name each once")
        if (self.price_in is None) != (self.price_out is None):
            raise ValueError("--price-in and --price-out go together; give both")
        return self

    @field_validator("dataset", "prompts", "reuse")
    @classmethod
    def _make_absolute(cls, path: Path | None) -> Path | None:
        """A run may be resumed from another directory."""
        return path and Path(absolute(path))

    @field_validator("embedder")
    @classmethod
    def _make_vectors_absolute(cls, embedder: str) -> str:
        kind, colon, folder = embedder.partition(":")
        if kind == "minilm" and folder:
            return f"{kind}{colon}{absolute(Path(folder))}"
        return absolute(Path(embedder)) if embedder.endswith(".npy") else embedder

    @property
    def servers(self) -> tuple[Server, ...]:
        """The servers, each with its own limits or those of the run."""
        return tuple(
            Server(
                url=server.url,
                api_key_env=server.api_key_env or self.api_key_env,
                rpm=server.rpm or self.rpm,
                tpm=server.tpm or self.tpm,
                max_in_flight=server.max_in_flight or self.max_in_flight,
            )
            for server in map(parse_server, self.base_url)
        )

    @property
    def is_offline(self) -> bool:
        """Whether groups are composed without any call to a model."""
        return self.model == COMPOSE_MODEL

    @property
    def is_precomputed(self) -> bool:
        """Whether the vectors come from a file instead of a model."""
        return self.embedder.endswith(".npy")

    @property
    def similarity_threshold(self) -> float:
        """The cosine above which two rows may be merged, by the scale of the embedder."""
        if self.threshold is not None:
            return self.threshold
        return WORDLLAMA_THRESHOLD if self.embedder == "wordllama" else MINILM_THRESHOLD

    def identity(self) -> dict[str, Any]:
        """The settings that change the result, JSON-able: part of the run's fingerprint."""
        names = {name for name, changes_result in IDENTITY.items() if changes_result}
        chosen = self.model_dump(mode="json", include=names, exclude_none=True)
        if self.is_precomputed:
            # Its content counts, not where it lies.
            chosen["embedder"] = "precomputed"
        return chosen | {"threshold": self.similarity_threshold}


# Whether a setting changes the result of a run. Those that do not may be given to `resume`.
# `dataset`, `prompts` and `reuse` are places; what is found there is hashed by content.
IDENTITY: Mapping[str, bool] = MappingProxyType(
    {
        "dataset": False,
        "columns": True,
        "limit": True,
        "embedder": True,
        "topics": True,
        "per_cluster": True,
        "target_rows": True,
        "selection": True,
        "pairing": True,
        "threshold": True,
        "max_group_size": True,
        "seed": True,
        "model": True,
        "prompt": True,
        "prompts": False,
        "endpoint": True,
        "temperature": True,
        "max_output_tokens": True,
        "max_attempts": True,
        "base_url": False,
        "api_key_env": False,
        "rpm": False,
        "tpm": False,
        "max_in_flight": False,
        "timeout_s": False,
        "max_tries": False,
        "hedge": False,
        "allow_plain_http": False,
        "allow_network_fs": False,
        "reuse": False,
        "max_cost": False,
        "price_in": False,
        "price_out": False,
    }
)

PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # The published run's stage 1, temperature and tries. Its model is named as any other:
        # --model gpt-4o. Topics start as ours do, see docs/decisions/0004.
        "paper": {
            "embedder": "minilm",
            "per_cluster": 75,
            "selection": "euclidean",
            "pairing": "first_match",
            "threshold": 0.55,
            "max_group_size": 2,
            "seed": 42,
            "temperature": 0.25,
            "max_attempts": 4,
            "timeout_s": 80.0,
        }
    }
)


def absolute(path: Path) -> str:
    """The path as text from the root on; it must be text, as `run.toml` records it."""
    text = str(path.absolute())
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("the path is not valid UTF-8, rename it") from None
    return text


def build_settings(
    flags: Mapping[str, Any], *, config: Path | None = None, preset: str | None = None
) -> Settings:
    """Settings from flags, else the TOML file, else the environment, else the preset.

    Flags that are None count as not given. Raises `UsageError` for an unknown name, a value out
    of range, or a file that is no TOML.
    """
    from_file = read_config(config) if config else {}
    chosen_preset = preset or from_file.pop("preset", None)
    from_file.pop("preset", None)
    return checked(
        preset_values(chosen_preset)
        | environment_values()
        | from_file
        | {name: value for name, value in flags.items() if value is not None}
    )


def checked(values: Mapping[str, Any]) -> Settings:
    """`values` as Settings; a `UsageError` names the first value that does not fit."""
    values = {name: value for name, value in values.items() if not is_unset(name, value)} | {
        name: None for name, value in values.items() if is_unset(name, value)
    }
    try:
        return Settings(**values)
    except ValidationError as error:
        raise UsageError(describe(error)) from None


def change(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """`settings` with `changes`; raises `UsageError` for one that would alter the result."""
    for name in changes:
        if IDENTITY.get(name, False):
            raise UsageError(
                f"{option_name(name)} changes the result and cannot be given to resume; "
                "begin a new run with another --out and --reuse."
            )
    return checked(settings.model_dump() | dict(changes))


def is_unset(name: str, value: Any) -> bool:
    """Whether the text form says "no thinning": `per_cluster = "all"`."""
    return name == "per_cluster" and value == "all"


def describe(error: ValidationError) -> str:
    """The first problem of a validation as one sentence."""
    problem = error.errors()[0]
    if not problem["loc"]:
        return problem["msg"].removeprefix("Value error, ") + "."
    name = str(problem["loc"][0])
    if problem["type"] == "extra_forbidden":
        return f"There is no setting {name!r}; see `python -m mergeit_async run --help`."
    return f"{option_name(name)} {problem['input']!r} will not do: {problem['msg'].lower()}."


def preset_values(name: str | None) -> dict[str, Any]:
    """The settings of a preset; none for None."""
    if name is None:
        return {}
    if name not in PRESETS:
        raise UsageError(f"There is no preset {name!r}; there is {', '.join(PRESETS)}.")
    return dict(PRESETS[name])


def environment_values() -> dict[str, Any]:
    """The settings that the environment holds (never the key itself)."""
    base_url = os.environ.get("OPENAI_BASE_URL")
    return {"base_url": base_url} if base_url else {}


def read_config(path: Path) -> dict[str, Any]:
    """The settings of a TOML file; names as on the command line, dashes or underscores."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"Cannot read the config file {path}: {error}.") from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"The config file {path} is no valid TOML: {error}.") from None
    return {setting_name(key): value for key, value in values.items()}


def option_name(setting: str) -> str:
    """What a setting is called on the command line."""
    return "--" + setting.removesuffix("_s").replace("_", "-")


def setting_name(key: str) -> str:
    """The field that a key of the command line or a file stands for."""
    name = key.replace("-", "_")
    return "timeout_s" if name == "timeout" else name
