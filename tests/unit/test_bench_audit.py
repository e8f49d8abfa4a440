"""Requests are counted from the lines of an audit log."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from bench.audit import AuditLog, Request, count, reads_by_kind


def line(verb: str, uri: str = "/version", **reference: str) -> str:
    event: dict[str, Any] = {"verb": verb, "requestURI": uri}
    return json.dumps({**event, "objectRef": reference} if reference else event) + "\n"


def test_requests_are_told_apart_by_verb_resource_and_namespace() -> None:
    requests = count(
        line("patch", resource="deployments", namespace="a", name="web")
        + line("patch", resource="deployments", namespace="a", name="shop")
        + line("patch", resource="deployments", namespace="a", name="shop", subresource="status")
        + line("list", resource="nodes")
        + line("get", "/api/v1?timeout=32s")
    )
    assert requests == {
        Request("patch", "deployments", "a"): 2,
        Request("patch", "deployments/status", "a"): 1,
        Request("list", "nodes"): 1,
        Request("get", "/api/v1"): 1,
    }


def test_only_what_was_written_since_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.write_text(line("get"))
    log = AuditLog(path)
    with path.open("a") as file:
        file.write(line("list", resource="pods"))
    assert log.requests() == {Request("list", "pods"): 1}


def test_reads_are_counted_by_kind_and_namespace_without_writes_and_discovery() -> None:
    requests = Counter(
        {
            Request("list", "pods", "a"): 2,
            Request("get", "pods", "a"): 1,
            Request("list", "pods", "b"): 1,
            Request("list", "nodes"): 1,
            Request("patch", "pods", "a"): 9,
            Request("get", "/api/v1"): 9,
        }
    )
    assert reads_by_kind(requests) == {"pods in a": 3, "pods in b": 1, "nodes": 1}


def test_a_watch_that_is_opened_again_counts_once() -> None:
    assert reads_by_kind(Counter({Request("list", "pods", "a"): 1, Request("watch", "pods", "a"): 4})) == {
        "pods in a": 2
    }
