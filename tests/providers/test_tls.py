from __future__ import annotations

import asyncio
import gc
import ssl
from pathlib import Path

import pytest

from mergeit_async.errors import FaultKind, ProviderError, UsageError
from mergeit_async.providers.http import HttpChat
from mergeit_async.providers.tls import build_tls_context
from tests.providers.conftest import Certificate
from tests.providers.raw_server import GOOD, KEY, SILENCE, Seen, http, listen, raw_server, request

Chat = type[HttpChat]


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
async def test_a_server_is_trusted_whose_authority_the_environment_names(
    chat_type: Chat, certificate: Certificate, direct: pytest.MonkeyPatch, name: str
) -> None:
    direct.setenv(name, str(certificate.path))
    async with raw_server(http(GOOD), keep=True, tls=certificate.server) as seen:
        async with chat_type(seen.url, KEY) as chat:
            replies = [await chat.complete(request("x" * 2**20), 5) for _ in range(3)]
        await asyncio.sleep(0.02)
        assert not seen.open

    assert [reply.text for reply in replies] == ["hello"] * 3
    assert seen.connections == 1
    gc.collect()  # an open transport would complain


@pytest.mark.parametrize("name", ["SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"])
async def test_a_folder_of_authorities_works_as_well(
    certificate: Certificate, direct: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    (tmp_path / f"{certificate.digest}.0").write_bytes(certificate.path.read_bytes())
    direct.setenv(name, str(tmp_path))
    answer = http(GOOD)
    async with raw_server(answer, tls=certificate.server) as seen, HttpChat(seen.url, KEY) as chat:
        reply = await chat.complete(request("hi"), 5)

    assert reply.text == "hello"


async def test_a_server_that_nobody_vouches_for_gets_no_request(
    chat_type: Chat, certificate: Certificate, direct: pytest.MonkeyPatch
) -> None:
    async with raw_server(http(GOOD), tls=certificate.server) as seen:
        error = await fail(chat_type, seen.url)

    assert error.kind is FaultKind.CONNECTION
    assert "certificate verify failed" in error.excerpt
    assert seen.requests == []


async def test_a_certificate_for_another_name_is_not_accepted(
    chat_type: Chat, certificate: Certificate, direct: pytest.MonkeyPatch
) -> None:
    direct.setenv("SSL_CERT_FILE", str(certificate.path))
    async with raw_server(http(GOOD), tls=certificate.server) as seen:
        error = await fail(chat_type, seen.url.replace("localhost", "127.0.0.1"))

    assert error.kind is FaultKind.CONNECTION
    assert seen.requests == []


async def test_a_handshake_that_is_never_answered_ends_at_the_time_limit(
    chat_type: Chat, direct: pytest.MonkeyPatch
) -> None:
    async with raw_server(SILENCE) as seen:
        error = await fail(chat_type, seen.url.replace("http:", "https:"), 0.05)
        await asyncio.sleep(0.02)
        assert not seen.open

    assert error.kind is FaultKind.TIMEOUT
    gc.collect()


async def test_a_server_without_tls_is_a_connection_fault(
    chat_type: Chat, direct: pytest.MonkeyPatch
) -> None:
    async def talk_plainly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(http(b"plain", "400 Bad Request"))

    seen = Seen()
    async with listen(talk_plainly, seen):
        error = await fail(chat_type, seen.url.replace("http:", "https:"))

    assert error.kind is FaultKind.CONNECTION


async def fail(chat_type: Chat, url: str, timeout_s: float = 5) -> ProviderError:
    async with chat_type(url, KEY) as chat:
        with pytest.raises(ProviderError) as caught:
            await chat.complete(request("hi"), timeout_s)
    return caught.value


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_file_without_certificates_is_refused_by_the_name_of_its_variable(
    direct: pytest.MonkeyPatch, tmp_path: Path, name: str, content: bytes | None
) -> None:
    path = tmp_path / "authorities.pem"
    if content is not None:
        path.write_bytes(content)
    direct.setenv(name, str(path))
    with pytest.raises(UsageError, match=name) as caught:
        HttpChat("https://models.example/v1", KEY)

    assert str(path) in str(caught.value)
    assert HttpChat("http://localhost/v1", KEY)


def test_what_openssl_reads_by_itself_goes_before_the_bundles(
    certificate: Certificate, direct: pytest.MonkeyPatch
) -> None:
    direct.setenv("REQUESTS_CA_BUNDLE", "/nowhere/at/all.pem")
    direct.setenv("SSL_CERT_FILE", str(certificate.path))
    names = [
        dict(pair[0] for pair in found["subject"]) for found in build_tls_context().get_ca_certs()
    ]

    assert {"commonName": "localhost"} in names


def test_certificates_and_names_are_always_verified(direct: pytest.MonkeyPatch) -> None:
    context = build_tls_context()

    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
