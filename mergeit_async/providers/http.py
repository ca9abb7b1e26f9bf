"""The default chat provider: the chat-completions protocol over HTTP.

complete → write the request → send it, errors translated → read the answer, or judge it
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

import aiohttp
from yarl import URL

from mergeit_async import __version__
from mergeit_async.errors import FaultKind, ProviderError
from mergeit_async.providers.address import (
    find_proxy,
    parse_api_key,
    parse_base_url,
    refuse_plain_key,
)
from mergeit_async.providers.answer import Answer, NotConnected, Transport, unpack
from mergeit_async.providers.completion import read_reply, write_request
from mergeit_async.providers.fault_kinds import (
    CLIENT_FAILURES,
    classify_failure,
    classify_status,
    excerpt,
)
from mergeit_async.providers.proxied import Proxied
from mergeit_async.providers.rate_headers import read_rate_limits
from mergeit_async.providers.retry_after import read_retry_after
from mergeit_async.providers.tls import build_tls_context
from mergeit_async.providers.wire import Wire
from mergeit_async.records import ChatReply, ChatRequest

CHECK_TIMEOUT_S = 10.0

_FAILS_CHECK = (FaultKind.AUTH, FaultKind.CONNECTION, FaultKind.TIMEOUT)


class HttpChat:
    """Chat completions from one server, without retries: `async with HttpChat(...) as chat`.

    The API key appears in the Authorization header to this server and nowhere else.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        allow_plain_http: bool = False,
    ) -> None:
        """There are as many connections as calls in flight; their number is the caller's business.

        `allow_plain_http` lets the key go over plain HTTP to another machine. Raises UsageError
        if it would and may not, and for an unusable base URL, key, proxy or CA setting.
        """
        base = URL(parse_base_url(base_url))
        self._base = base
        self._completions_url = base / "chat/completions"
        self._models_url = base / "models"
        self._key = parse_api_key(api_key)
        if self._key and not allow_plain_http:
            refuse_plain_key(base)
        self._proxy = find_proxy(base)
        self._tls = build_tls_context() if base.scheme == "https" else None
        # OpenAI's reasoning models refuse `max_tokens`; most other servers know only that.
        openai = base.host == "api.openai.com"
        self._limit_name = "max_completion_tokens" if openai else "max_tokens"
        self._transport: Transport | None = None

    def __repr__(self) -> str:
        return f"HttpChat({str(self._base)!r})"

    async def __aenter__(self) -> Self:
        """Get ready; connections are made when they are needed."""
        self._transport = self._open_transport()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close all connections."""
        if self._transport is not None:
            await self._transport.close()
            self._transport = None

    async def complete(self, request: ChatRequest, timeout_s: float) -> ChatReply:
        """The reply to `request`, from one attempt within `timeout_s` seconds.

        A reply that was cut off, filtered or refused is a reply; see its finish reason. Raises
        ProviderError for whatever goes wrong with the exchange.
        """
        body = write_request(request, self._limit_name)
        answer = await self._send("POST", self._completions_url, body, timeout_s)
        if answer.broken is not None or not 200 <= answer.status < 300:
            raise self._judge(answer)
        reply = read_reply(answer.body, read_rate_limits(answer.headers, time.time()))
        if reply is None:
            raise self._fault(FaultKind.MALFORMED, answer)
        return reply

    async def check(self) -> None:
        """Ask for the list of models. Many servers lack it: any answer but a refused key is fine.

        Raises ProviderError of kind AUTH, CONNECTION or TIMEOUT.
        """
        try:
            answer = await self._send("GET", self._models_url, b"", CHECK_TIMEOUT_S)
        except ProviderError as error:
            if error.kind in _FAILS_CHECK:
                raise
            return
        fault = self._judge(answer)
        # OpenAI can bar a restricted key from this list alone ("Missing scopes: ...").
        if answer.status in (401, 403) and "missing scopes" not in fault.excerpt.lower():
            raise fault

    def _open_transport(self) -> Transport:
        headers = build_headers(self._key)
        if self._proxy is not None:
            return Proxied(self._proxy, headers, self._tls)
        return Wire(self._base, headers, self._tls)

    async def _send(self, method: str, url: URL, body: bytes, timeout_s: float) -> Answer:
        """The one place where errors of the transport and the system become ours."""
        if self._transport is None:
            raise RuntimeError("HttpChat is not open; use it in an `async with` block")
        try:
            return unpack(await self._transport.send(method, url, body, timeout_s))
        except CLIENT_FAILURES as error:
            kind = classify_failure(error)
            text = str(error) or type(error).__name__
            was_sent = not isinstance(error, (NotConnected, aiohttp.ClientConnectorError))
        if kind is FaultKind.TIMEOUT:
            text = f"no whole answer within {timeout_s:g} s"
        # Outside the except block: aiohttp's errors hold the request's headers with the key, and
        # would hang on to ours as its context.
        raise ProviderError(kind, excerpt(text, self._key), was_sent=was_sent)

    def _judge(self, answer: Answer) -> ProviderError:
        """The fault that an answer without success, or without its end, stands for."""
        if 300 <= answer.status < 400:
            return self._fault(FaultKind.BAD_REQUEST, answer, self._describe_redirect(answer))
        if not 200 <= answer.status < 300:
            return self._fault(classify_status(answer.status, answer.body), answer)
        broken = answer.broken or ValueError("the answer is of no use")
        return self._fault(classify_failure(broken), answer, str(broken))

    def _fault(self, kind: FaultKind, answer: Answer, text: str | None = None) -> ProviderError:
        """The error for `answer`, with `text` or the beginning of its body for people to read."""
        now_s = time.time()
        return ProviderError(
            kind,
            excerpt(answer.body.decode(errors="replace") if text is None else text, self._key),
            status=answer.status,
            retry_after_s=read_retry_after(answer.headers, now_s),
            limits=read_rate_limits(answer.headers, now_s),
        )

    def _describe_redirect(self, answer: Answer) -> str:
        try:
            target = self._base.join(URL(answer.headers.get("location", ""))).host
        except ValueError:
            target = "nowhere"
        return (
            f"the server redirects to host {target}; "
            "redirects are not followed, correct the base URL"
        )


def build_headers(key: str | None) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json",
        # Replies are a few kilobytes: unpacking them costs more than receiving them.
        "Accept-Encoding": "identity",
        "User-Agent": f"mergeit-async/{__version__}",
    }
    return headers | {"Authorization": f"Bearer {key}"} if key else headers
