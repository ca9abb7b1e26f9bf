"""The options that commands share, declared once, and how they become settings."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from mergeit_async.config import Settings, build_settings
from mergeit_async.data.normalise import parse_columns
from mergeit_async.defaults import setting_name
from mergeit_async.errors import UsageError


def plan_options(
    preset: Annotated[str | None, Option(help="Start from a set of choices: paper.")] = None,
    config: Annotated[Path | None, Option(help="Settings as TOML; flags beat it.")] = None,
    columns: Annotated[
        str | None,
        Option(help="Names of your columns: instruction=prompt,output=response."),
    ] = None,
    limit: Annotated[int | None, Option(help="Only the first N records.")] = None,
    embedder: Annotated[
        str | None,
        Option(help="wordllama (default), minilm[:PATH], or vectors in a .npy file."),
    ] = None,
    topics: Annotated[
        int | None,
        Option(help="Number of topics; default: sqrt(rows / 2)."),
    ] = None,
    clustering: Annotated[
        str | None,
        Option(help="Topics from smoothed rows (stabler), or the paper's plain kmeans."),
    ] = None,
    per_cluster: Annotated[
        str | None,
        Option(help="Rows kept per topic, on average where --selection is global, or all."),
    ] = None,
    target_rows: Annotated[
        int | None,
        Option(help="Rows kept in all, instead of --per-cluster."),
    ] = None,
    selection: Annotated[
        str | None,
        Option(help="Thinning: global, or in each topic by cosine or euclidean."),
    ] = None,
    pairing: Annotated[
        str | None,
        Option(
            help="absorb: rows kept take in those left out; best_first: only rows kept; "
            "first_match: the paper's."
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        Option(help="Cosine above which rows may be merged."),
    ] = None,
    max_group_size: Annotated[int | None, Option(help="Rows merged into one, at most.")] = None,
    seed: Annotated[int | None, Option(help="Seed of topics.")] = None,
) -> None:
    """Options that decide the plan."""


def merge_options(
    model: Annotated[
        str | None,
        Option(help="offline/compose (no key, default) or a model your server offers."),
    ] = None,
    prompt: Annotated[str | None, Option(help="Prompt version; default merge/v1.")] = None,
    prompts: Annotated[Path | None, Option(help="Directory of your own prompts.")] = None,
    temperature: Annotated[float | None, Option(help="Default: the prompt's own.")] = None,
    max_output_tokens: Annotated[int | None, Option(help="Ceiling of one reply.")] = None,
    max_attempts: Annotated[
        int | None,
        Option(help="Replies judged per group, then originals stay."),
    ] = None,
    min_information: Annotated[
        float | None,
        Option(help="Least that a merge keeps of each source, 0 to 1; 0: not looked at."),
    ] = None,
    repair: Annotated[
        str | None,
        Option(help="Prompt that asks for what is missing, default repair/v1; none: ask anew."),
    ] = None,
    judge: Annotated[
        str | None, Option(help="Model that scores; a merge has to beat its sources.")
    ] = None,
    judge_prompt: Annotated[
        str | None, Option(help="Prompt of the judge; default judge/v1.")
    ] = None,
    structured_output: Annotated[
        str | None,
        Option(help="json_schema, json_object, text; default auto: what the server takes."),
    ] = None,
) -> None:
    """Options that decide what a merge is."""


def transport_options(
    base_url: Annotated[
        list[str] | None,
        Option(
            help="Any OpenAI-compatible server, up to /v1; again for several, each with limits of "
            "its own if need be: URL,rpm=600,tpm=90000,in-flight=32,key-env=NAME."
        ),
    ] = None,
    api_key_env: Annotated[str | None, Option(help="Variable that holds the key.")] = None,
    rpm: Annotated[int | None, Option(help="Requests a minute, for each server.")] = None,
    tpm: Annotated[int | None, Option(help="Tokens a minute, for each server.")] = None,
    max_in_flight: Annotated[
        int | None, Option(help="Requests at once, at most, for each server; default 64.")
    ] = None,
    timeout: Annotated[
        float | None, Option(help="Seconds for one whole call, at most; default 80.")
    ] = None,
    max_tries: Annotated[int | None, Option(help="Sends of one request on faults.")] = None,
    hedge: Annotated[
        bool | None, Option(help="Send calls that take unusually long a second time.")
    ] = None,
    max_cost: Annotated[float | None, Option(help="Hard cap in US dollars.")] = None,
    price_in: Annotated[
        float | None, Option(help="US dollars per million prompt tokens, not the list price.")
    ] = None,
    price_out: Annotated[
        float | None, Option(help="US dollars per million completion tokens.")
    ] = None,
    judge_price_in: Annotated[
        float | None, Option(help="The same for the judge, where its model is another.")
    ] = None,
    judge_price_out: Annotated[
        float | None, Option(help="US dollars per million completion tokens of the judge.")
    ] = None,
    allow_plain_http: Annotated[
        bool | None, Option(help="Send the key over http:// to another host, unencrypted.")
    ] = None,
    allow_network_fs: Annotated[
        bool | None, Option(help="Keep the run on a network file system all the same.")
    ] = None,
    reuse: Annotated[
        Path | None,
        Option(help="Another run whose paid replies count, or none."),
    ] = None,
) -> None:
    """Options that change how fast and where, never what comes out."""


def tuning_options(
    rpm: Annotated[int | None, Option(help="Requests a minute, for each server.")] = None,
    tpm: Annotated[int | None, Option(help="Tokens a minute, for each server.")] = None,
    max_in_flight: Annotated[
        int | None, Option(help="Requests at once, at most, for each server.")
    ] = None,
    max_cost: Annotated[float | None, Option(help="Hard cap in US dollars.")] = None,
    timeout: Annotated[float | None, Option(help="Seconds for one whole call, at most.")] = None,
) -> None:
    """Options that a running job takes."""


def simulator_options(
    port: Annotated[int | None, Option(help="0: any free port.")] = None,
    latency: Annotated[float | None, Option(help="Median seconds to an answer.")] = None,
    latency_sigma: Annotated[float | None, Option(help="Log-normal spread; 0: constant.")] = None,
    rpm: Annotated[float | None, Option(help="Requests a minute.")] = None,
    tpm: Annotated[float | None, Option(help="Tokens a minute.")] = None,
    tpm_charge: Annotated[str | None, Option(help="prompt+max or reported.")] = None,
    burst: Annotated[float | None, Option(help="Seconds' worth that limits hold.")] = None,
    max_concurrent: Annotated[int | None, Option(help="More at once are refused.")] = None,
    rate_headers: Annotated[bool | None, Option(help="Tell about limits in headers.")] = None,
    retry_after_style: Annotated[
        str | None, Option(help="How a 429 asks to wait: seconds, date, ms, none, week.")
    ] = None,
    prompt_cache: Annotated[bool | None, Option(help="Report cached prompt tokens.")] = None,
    fault_rate: Annotated[float | None, Option(help="Share of calls that fail.")] = None,
    fault: Annotated[list[str] | None, Option(help="KIND=RATE, more often if need be.")] = None,
    fault_retry_after: Annotated[
        float | None, Option(help="Seconds that an injected 429 asks for.")
    ] = None,
    content_fault_rate: Annotated[float | None, Option(help="Share of bad merges.")] = None,
    flaw_rate: Annotated[
        float | None, Option(help="Share of merges that look right and are not.")
    ] = None,
    repair_failure_rate: Annotated[
        float | None, Option(help="Share of repairs that are flawed again.")
    ] = None,
    structured: Annotated[
        str | None,
        Option(help="Takes response_format: json_schema, json_object, none, ignored, broken."),
    ] = None,
    logprobs: Annotated[
        str | None, Option(help="Log-probabilities: offered, refused, ignored.")
    ] = None,
    judge_fault: Annotated[
        list[str] | None, Option(help="KIND=RATE of judges' answers, more often if need be.")
    ] = None,
    hang: Annotated[float | None, Option(help="Seconds that an injected hang lasts.")] = None,
    api_key: Annotated[str | None, Option(help="Refuse any other key.")] = None,
    seed: Annotated[int | None, Option(help="Seed of faults and answers.")] = None,
) -> None:
    """Options of the simulated server; their defaults are those of `SimulatorSettings`."""


def simulator_values(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the simulator that were given, by the names of its settings."""
    in_seconds = ("latency", "burst", "hang", "fault_retry_after")
    values = {
        f"{name}_s" if name in in_seconds else name: value
        for name, value in options.items()
        if value is not None
    }
    return values | {
        "faults": parse_rates(values.pop("fault", ())),
        "judge_faults": parse_rates(values.pop("judge_fault", ()), "--judge-fault"),
    }


