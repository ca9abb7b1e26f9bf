"""The servers of a run as lanes: opened, checked, watched, and closed at the end."""

from __future__ import annotations

import os
import resource
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import product

import anyio

from mergeit_async.config import DEFAULT_KEY_ENV, OPENAI_BASE_URL, Settings
from mergeit_async.engine.estimate import check_room
from mergeit_async.engine.faults import RULES, stop_for
from mergeit_async.engine.lane import Ceilings, Lane
from mergeit_async.engine.limiter import Limiter
from mergeit_async.engine.prices import Prices, PriceSheet, find_price, sheets_of
from mergeit_async.engine.prompts import Prompts
from mergeit_async.engine.requests import Requests
from mergeit_async.errors import ProviderError, StoppedError, UsageError
from mergeit_async.providers.address import parse_api_key, parse_base_url
from mergeit_async.providers.http import HttpChat
from mergeit_async.records import ChatRequest, Group, Row
from mergeit_async.servers import Server

# How often a server that was taken out is asked whether it is there again, and how long a run
# waits when there is no other.
PROBE_EVERY_S = 2.0
PATIENCE_S = 30.0
# Files that a run holds open beside its connections, with room to spare.
OTHER_FILES = 256
# The smallest group there can be.
SMALLEST = Group(0, 0, "", (Row("", "", "", "", 0, 0),) * 2, 1.0)


@asynccontextmanager
async def open_lanes(settings: Settings, prices: Prices) -> AsyncIterator[list[Lane]]:
    """A lane to each server; those that are not there, or refuse their key, are out.

    Raises `StoppedError` when none is left.
    """
    allow_connections(settings)
    async with AsyncExitStack() as stack:
        lanes = []
        for server in settings.servers:
            provider = await stack.enter_async_context(open_chat(server, settings))
            lane = Lane(
                provider,
                ceilings_of(server),
                anyio.current_time(),
                name=server.url,
                prices=prices.get(server.url),
            )
            lane.is_out = True
            lanes.append(lane)
        await probe(lanes)
        if all(lane.is_out for lane in lanes):
            raise stop_for_all(lanes)
        yield lanes


def stop_for_all(lanes: Sequence[Lane]) -> StoppedError:
    """The end of a run that has no server left; a refusal tells more than silence."""
    faults = [lane.last_fault for lane in lanes if lane.last_fault]
    return stop_for(next((each for each in faults if RULES[each.kind].of_server), faults[0]))


