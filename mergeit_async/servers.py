"""The servers of a run: where they are, which key opens them, and what they may be asked."""

from __future__ import annotations

from dataclasses import dataclass

from mergeit_async.errors import UsageError

# What may follow a URL, after commas, and the field that it sets.
_WHOLE_NUMBERS = {"rpm": "rpm", "tpm": "tpm", "in-flight": "max_in_flight"}
_KEY = "key-env"


@dataclass(frozen=True, slots=True)
class Server:
    """One server as the user names it; None where the run's own setting holds.

    `rpm` and `tpm` are requests and tokens a minute, `api_key_env` the variable with its key.
    """

    url: str
    api_key_env: str | None = None
    rpm: int | None = None
    tpm: int | None = None
    max_in_flight: int | None = None


def parse_server(text: str) -> Server:
    """A server as in `http://host/v1,rpm=600,in-flight=32,key-env=MY_KEY`.

    Raises `UsageError` for anything unknown after the URL.
    """
    url, *options = text.split(",")
    server: dict[str, str | int] = {"url": url.strip()}
    for option in options:
        name, _, value = option.strip().partition("=")
        if name == _KEY and value:
            server["api_key_env"] = value
        elif name in _WHOLE_NUMBERS and value.isdecimal() and int(value) > 0:
            server[_WHOLE_NUMBERS[name]] = int(value)
        else:
            # What is unknown may hold a key, which is never shown.
            shown = option.strip() if name in _WHOLE_NUMBERS else name
            raise UsageError(
                f"--base-url: {shown!r} after the URL is none of rpm=N, tpm=N, in-flight=N "
                "(N at least 1) and key-env=NAME; correct it."
            )
    return Server(**server)  # type: ignore[arg-type]
