from __future__ import annotations

from pathlib import Path

import pytest

from mergeit_async.config import build_settings
from mergeit_async.engine.lanes import check_servers
from mergeit_async.errors import UsageError
from mergeit_async.servers import Server, parse_server

URL = "https://host.example:8443/v1"


@pytest.mark.parametrize(
    ("text", "server"),
    [
        (URL, Server(URL)),
        (f" {URL} ", Server(URL)),
        (f"{URL},rpm=600", Server(URL, rpm=600)),
        (
            f"{URL}, tpm=90000, in-flight=32, key-env=MY_KEY, rpm=1",
            Server(URL, "MY_KEY", 1, 90_000, 32),
        ),
    ],
)
def test_a_server_is_its_url_and_what_is_said_after_it(text, server):
    assert parse_server(text) == server


@pytest.mark.parametrize(
    "option",
    [
        "rpm=0",
        "rpm=-5",
        "rpm=1.5",
        "rpm=",
        "rpm",
        "tpm=many",
        "in-flight=0",
        "max-in-flight=3",
        "key-env=",
        "key=sk-123",
        "",
        "rpm=60 tpm=60",
        "RPM=60",
    ],
)
def test_anything_else_after_the_url_is_refused_and_named(option):
    with pytest.raises(UsageError, match="--base-url") as refused:
        parse_server(f"{URL},{option}")
    assert option.partition("=")[0] in str(refused.value)


def test_a_key_that_is_given_by_mistake_is_not_shown():
    with pytest.raises(UsageError) as refused:
        parse_server("https://me:s3cret@host.example/v1,key=s3cret")
    assert "s3cret" not in str(refused.value)


def test_one_server_in_two_spellings_is_refused():
    urls = ["http://localhost:9/v1", "http://localhost:9/v1/chat/completions"]
    settings = build_settings({"dataset": Path("rows"), "model": "m", "base_url": urls})

    with pytest.raises(UsageError, match="twice in two spellings"):
        check_servers(settings)