def with_options(
    *shared: Callable[..., None],
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command that takes `**options` the parameters of `shared` as options."""

    def declare(command: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(command, eval_str=True).parameters.values()
        more = [
            parameter
            for options in shared
            for parameter in inspect.signature(options, eval_str=True).parameters.values()
        ]
        named = [p for p in own if p.kind is not p.VAR_KEYWORD] + more
        signature = inspect.Signature([p.replace(kind=p.KEYWORD_ONLY) for p in named])
        command.__signature__ = signature  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in named}
        return command

    return declare


def settings_from(dataset: Path, options: Mapping[str, Any]) -> Settings:
    """Settings from the options of `run` or `plan`."""
    values = setting_values(options)
    config, preset = values.pop("config", None), values.pop("preset", None)
    return build_settings(values | {"dataset": dataset}, config=config, preset=preset)


def setting_values(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, by the names of settings and in their types."""
    values = {setting_name(name): value for name, value in options.items() if value is not None}
    if not values.get("base_url", True):  # typer's way of saying that it was not given
        del values["base_url"]
    if "columns" in values:
        values["columns"] = parse_columns(values["columns"])
    if values.get("reuse") == Path("none"):
        values["reuse"] = None
    if "per_cluster" in values:
        values["per_cluster"] = parse_per_cluster(values["per_cluster"])
    return values


def parse_per_cluster(text: str) -> int | str:
    """A number of rows, or `all`."""
    if text == "all":
        return text
    try:
        return int(text)
    except ValueError:
        raise UsageError(f"--per-cluster {text!r} is neither a number nor all.") from None


def parse_rates(texts: Sequence[str], option: str = "--fault") -> dict[str, float]:
    """`["server=0.1", "hang=0.01"]`, given by this option, as rates by kind."""
    rates = {}
    for text in texts:
        kind, _, rate = text.partition("=")
        try:
            rates[kind] = float(rate)
        except ValueError:
            raise UsageError(f"{option} {text!r} is not KIND=RATE, such as server=0.1.") from None
    return rates
