from __future__ import annotations

import inspect
import socket
import ssl
from asyncio import IncompleteReadError

import aiohttp
import orjson
import pytest
from aiohttp import client_exceptions, http_exceptions
from hypothesis import given
from hypothesis import strategies as st

from mergeit_async.errors import FaultKind
from mergeit_async.providers.answer import BadAnswer
from mergeit_async.providers.fault_kinds import (
    CLIENT_FAILURES,
    EXCERPT_CHARS,
    classify_failure,
    classify_status,
    excerpt,
)

# Of websockets, which are not used here.
WEBSOCKET_ERRORS = {client_exceptions.WSMessageTypeError}
AIOHTTP_ERRORS: set[type[Exception]] = {
    error
    for module in (client_exceptions, http_exceptions)
    for _, error in inspect.getmembers(module, inspect.isclass)
    if issubclass(error, Exception) and error.__module__ == module.__name__
}
SYSTEM_ERRORS: set[type[Exception]] = {
    OSError,
    ConnectionResetError,
    BrokenPipeError,
    TimeoutError,
    ssl.SSLError,
    ssl.SSLCertVerificationError,
    socket.gaierror,
    IncompleteReadError,
    BadAnswer,
    UnicodeDecodeError,
    UnicodeEncodeError,
    orjson.JSONDecodeError,
}


def error_body(**members: object) -> bytes:
    return orjson.dumps({"error": {"message": "no", "type": "t", "param": None, **members}})


@pytest.mark.parametrize(
    "error_type",
    sorted((AIOHTTP_ERRORS | SYSTEM_ERRORS) - WEBSOCKET_ERRORS, key=lambda error: error.__name__),
)
def test_every_error_of_the_client_is_caught_and_has_a_kind(error_type: type[Exception]) -> None:
    error = error_type.__new__(error_type)

    assert issubclass(error_type, CLIENT_FAILURES)
    assert classify_failure(error) in FaultKind


@pytest.mark.parametrize(
    ("error_type", "kind"),
    [
        (TimeoutError, FaultKind.TIMEOUT),
        (aiohttp.ServerTimeoutError, FaultKind.TIMEOUT),
        (aiohttp.ServerDisconnectedError, FaultKind.CONNECTION),
        (aiohttp.ClientConnectorDNSError, FaultKind.CONNECTION),
        (aiohttp.ClientConnectorCertificateError, FaultKind.CONNECTION),
        (aiohttp.ClientPayloadError, FaultKind.CONNECTION),
        (ConnectionResetError, FaultKind.CONNECTION),
        (BadAnswer, FaultKind.MALFORMED),
        (aiohttp.ClientResponseError, FaultKind.MALFORMED),
        (http_exceptions.TransferEncodingError, FaultKind.MALFORMED),
        (UnicodeDecodeError, FaultKind.MALFORMED),
    ],
)
def test_errors_of_the_client_have_the_kind_of_their_cause(
    error_type: type[Exception], kind: FaultKind
) -> None:
    assert classify_failure(error_type.__new__(error_type)) is kind


@pytest.mark.parametrize("error_type", [TypeError, AttributeError, AssertionError, RuntimeError])
def test_mistakes_in_our_own_code_are_not_caught(error_type: type[Exception]) -> None:
    assert not issubclass(error_type, CLIENT_FAILURES)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (0, FaultKind.MALFORMED),
        (101, FaultKind.MALFORMED),
        (302, FaultKind.BAD_REQUEST),
        (400, FaultKind.BAD_REQUEST),
        (401, FaultKind.AUTH),
        (402, FaultKind.QUOTA),
        (403, FaultKind.AUTH),
        (404, FaultKind.NOT_FOUND),
        (405, FaultKind.BAD_REQUEST),
        (408, FaultKind.TIMEOUT),
        (409, FaultKind.SERVER),
        (407, FaultKind.CONNECTION),
        (410, FaultKind.NOT_FOUND),
        (413, FaultKind.CONTEXT_LENGTH),
        (422, FaultKind.BAD_REQUEST),
        (425, FaultKind.SERVER),
        (429, FaultKind.RATE_LIMIT),
        (500, FaultKind.SERVER),
        (501, FaultKind.NOT_FOUND),
        (502, FaultKind.SERVER),
        (503, FaultKind.SERVER),
        (504, FaultKind.SERVER),
        (529, FaultKind.SERVER),
    ],
)
def test_a_status_alone_has_a_kind(status: int, kind: FaultKind) -> None:
    assert classify_status(status, b"<html>") is kind


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (429, error_body(code="insufficient_quota"), FaultKind.QUOTA),
        (429, error_body(type="insufficient_quota"), FaultKind.QUOTA),
        (429, error_body(code="rate_limit_exceeded"), FaultKind.RATE_LIMIT),
        (400, error_body(code="context_length_exceeded"), FaultKind.CONTEXT_LENGTH),
        (
            400,
            orjson.dumps({"message": "This model's maximum context length is 4096 tokens."}),
            FaultKind.CONTEXT_LENGTH,
        ),
        (413, b"prompt is too long: 9 tokens", FaultKind.CONTEXT_LENGTH),
        (400, error_body(code="content_filter"), FaultKind.CONTENT_FILTER),
        (
            400,
            error_body(code=None, innererror={"code": "ResponsibleAIPolicyViolation"}),
            FaultKind.CONTENT_FILTER,
        ),
        (400, error_body(code="invalid_value"), FaultKind.BAD_REQUEST),
        (400, error_body(code=400), FaultKind.BAD_REQUEST),
        (400, b'["error"]', FaultKind.BAD_REQUEST),
        (400, b'{"error": "content_filter is not a known field"}', FaultKind.BAD_REQUEST),
    ],
)
def test_the_body_of_an_error_refines_its_kind(status: int, body: bytes, kind: FaultKind) -> None:
    assert classify_status(status, body) is kind


def test_an_excerpt_is_one_line_of_limited_length_without_control_characters() -> None:
    assert excerpt("  <p>\r\n  red \x1b[31m\tline </p>\x00") == "<p> red [31m line </p>"
    assert len(excerpt("word " * 1000)) == EXCERPT_CHARS


@given(before=st.text(), after=st.text(), secret=st.text(st.characters(codec="ascii"), min_size=8))
def test_an_excerpt_never_holds_the_secret(before: str, after: str, secret: str) -> None:
    shown = excerpt(f"{before}{secret}{after}", secret)

    assert secret not in shown


@pytest.mark.parametrize("spelling", ['a/b"c', 'a\\/b"c', 'a/b\\"c'])
def test_a_secret_is_found_in_its_json_spellings(spelling: str) -> None:
    assert excerpt(f"key {spelling}!", 'a/b"c') == "key ***!"


def test_a_request_above_the_whole_limit_of_a_minute_is_too_long_and_not_too_early():
    body = (
        b'{"error": {"message": "Request too large for m on tokens per min: Limit 3, Requested 4"}}'
    )
    assert classify_status(429, body) is FaultKind.CONTEXT_LENGTH
