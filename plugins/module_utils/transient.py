"""Which API errors heal by themselves, and how long to wait before the next try."""

from __future__ import annotations

import random

from .api import ApiError, ConnectionFailed, Untrusted

# Some of what the server reports as 500 heals: an admission webhook whose pods are still starting, etcd electing a
# leader. The rest (a manifest that does not fit its schema is a 500 to server-side apply) does not.
HEALING_500 = (
    "failed calling webhook",
    "no endpoints available",
    "connection refused",
    "connection reset",
    "i/o timeout",
    "context deadline exceeded",
    "etcdserver",
    "request timed out",
)


def is_transient(error: ApiError | ConnectionFailed) -> bool:
    """Whether the same request may succeed later without anyone changing anything.

    A 409 without causes is a lost race between two writers; with causes it names field owners.
    """
    if isinstance(error, ConnectionFailed):
        return not isinstance(error, Untrusted)
    if error.status == 429 or 501 <= error.status <= 599:
        return True
    if error.status == 500:
        return any(words in str(error) for words in HEALING_500)
    return error.status == 409 and error.reason == "Conflict" and not error.details.get("causes")


def backoff_seconds(attempt: int, error: ApiError | ConnectionFailed | None = None) -> float:
    """Seconds to wait before try number ``attempt`` (from 1): what the server asks for, else 0.1 s doubling to 5 s,
    jittered.
    """
    if isinstance(error, ApiError) and error.retry_after_seconds is not None:
        return error.retry_after_seconds * random.uniform(1.0, 1.2)
    return float(min(5.0, 0.1 * 2 ** min(attempt, 10)) * random.uniform(0.5, 1.0))
