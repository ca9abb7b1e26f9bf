"""The settings of a run: what they mean, their defaults, and which of them change its result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from mergeit_async.defaults import environment_values, preset_values, read_config
from mergeit_async.errors import UsageError
from mergeit_async.servers import Server, parse_server

OFFLINE_PREFIX = "offline/"
COMPOSE_MODEL = "offline/compose"
OPENAI_BASE_URL = "https://api.openai.com/v1"
DEFAULT_KEY_ENV = "OPENAI_API_KEY"

# The paper's 0.55 is a MiniLM cosine; other embedders have another scale (bench/filtering.py).
MINILM_THRESHOLD = 0.55
WORDLLAMA_THRESHOLD = 0.60
# The least that a merge keeps of each source: tuned on bench/gate/dev.jsonl (bench/gate.py).
MIN_INFORMATION = 0.46
NO_REPAIR = "none"
JUDGE_PROMPT = "judge/v1"

StructuredOutput = Literal["auto", "json_schema", "json_object", "text"]
AtLeastOne = Annotated[int, Field(ge=1)]
Rate = Annotated[int, Field(ge=1)]
Dollars = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Settings(BaseModel):
    """Everything a run is told. Text forms in files and flags are parsed and checked here.

    Stage 1: `embedder` is wordllama, minilm[:PATH] or the path of a .npy file; `topics` is the
    number of topics (None: floor(sqrt(n / 2)), as in the paper); `clustering` whether k-means sees
    each row smoothed over its neighbours or as it is; `per_cluster` the rows a topic keeps (None:
    all); `target_rows` the rows kept over all topics instead; `threshold` the cosine above which
    rows may be merged. `selection` and `pairing` are explained in `filtering.topic_plan`.

    Stage 2: `model` is offline/compose or the name a server knows; `max_attempts` the replies
    judged per group before its originals stay; `temperature` and
    `max_output_tokens`, the ceiling of one reply, are the prompt's own where they are None.
    `structured_output` is how the form of a reply is asked for (auto: the strictest that the
    servers take, found by asking them). `min_information` is the least share of each source that
    a merge has to keep, as `merging.information` scores it; 0 switches that gate off. `repair`
    names the prompt that asks for what is missing; none asks for another merge instead. `judge`
    is the model that scores merges and their sources with the prompt `judge_prompt`.

    Transport: `base_url` names one server or several (see `servers.parse_server`), `rpm` and
    `tpm` are requests and tokens a minute for each (None: not limited), `timeout_s` the most
    seconds a whole call may take, `max_tries` how often one request is sent on faults. `hedge`
    sends calls that take unusually long a second time.

    Money: `max_cost` is a hard cap in US dollars, `price_in` and `price_out` are US dollars per
    million tokens instead of the list price, for the judge `judge_price_in` and `judge_price_out`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: Path
    columns: dict[str, str] = Field(default_factory=dict)
    limit: AtLeastOne | None = None

    embedder: str = "wordllama"
    topics: AtLeastOne | None = None
    per_cluster: AtLeastOne | None = 75
    target_rows: AtLeastOne | None = None
    clustering: Literal["smoothed", "kmeans"] = "smoothed"
    selection: Literal["global", "cosine", "euclidean"] = "global"
    pairing: Literal["absorb", "best_first", "first_match"] = "absorb"
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
    structured_output: StructuredOutput = "auto"
    min_information: Annotated[float, Field(ge=0, le=1)] = MIN_INFORMATION
    repair: Annotated[str, Field(min_length=1)] = "repair/v1"
    judge: Annotated[str, Field(min_length=1)] | None = None
    judge_prompt: str = JUDGE_PROMPT

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
    judge_price_in: Price | None = None
    judge_price_out: Price | None = None

    @model_validator(mode="after")
    def _check_model(self) -> Self:
        if self.model.startswith(OFFLINE_PREFIX) and self.model != COMPOSE_MODEL:
            raise ValueError(
                f"there is no offline model {self.model!r}; use {COMPOSE_MODEL}, or the name of a "
                "model your server offers"
            )
        return self

    @model_validator(mode="after")
    def _check_judge(self) -> Self:
        if self.judge and self.is_offline:
            raise ValueError("--judge scores what a model writes; name that with --model")
        if self.judge is None and self.judge_prompt != JUDGE_PROMPT:
            raise ValueError("--judge-prompt is for a judge; name its model with --judge")
        if self.judge is None and self.judge_price_in is not None:
            raise ValueError("--judge-price-in is for a judge; name its model with --judge")
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
        if (self.judge_price_in is None) != (self.judge_price_out is None):
            raise ValueError("--judge-price-in and --judge-price-out go together; give both")
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
    def models(self) -> tuple[str, ...]:
        """The models that are asked: the one that merges, and the judge if there is one."""
        return (self.model, self.judge) if self.judge else (self.model,)

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
        "clustering": True,
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
        "structured_output": True,
        "min_information": True,
        "repair": True,
        "judge": True,
        "judge_prompt": True,
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
        "judge_price_in": False,
        "judge_price_out": False,
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


def option_name(setting: str) -> str:
    """What a setting is called on the command line."""
    return "--" + setting.removesuffix("_s").replace("_", "-")
