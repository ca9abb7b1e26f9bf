from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import which

import pytest
import uvloop

from mergeit_async.providers.answer import Transport
from mergeit_async.providers.http import HttpChat, build_headers
from mergeit_async.providers.proxied import Proxied

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
ON_EVERY_LOOP = ("test_http.py", "test_proxied.py", "test_tls.py", "test_wire.py")


@pytest.hookimpl(optionalhook=True)
def pytest_asyncio_loop_factories(
    item: pytest.Item,
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run the tests of what touches sockets on both event loops."""
    return LOOPS if item.path.name in ON_EVERY_LOOP else {"asyncio": LOOPS["asyncio"]}


class ChatOverAiohttp(HttpChat):
    """A chat that takes the way for proxies without one."""

    def _open_transport(self) -> Transport:
        return Proxied(None, build_headers(self._key), self._tls)


@pytest.fixture(params=[HttpChat, ChatOverAiohttp], ids=["wire", "aiohttp"], scope="session")
def chat_type(request: pytest.FixtureRequest) -> type[HttpChat]:
    """Both transports, which must not differ in what a caller sees."""
    return request.param


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Keep the proxy and CA settings of the machine away from the servers here."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost,.invalid")
    return monkeypatch


@dataclass(frozen=True)
class Certificate:
    """A certificate for localhost that only those who name it trust.

    `digest` is the name by which OpenSSL looks for it in a folder.
    """

    path: Path
    digest: str
    server: ssl.SSLContext


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    if which("openssl") is None:
        pytest.skip("there is no openssl command to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    path, key = folder / "localhost.pem", folder / "localhost.key"
    make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    describe = "-subj /CN=localhost -addext subjectAltName=DNS:localhost"
    use = "-addext keyUsage=critical,digitalSignature,keyCertSign"
    command = [*f"{make} {describe} {use}".split(), "-keyout", key, "-out", path]
    subprocess.run(command, check=True, capture_output=True)
    show = ["openssl", "x509", "-hash", "-noout", "-in", path]
    digest = subprocess.run(show, check=True, capture_output=True, text=True).stdout.strip()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(path, key)
    return Certificate(path, digest, server)
