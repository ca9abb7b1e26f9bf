"""Where a server is and what opens it: base URL, API key, and the proxy on the way."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.request import getproxies, proxy_bypass

from yarl import URL

from mergeit_async.errors import UsageError

_COMPLETIONS_PATH = "/chat/completions"


def parse_base_url(text: str) -> str:
    """The base URL in its one spelling, without a slash at the end: https://host/v1.

    A pasted ".../chat/completions" is shortened to its base. Raises UsageError for anything but
    an http or https URL with a host and a path.
    """
    url = _parse_url(text.strip())
    if url is None or url.scheme not in ("http", "https") or not url.host:
        raise UsageError(
            f"Base URL {_without_login(text)!r} needs http:// or https:// and a host; "
            "give it like https://host/v1."
        )
    if url.user or url.password:
        raise UsageError(
            f"The base URL for host {url.host!r} holds a user name or password; "
            "give it like https://host/v1 and the key in the environment."
        )
    if url.query_string or url.fragment:
        raise UsageError(
            f"The base URL for host {url.host!r} has a query or a fragment, which may be a key; "
            "give it like https://host/v1."
        )
    return str(url).rstrip("/").removesuffix(_COMPLETIONS_PATH).rstrip("/")


def parse_api_key(text: str | None, source: str = "the environment") -> str | None:
    """The key as given; None where it is missing or empty. `source` is named in the error.

    Raises UsageError, which never shows the key, for characters that no header can carry.
    """
    if text and not all("!" <= character <= "~" for character in text):
        raise UsageError(
            f"The API key from {source} holds a space, a line break or another character that "
            "cannot be part of a key; set it again without."
        )
    return text or None


def refuse_plain_key(base: URL) -> None:
    """Raise UsageError if a key sent to `base` could be read on the way.

    Plain HTTP is fine to this very machine: localhost, 127.0.0.0/8 and ::1.
    """
    if base.scheme != "https" and not _is_loopback(base.host or ""):
        raise UsageError(
            f"The base URL {str(base)!r} would carry the API key unencrypted to {base.host}; "
            "use https://, leave out the key, or allow it with --allow-plain-http."
        )


def find_proxy(url: URL) -> URL | None:
    """The proxy that the environment (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY) sets for `url`.

    Raises UsageError for a kind of proxy that aiohttp cannot use.
    """
    proxies = getproxies()
    address = proxies.get(url.scheme) or proxies.get("all")
    if not address or proxy_bypass(f"{url.host}:{url.port}"):
        return None
    proxy = _parse_url(address if "://" in address else f"http://{address}")
    if proxy is None or proxy.scheme not in ("http", "https") or not proxy.host:
        raise UsageError(
            f"The environment sets the proxy {_without_login(address)!r} for {url.host}, and only "
            f"http:// proxies work here; change the variable or add {url.host} to NO_PROXY."
        )
    return proxy


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _parse_url(text: str) -> URL | None:
    try:
        return URL(text)
    except ValueError:
        return None


def _without_login(text: str) -> str:
    return text.rpartition("@")[2]
