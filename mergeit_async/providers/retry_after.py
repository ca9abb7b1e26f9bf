"""How long a server asks its callers to wait (RFC 9110, section 10.2.3, and retry-after-ms)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache

_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?")


def read_retry_after(headers: Mapping[str, str], now_s: float) -> float | None:
    """Seconds to wait from now on, at least 0; None where the headers do not say.

    `headers` have names in lower case, or do not care. An HTTP date counts from the response's own
    Date header, so that the two clocks need not agree, else from `now_s` (seconds since 1970).
    """
    millis = _read_number(headers.get("retry-after-ms"))
    if millis is not None:
        return max(0.0, millis / 1000)
    text = headers.get("retry-after")
    seconds = _read_number(text)
    if seconds is None:
        seconds = _read_delay(text, headers.get("date"), now_s)
    return None if seconds is None else max(0.0, seconds)


# All answers within a second bear the same date.
@lru_cache(maxsize=64)
def read_date(text: str | None) -> float | None:
    """An HTTP date as seconds since 1970, or None for what is none."""
    try:
        date = parsedate_to_datetime(text or "")
        # asctime dates carry no zone; all HTTP dates are in UTC.
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def _read_number(text: str | None) -> float | None:
    # Not float() alone: it takes "nan", "inf" and "1_0", which no server means.
    if text is None or not _NUMBER.fullmatch(text.strip(" \t")):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def _read_delay(text: str | None, sent: str | None, now_s: float) -> float | None:
    due_s = read_date(text)
    if due_s is None:
        return None
    sent_s = read_date(sent)
    return due_s - (now_s if sent_s is None else sent_s)
