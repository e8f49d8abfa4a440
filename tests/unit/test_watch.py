"""Watches against an API whose faults the test decides, one kind at a time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from ansible_collections.erp.platform.plugins.module_utils import watch as watching
from ansible_collections.erp.platform.plugins.module_utils.api import ApiError, ConnectionFailed, ResourceType
from ansible_collections.erp.platform.plugins.module_utils.watch import (
    Changed,
    Deleted,
    Listed,
    Notice,
    Refused,
    Scope,
    Watches,
)

PODS = Scope("v1", "Pod", "erp")


def pod(name: str, version: int, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "erp", "resourceVersion": str(version), **metadata}}


def event(kind: str, obj: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "object": obj}


class Stream:
    """The events given, and then the error given or silence until it is closed."""

    def __init__(self, events: Sequence[dict[str, Any]], then: Exception | str) -> None:
        self._events, self._then = events, then
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        yield from self._events
        if isinstance(self._then, Exception):
            raise self._then
        if self._then == "silence":
            self._closed.wait(10)

    def close(self) -> None:
        self._closed.set()


@dataclass
class FakeApi:
    """Answers each LIST and WATCH with the next in line, and notes from which version each watch was asked for."""

    lists: list[Any]
    streams: list[Any]
    watched_from: list[str] = field(default_factory=list)
    listed: int = 0

    def type_of(self, api_version: str, kind: str) -> ResourceType:
        return ResourceType(api_version, kind, "pods", True)

    def list(self, type_: ResourceType, namespace: str) -> dict[str, Any]:
        self.listed += 1
        return self._next(self.lists)

    def watch(self, type_: ResourceType, namespace: str, resource_version: str, **seconds: float) -> Stream:
        self.watched_from.append(resource_version)
        found: Stream = self._next(self.streams)
        return found

    @staticmethod
    def _next(answers: list[Any]) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def _no_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "backoff_seconds", lambda attempt, error=None: 0.0)


def run(api: FakeApi, count: int) -> list[Notice]:
    """The first notices of a watch on this API."""
    notices: queue.SimpleQueue[Notice] = queue.SimpleQueue()
    watches = Watches(api, notices.put)  # type: ignore[arg-type]
    watches.ensure(PODS)
    watches.ensure(PODS)
    try:
        return [notices.get(timeout=5) for _notice in range(count)]
    finally:
        watches.close()


def listed(version: int, *items: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": str(version)}, "items": list(items)}


SILENCE = Stream([], "silence")


def test_it_lists_and_then_follows_changes() -> None:
    api = FakeApi(
        [listed(1, pod("a", 1))], [Stream([event("ADDED", pod("b", 2)), event("DELETED", pod("a", 3))], "silence")]
    )
    first, second, third = run(api, 3)
    assert isinstance(first, Listed)
    assert first.items[0]["kind"] == "Pod"
    assert second == Changed(PODS, pod("b", 2))
    assert third == Deleted(PODS, pod("a", 3))


def test_a_stream_that_the_server_ends_is_continued_from_the_last_version_without_listing() -> None:
    bookmark = event("BOOKMARK", {"metadata": {"resourceVersion": "9"}})
    api = FakeApi([listed(1)], [Stream([bookmark], "end"), Stream([event("ADDED", pod("a", 10))], "silence")])
    run(api, 2)
    assert api.watched_from == ["1", "9"]
    assert api.listed == 1


@pytest.mark.parametrize(
    "fault",
    [
        Stream([event("ERROR", {"code": 410, "message": "too old resource version"})], "end"),
        Stream([], ConnectionFailed("reset")),
        ApiError(410, {"message": "expired"}),
        ConnectionFailed("refused"),
        ApiError(429, {"message": "busy"}, 0.0),
    ],
    ids=["410 in the stream", "reset in the stream", "410 before the stream", "refused", "too many requests"],
)
def test_after_a_fault_it_lists_again(fault: Any) -> None:
    api = FakeApi([listed(1), listed(7, pod("a", 7))], [fault, SILENCE])
    first, second = run(api, 2)
    assert isinstance(first, Listed)
    assert second == Listed(PODS, ({"apiVersion": "v1", "kind": "Pod", **pod("a", 7)},), "7")
    assert api.watched_from == ["1", "7"]


def test_a_list_that_fails_is_tried_again() -> None:
    api = FakeApi([ConnectionFailed("refused"), ApiError(500, {}), listed(3)], [SILENCE])
    assert run(api, 1) == [Listed(PODS, (), "3")]


def test_what_may_not_be_watched_is_said_once() -> None:
    (notice,) = run(FakeApi([ApiError(403, {"message": "no"})], []), 1)
    assert isinstance(notice, Refused)
    assert notice.scope == PODS


def test_closing_ends_a_silent_stream_at_once() -> None:
    before = threading.active_count()
    run(FakeApi([listed(1)], [Stream([], "silence")]), 1)
    assert threading.active_count() == before
