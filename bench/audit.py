"""Counts a tool's requests in the API server's audit log.

The server's metrics do not tell clients apart, and the controllers ask all the time; the audit log is the server's own
record of every request with the account that sent it. It holds one line per request of the tools' account only.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

_READS = {"get", "list", "watch"}


@dataclass(frozen=True, order=True)
class Request:
    """What was asked; `resource` is a path for what is no resource (discovery, version)."""

    verb: str
    resource: str
    namespace: str = ""


class AuditLog:
    """The log's part that was written since this object was made."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._start = path.stat().st_size

    def requests(self) -> Counter[Request]:
        with self._path.open("rb") as log:
            log.seek(self._start)
            return count(log.read().decode())


def count(lines: str) -> Counter[Request]:
    """How often each request was made, by lines of an audit log."""
    return Counter(_request(json.loads(line)) for line in lines.splitlines())


def reads_by_kind(requests: Counter[Request]) -> dict[str, int]:
    """Kind (and namespace, if any): requests that read it, without those that reopened a watch after the first."""
    reads: Counter[str] = Counter()
    for request, times in requests.items():
        if request.verb in _READS and not request.resource.startswith("/"):
            where = f"{request.resource} in {request.namespace}" if request.namespace else request.resource
            reads[where] += 1 if request.verb == "watch" else times
    return dict(reads)


def _request(event: dict[str, object]) -> Request:
    reference = event.get("objectRef")
    if not isinstance(reference, dict):
        return Request(str(event["verb"]), str(event["requestURI"]).partition("?")[0])
    resource = "/".join(reference[key] for key in ("resource", "subresource") if key in reference)
    return Request(str(event["verb"]), resource, reference.get("namespace", ""))
