from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mergeit_async.config import Settings, build_settings
from mergeit_async.engine.estimate import (
    REPAIR_TOKENS,
    Estimate,
    Range,
    check_room,
    estimate_run,
)
from mergeit_async.engine.lanes import find_prices
from mergeit_async.engine.prices import PriceSheet
from mergeit_async.errors import UsageError
from mergeit_async.records import ChatRequest, Group, Row

OPENAI = "https://api.openai.com/v1"
OWN = "http://127.0.0.1:9/v1"


def settings(**flags: Any) -> Settings:
    base = {"dataset": Path("rows.jsonl"), "model": "gpt-4o-mini", "base_url": OPENAI}
    return build_settings(base | {"max_attempts": 3} | flags)


def groups(count: int, output: str = "x" * 400) -> list[Group]:
    rows = tuple(Row(str(place), "Say it.", "", output, place, place + 1) for place in range(2))
    return [Group(position, 0, str(position), rows, 0.9) for position in range(count)]


class Requests:
    """Requests of 1,000 prompt tokens that allow 300 in reply; scores of 100 that allow 10."""

    def __init__(self, can_repair: bool = False, has_notes: bool = False) -> None:
        self.can_repair = can_repair
        self.has_notes = has_notes

    def merge(self, group: Group, sample: int) -> ChatRequest:
        return ChatRequest(f"{group.id} {sample}", "m", (), 0.0, 300, sample, 1000)

    def score(self, row: Row, sample: int) -> ChatRequest:
        return ChatRequest(f"{row.id} {sample}", "judge", (), 0.0, 10, sample, 100)


def estimate(
    count: int, output: str = "x" * 400, *, can_repair: bool = False, **flags: Any
) -> Estimate:
    chosen = settings(**flags)
    prices = find_prices(chosen, {})
    return estimate_run(groups(count, output), Requests(can_repair), chosen, prices)


def test_calls_and_prompt_tokens_range_from_one_reply_a_group_to_every_attempt():
    result = estimate(10)
    assert result.calls == Range(10, 30)
    assert result.prompt_tokens == Range(10_000, 30_000)


def test_a_repair_shows_the_attempt_again():
    plain, repairing = estimate(10), estimate(10, can_repair=True)
    assert repairing.calls == plain.calls
    assert repairing.prompt_tokens.low == plain.prompt_tokens.low
    more = repairing.prompt_tokens.high - plain.prompt_tokens.high
    assert more == 10 * 2 * (300 + REPAIR_TOKENS)


def test_notes_are_likely_to_be_as_long_as_the_merge():
    prices = find_prices(settings(), {})
    plain, noted = (
        estimate_run(groups(10), Requests(has_notes=notes), settings(), prices)
        for notes in (False, True)
    )
    assert noted.calls == plain.calls
    assert noted.completion_tokens.low == min(300 * 10, 2 * plain.completion_tokens.low)
    assert noted.completion_tokens.low > plain.completion_tokens.low


def test_a_judge_scores_each_source_and_merge_and_each_sample_of_them_at_most():
    plain, judged = estimate(10), estimate(10, judge="gpt-4o")
    assert judged.calls.low - plain.calls.low == 10 * 3
    assert judged.calls.high - plain.calls.high == 10 * 5 * (2 + 3)
    assert judged.prompt_tokens.low - plain.prompt_tokens.low == 10 * (200 + 200)
    assert judged.cost_usd.low > plain.cost_usd.low


def test_the_cost_is_unknown_where_the_judge_has_no_price():
    assert estimate(10, judge="a-model-of-ones-own").cost_usd is None


def test_replies_range_from_the_length_of_their_sources_to_all_that_is_allowed():
    result = estimate(10)
    assert 10 * 200 <= result.completion_tokens.low <= 10 * 210
    assert result.completion_tokens.high == 10 * 3 * 300


def test_no_reply_is_expected_to_be_longer_than_allowed():
    assert estimate(10, output="x" * 40_000).completion_tokens.low == 10 * 300


