"""Every error this package raises on purpose.

MergeItError
├── UsageError        wrong use or bad input, known before a byte leaves; exit code 2
├── StoppedError      the run ended early and can be resumed; exit code 3
├── ConservationError an input row would be lost or doubled by the export; exit code 1
└── ProviderError     one call failed; the engine decides what to do by its kind
"""

from __future__ import annotations

from enum import StrEnum

from mergeit_async.records import RateLimits


class MergeItError(Exception):
    """Base of all errors raised on purpose; its text is one sentence for the user."""

    exit_code = 1


class UsageError(MergeItError):
    """Wrong options or bad input. The text names file, line, value and the next step."""

    exit_code = 2


class StoppedError(MergeItError):
    """The run stopped before its end; everything committed is kept and it can be resumed.

    `resume_with` holds the options that `resume` needs to get any further.
    """

    exit_code = 3

    def __init__(self, text: str, *, resume_with: str = "") -> None:
        super().__init__(text)
        self.resume_with = resume_with


class ConservationError(MergeItError):
    """The outcome of the run does not account for each input row exactly once."""


class FaultKind(StrEnum):
    """What went wrong with one call, whatever the vendor calls it.

    A kind describes the exchange with the server. A reply that arrived whole but is no usable
    merge is not a fault: it is a `Refusal`.
    """

    RATE_LIMIT = "rate_limit"
    QUOTA = "quota"
    AUTH = "auth"
    NOT_FOUND = "not_found"
    BAD_REQUEST = "bad_request"
    CONTEXT_LENGTH = "context_length"
    TOO_LARGE = "too_large"
    CONTENT_FILTER = "content_filter"
    SERVER = "server"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    MALFORMED = "malformed"


class ProviderError(MergeItError):
    """One call to a provider failed.

    `retry_after_s` is what the server asked for, in seconds, or None when it did not say.
    `excerpt` is the beginning of the server's answer, for messages and the journal. `limits` is
    what the answer's headers said about the server's limits. `was_sent` tells whether any of
    the request can have reached the server; `server` is its URL where that is known.
    """

    def __init__(
        self,
        kind: FaultKind,
        excerpt: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        limits: RateLimits | None = None,
        was_sent: bool = True,
    ) -> None:
        where = f" (HTTP {status})" if status else ""
        super().__init__(f"{kind}{where}: {excerpt}")
        self.kind = kind
        self.status = status
        self.retry_after_s = retry_after_s
        self.excerpt = excerpt
        self.limits = limits
        self.was_sent = was_sent
        self.server = ""
