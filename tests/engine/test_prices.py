from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergeit_async.engine.prices import PriceSheet, find_price
from mergeit_async.records import ChatReply, ChatRequest, Message

OPENAI = "https://api.openai.com/v1"
SHEET = PriceSheet(prompt=2.0, cached=0.5, completion=8.0, source="given")


def reply(prompt: int | None, completion: int | None, cached: int | None = None) -> ChatReply:
    return ChatReply("", "stop", prompt, completion, cached)


def test_a_reply_costs_its_tokens_and_cached_ones_are_cheaper():
    million = 1_000_000
    assert SHEET.cost(reply(million, million)) == pytest.approx(10.0)
    assert SHEET.cost(reply(million, 0, cached=million // 2)) == pytest.approx(1.25)
    assert SHEET.cost(reply(million, 0, cached=million)) == pytest.approx(0.5)


@pytest.mark.parametrize("counts", [(None, None), (None, 5), (5, None)])
def test_a_reply_without_a_report_has_no_known_cost(counts):
    assert SHEET.cost(reply(*counts)) is None


def test_more_cached_tokens_than_there_are_count_as_all():
    assert SHEET.cost(reply(100, 0, cached=10**6)) == pytest.approx(100 * 0.5e-6)


RATES = st.floats(0, 1000)


@given(
    sheet=st.builds(PriceSheet, prompt=RATES, cached=RATES, completion=RATES, source=st.just("x")),
    texts=st.lists(st.text(), min_size=1, max_size=5),
    max_tokens=st.integers(1, 100_000),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1)),
)
def test_no_reply_within_its_limits_costs_more_than_the_ceiling(sheet, texts, max_tokens, shares):
    messages = tuple(Message("user", text) for text in texts)
    request = ChatRequest("k", "m", messages, 0.0, max_tokens, 0, 1)
    # A token is a byte at least, and a chat format adds a few around each turn.
    most = sum(len(text.encode(errors="replace")) + 8 for text in texts)
    prompt, completion, cached = (
        int(share * limit) for share, limit in zip(shares, (most, max_tokens, most), strict=True)
    )
    cost = sheet.cost(reply(prompt, completion, cached))
    assert cost <= sheet.ceiling(request) * (1 + 1e-12)


def test_a_list_price_is_found_by_the_address_of_its_vendor():
    mini, large = find_price("gpt-4o-mini", OPENAI), find_price("gpt-4o", OPENAI)
    assert mini.source == "genai-prices"
    assert 0 < mini.cached < mini.prompt < mini.completion
    assert (large.prompt, large.completion) > (mini.prompt, mini.completion)
    assert find_price("deepseek-chat", "https://api.deepseek.com/v1") is not None


@pytest.mark.parametrize(
    ("model", "url"),
    [
        ("gpt-4o", "http://127.0.0.1:8000/v1"),
        ("gpt-4o", "https://gateway.example/openai/v1"),
        ("gpt-4o", "https://api.openai.com.gateway.example/v1"),
        ("gpt-4o", "https://gateway.example/https://api.openai.com/v1"),
        ("deepseek-chat", OPENAI),
        ("a-model-of-ones-own", OPENAI),
    ],
)
def test_a_model_has_no_price_by_its_name_alone(model, url):
    assert find_price(model, url) is None
