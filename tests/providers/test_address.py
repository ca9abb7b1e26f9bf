from __future__ import annotations

import pytest
from yarl import URL

from mergeit_async.errors import UsageError
from mergeit_async.providers.address import find_proxy, parse_api_key, parse_base_url


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        (" https://host/v1/ ", "https://host/v1"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("http://127.0.0.1:8000//", "http://127.0.0.1:8000"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
        ("https://host/api/v1/chat/completions", "https://host/api/v1"),
    ],
)
def test_a_base_url_has_one_spelling(text: str, expected: str) -> None:
    assert parse_base_url(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "host/v1",
        "localhost:8000/v1",
        "ftp://host/v1",
        "https://",
        "http://host:99999",
        "http://[",
    ],
)
def test_what_is_no_http_url_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"https://host/v1") as caught:
        parse_base_url(text)

    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["https://host/v1?key=1", "https://host/v1#top"])
def test_a_query_or_fragment_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="query"):
        parse_base_url(text)


@pytest.mark.parametrize("text", ["https://me:hidden@host/v1", "ftp://me:hidden@host"])
def test_a_password_in_the_url_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_base_url(text)

    assert "hidden" not in str(caught.value)


def test_a_key_is_taken_as_it_is() -> None:
    assert parse_api_key("sk-abc/=+") == "sk-abc/=+"


@pytest.mark.parametrize("text", [None, ""])
def test_an_empty_key_is_no_key(text: str | None) -> None:
    assert parse_api_key(text) is None


@pytest.mark.parametrize(
    "text", ["sk-abc\n", "sk-abc\r\nX: y", "sk abc", "sk-\x00abc", "sk-abc\u200b"]
)
def test_a_key_that_no_header_can_carry_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError, match="MY_KEY") as caught:
        parse_api_key(text, "MY_KEY")

    assert "abc" not in str(caught.value)


@pytest.fixture
def clean_env(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def test_without_proxy_settings_there_is_no_proxy(clean_env: pytest.MonkeyPatch) -> None:
    assert find_proxy(URL("https://host/v1")) is None


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "all_proxy"])
def test_the_proxy_of_the_scheme_is_found(clean_env: pytest.MonkeyPatch, name: str) -> None:
    clean_env.setenv(name, "proxy.example:3128")

    assert find_proxy(URL("https://host/v1")) == URL("http://proxy.example:3128")


@pytest.mark.parametrize("exempt", ["host", "host:443", "*"])
def test_an_exempt_host_has_no_proxy(clean_env: pytest.MonkeyPatch, exempt: str) -> None:
    clean_env.setenv("https_proxy", "http://proxy.example:3128")
    clean_env.setenv("no_proxy", exempt)

    assert find_proxy(URL("https://host/v1")) is None


def test_a_kind_of_proxy_that_cannot_be_used_is_refused(clean_env: pytest.MonkeyPatch) -> None:
    clean_env.setenv("all_proxy", "socks5://user:hidden@proxy.example:1080")

    with pytest.raises(UsageError, match="NO_PROXY") as caught:
        find_proxy(URL("https://host/v1"))

    assert "hidden" not in str(caught.value)