def allow_connections(settings: Settings) -> None:
    """Raise this process's limit of open files for all calls that may be in flight.

    Raises `UsageError` where the system does not allow that.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    number = sum(server.max_in_flight or 1 for server in settings.servers)
    needed = number + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        if hard != resource.RLIM_INFINITY and hard < needed:
            raise UsageError(
                f"{number:,} requests in flight need as many open files, and this system allows "
                f"{hard:,}; lower --max-in-flight, or raise the limit (`ulimit -Hn`)."
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


async def watch_lanes(limiter: Limiter, stop: Callable[[Exception], None]) -> None:
    """Probe the lanes that are out, take them back when they answer; runs until cancelled.

    Calls `stop` when all of them have been out for a while.
    """
    alone_since: float | None = None
    while True:
        await anyio.sleep(PROBE_EVERY_S)
        await probe(limiter.lanes, limiter.grant)
        now = anyio.current_time()
        if not all(lane.is_out for lane in limiter.lanes):
            alone_since = None
        elif alone_since is None:
            alone_since = now
        elif now - alone_since >= PATIENCE_S:
            faults = "; ".join(f"{lane.name}: {lane.last_fault}" for lane in limiter.lanes)
            stop(StoppedError(f"None of the servers takes the work ({faults}); check them."))


async def probe(lanes: Sequence[Lane], on_back: Callable[[], None] = lambda: None) -> None:
    """Ask all lanes that are out at once, and take back those whose servers answer.

    One that refuses calls and answers probes all the same stays out until the run is resumed.
    """

    async def ask(lane: Lane) -> None:
        try:
            await lane.provider.check()
        except ProviderError as fault:
            fault.server = lane.name
            lane.missed(fault)
            return
        if not lane.is_wrong:
            lane.revive()
            on_back()

    async with anyio.create_task_group() as tasks:
        for lane in lanes:
            if lane.is_out:
                tasks.start_soon(ask, lane)


def open_chat(server: Server, settings: Settings) -> HttpChat:
    """The way to one server; raises `UsageError` for an unusable URL or key."""
    # As many connections as the limiter grants slots: how many that is may change in a run.
    return HttpChat(server.url, find_api_key(server), allow_plain_http=settings.allow_plain_http)


def prepare_servers(
    settings: Settings, prompts: Prompts | None, frozen: Prices | None = None
) -> Prices:
    """Check servers, keys and the cap, and find the prices; nothing where no model is asked."""
    if prompts is None:
        return {}
    check_servers(settings)
    return prepare_prices(settings, prompts, frozen or {})


def prepare_prices(settings: Settings, prompts: Prompts, frozen: Prices) -> Prices:
    """The prices as `find_prices` finds them.

    Raises `UsageError` also where the cap or the tokens a minute leave no room for a single call.
    """
    prices = find_prices(settings, frozen)
    smallest = smallest_request(settings, prompts)
    if smallest is not None:
        check_room(settings, smallest, sheets_of(prices, settings.model))
    return prices


def smallest_request(settings: Settings, prompts: Prompts) -> ChatRequest | None:
    """The request for the smallest group; None where a template wants more of a row than that."""
    with suppress(UsageError):
        return Requests(settings, prompts).merge(SMALLEST, 0)
    return None


def check_servers(settings: Settings) -> None:
    """Raise `UsageError` for what is known to be wrong with a server before a byte leaves."""
    urls = set()
    for server in settings.servers:
        open_chat(server, settings)
        urls.add(parse_base_url(server.url))
    if len(urls) < len(settings.servers):
        raise UsageError("--base-url names a server twice in two spellings; name each once.")


def find_api_key(server: Server) -> str | None:
    """The key from the environment; raises `UsageError` where one is needed and absent."""
    variable = server.api_key_env or DEFAULT_KEY_ENV
    key = parse_api_key(os.environ.get(variable), f"${variable}")
    is_needed = parse_base_url(server.url) == OPENAI_BASE_URL or variable != DEFAULT_KEY_ENV
    if key is None and is_needed:
        raise UsageError(
            f"There is no key in ${variable}; set it, or name your own server with --base-url, or "
            "use --model offline/compose, which needs none."
        )
    return key


def ceilings_of(server: Server) -> Ceilings:
    """What the user allows for a server."""
    return Ceilings(server.max_in_flight or 1, server.rpm, server.tpm)


def find_prices(settings: Settings, frozen: Prices) -> Prices:
    """Price sheets by server and model: as given, as frozen earlier, or as listed.

    Raises `UsageError` where there is a cap and no price.
    """
    prices: dict[str, dict[str, PriceSheet]] = {}
    for server, model in product(settings.servers, settings.models):
        sheet = given_price(settings, model) or frozen.get(server.url, {}).get(model)
        sheet = sheet or find_price(model, parse_base_url(server.url))
        if sheet is not None:
            prices.setdefault(server.url, {})[model] = sheet
        elif settings.max_cost is not None:
            prefix = "--" if model == settings.model else "--judge-"
            raise UsageError(
                f"There is no price for {model} at {server.url}, so --max-cost cannot be kept; "
                f"give {prefix}price-in and {prefix}price-out in US dollars per million tokens."
            )
    return prices


def given_price(settings: Settings, model: str) -> PriceSheet | None:
    """The price that the user gives for `model`, at all servers."""
    prompt, completion = settings.price_in, settings.price_out
    if model != settings.model:
        prompt, completion = settings.judge_price_in, settings.judge_price_out
    if prompt is None or completion is None:
        return None
    return PriceSheet(prompt, prompt, completion, "given")
