"""What a server says about its limits beside each answer, in the dialects of several vendors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache

from mergeit_async.providers.retry_after import read_date
from mergeit_async.records import Quota, RateLimits

# The headers of a limit, what remains of it, and when it is whole again: OpenAI's names, which
# most others have taken over, then Anthropic's.
_REQUESTS = (
    (
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
    ),
    (
        "anthropic-ratelimit-requests-limit",
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-requests-reset",
    ),
)
_TOKENS = (
    ("x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    (
        "anthropic-ratelimit-tokens-limit",
        "anthropic-ratelimit-tokens-remaining",
        "anthropic-ratelimit-tokens-reset",
    ),
)
# A limit of a minute is whole again after one, or two if it was overdrawn; what takes longer is
# the limit of a day, under the same name (OpenAI's free tier, Groq).
_LONGEST_MINUTE_S = 120.0
# A larger number is a point in time, or nonsense.
_LONGEST_RESET_S = 31 * 86400.0

_LONGEST_TEXT = 40
_FRACTION = re.compile(r"[0-9]+\.[0-9]+")
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|d|h|m|s)")
_UNITS_S = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3}


def read_rate_limits(headers: Mapping[str, str], now_s: float) -> RateLimits | None:
    """The limits in `headers` (names in lower case), or None where there are none.

    Resets are durations ("1m2s", "120ms"), plain seconds, or points in time (RFC 3339), which
    count from the answer's own Date header, else from `now_s` (seconds since 1970). Garbage is as
    good as no header.
    """
    requests = _read_quota(_REQUESTS, headers, now_s)
    tokens = _read_quota(_TOKENS, headers, now_s)
    return RateLimits(requests, tokens) if requests or tokens else None


def _read_quota(
    dialects: tuple[tuple[str, str, str], ...], headers: Mapping[str, str], now_s: float
) -> Quota | None:
    for limit_name, remaining_name, reset_name in dialects:
        limit, remaining = headers.get(limit_name), headers.get(remaining_name)
        reset = headers.get(reset_name)
        if limit or remaining or reset:
            reset_s = _read_reset(reset, headers, now_s) if reset else None
            return _build_quota(_read_number(limit), _read_number(remaining), reset_s)
    return None


def _build_quota(
    limit: float | None, remaining: float | None, reset_s: float | None
) -> Quota | None:
    if limit is None and remaining is None and reset_s is None:
        return None
    of_a_minute = reset_s is None or reset_s <= _LONGEST_MINUTE_S
    return Quota(limit if of_a_minute else None, remaining, reset_s)


def _read_number(text: str | None) -> float | None:
    if text is None or len(text) > _LONGEST_TEXT:
        return None
    is_number = (text.isascii() and text.isdigit()) or _FRACTION.fullmatch(text)
    return float(text) if is_number else None


def _read_reset(text: str, headers: Mapping[str, str], now_s: float) -> float | None:
    if len(text) > _LONGEST_TEXT:
        return None
    reset_s = _read_duration(text)
    if reset_s is None:
        due_s, sent_s = _read_time(text), read_date(headers.get("date"))
        if due_s is None:
            return None
        reset_s = max(0.0, due_s - (now_s if sent_s is None else sent_s))
    return reset_s if reset_s <= _LONGEST_RESET_S else None


# A server's resets are round numbers that come again and again.
@lru_cache(maxsize=256)
def _read_duration(text: str) -> float | None:
    """Seconds: a plain number of them, or a duration as Go writes it."""
    seconds = _read_number(text)
    if seconds is not None:
        return seconds
    parts = _PART.findall(text)
    if sum(len(number) + len(unit) for number, unit in parts) != len(text):
        return None
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


@lru_cache(maxsize=256)
def _read_time(text: str) -> float | None:
    try:
        time = datetime.fromisoformat(text)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