def test_the_cost_grows_with_the_work_and_is_higher_for_a_dearer_model():
    one, ten, dear = estimate(1), estimate(10), estimate(10, model="gpt-4o")
    assert ten.cost_usd.low == pytest.approx(10 * one.cost_usd.low)
    assert 0 < ten.cost_usd.low < ten.cost_usd.high < dear.cost_usd.high


@pytest.mark.parametrize("flags", [{"base_url": OWN}, {"model": "a-model-of-ones-own"}])
def test_a_server_or_model_without_a_list_price_has_no_cost(flags):
    assert estimate(10, **flags).cost_usd is None


@pytest.mark.parametrize(
    ("limit", "low_s", "high_s"),
    [
        ({"rpm": 60}, 10_000, 30_000),
        # 10,000 × (1,000 + about 204) and three times that, at a million a minute
        ({"tpm": 1_000_000}, 722, 2167),
    ],
)
def test_the_time_is_what_the_tightest_limit_asks_for(limit, low_s, high_s):
    seconds = estimate(10_000, max_in_flight=10_000, **limit).seconds
    assert seconds.low == pytest.approx(low_s, rel=0.01)
    assert seconds.high == pytest.approx(high_s, rel=0.01)


def test_twice_the_places_in_flight_halve_the_time():
    few, many = (estimate(10_000, max_in_flight=places).seconds for places in (32, 64))
    assert few.low == pytest.approx(2 * many.low)
    assert few.high == pytest.approx(2 * many.high)
    assert many.low < many.high


def test_servers_add_up_what_each_of_them_takes():
    places = {"max_in_flight": 100, "rpm": 60}
    one, two = (estimate(10_000, base_url=urls, **places) for urls in ((OWN,), (OWN, OWN + "/2")))
    assert one.seconds.low == pytest.approx(10_000)
    assert two.seconds.low == pytest.approx(5_000)
    free = estimate(10_000, base_url=(OWN, OWN + "/2,rpm=1000000"), **places)
    assert free.seconds.low < 1000


def test_the_cost_ranges_from_the_cheapest_to_the_dearest_price():
    prices = {
        "http://a/v1": {"gpt-4o-mini": PriceSheet(1.0, 1.0, 10.0, "given")},
        "http://b/v1": {"gpt-4o-mini": PriceSheet(2.0, 2.0, 20.0, "given")},
    }
    cost = estimate_run(groups(1000), Requests(), settings(), prices).cost_usd
    tokens = estimate(1000)
    assert cost.low == pytest.approx(1.0 + tokens.completion_tokens.low * 10 / 1e6)
    assert cost.high == pytest.approx(3 * (2.0 + 1000 * 300 * 20 / 1e6))


def test_a_cap_below_one_call_is_refused_and_one_that_allows_a_call_is_not():
    prices = [PriceSheet(0.0, 0.0, 100.0, "given"), PriceSheet(0.0, 0.0, 1000.0, "given")]
    request = Requests().merge(groups(1)[0], 0)

    # What is reserved is what the dearest server may ask.
    with pytest.raises(UsageError, match=r"--max-cost 0\.29 is less than .*\$0\.300000"):
        check_room(settings(max_cost=0.29), request, prices)
    check_room(settings(max_cost=0.3), request, prices)


def test_tokens_a_minute_below_one_request_are_refused_before_anything_is_sent():
    request = Requests().merge(groups(1)[0], 0)

    with pytest.raises(UsageError, match=r"--tpm 1299 .*1,300 tokens"):
        check_room(settings(tpm=1299), request, [])
    check_room(settings(tpm=1300), request, [])


def test_no_run_is_faster_than_one_of_its_calls():
    alone = estimate(1, max_in_flight=1, max_attempts=1).seconds
    assert estimate(1, max_in_flight=64, max_attempts=1).seconds == alone


def test_a_plan_without_groups_takes_nothing():
    result = estimate(0, rpm=60, tpm=1000)
    nothing = Range(0, 0)
    assert (result.calls, result.completion_tokens, result.cost_usd) == (nothing,) * 3
    assert result.seconds == nothing
