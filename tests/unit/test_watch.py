"""Watches against an API whose faults the test decides, one kind at a time."""

from __future__ import annotations

import itertools
import json
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from ansible_collections.erp.platform.plugins.module_utils import watch as watching
from ansible_collections.erp.platform.plugins.module_utils.api import (
    ApiError,
    ConnectionFailed,
    NotServed,
    ResourceType,
    Untrusted,
    WatchStream,
)
from ansible_collections.erp.platform.plugins.module_utils.watch import (
    Changed,
    Deleted,
    Interrupted,
    Listed,
    Notice,
    Refused,
    Scope,
    Watches,
)
from hypothesis import given
from hypothesis import strategies as st

PODS = Scope("v1", "Pod", "erp")
EVENTS = Scope("v1", "Event", "erp")
FORBIDDEN = ApiError(403, {"message": "no"})
UNAUTHORIZED = ApiError(401, {"message": "who?"})


def pod(name: str, version: int, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "erp", "resourceVersion": str(version), **metadata}}


def event(kind: str, obj: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "object": obj}


class Stream:
    """The events given, and then the error given or silence until it is closed."""

    def __init__(self, events: Sequence[dict[str, Any]], then: Exception | str) -> None:
        self._events, self._then = events, then
        self._closed = threading.Event()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

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
    """Answers each LIST and WATCH with the next in line, and notes how it was asked."""

    lists: list[Any]
    streams: list[Any]
    types: list[Any] = field(default_factory=list)
    watched_from: list[str] = field(default_factory=list)
    watched_seconds: list[tuple[int, float]] = field(default_factory=list)
    field_selectors: list[str] = field(default_factory=list)
    ready: bool = True
    listed: int = 0

    def is_ready(self) -> bool:
        return self.ready

    def type_of(self, api_version: str, kind: str) -> ResourceType:
        if self.types:
            raise self.types.pop(0)
        return ResourceType(api_version, kind, "pods", True)

    def list(self, type_: ResourceType, namespace: str, *, field_selector: str) -> dict[str, Any]:
        self.listed += 1
        self.field_selectors.append(field_selector)
        answer: dict[str, Any] = self._next(self.lists)
        return answer

    def watch(
        self,
        type_: ResourceType,
        namespace: str,
        resource_version: str,
        *,
        field_selector: str,
        server_seconds: int,
        read_seconds: float,
    ) -> Stream:
        self.watched_from.append(resource_version)
        self.watched_seconds.append((server_seconds, read_seconds))
        self.field_selectors.append(field_selector)
        found: Stream = self._next(self.streams)
        return found

    @staticmethod
    def _next(answers: Any) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """For which numbers of failures a pause was asked for; none is made."""
    asked: list[int] = []

    def none(attempt: int, error: object = None) -> float:
        asked.append(attempt)
        return 0.0

    monkeypatch.setattr(watching, "backoff_seconds", none)
    return asked


def run(api: FakeApi, count: int, scope: Scope = PODS) -> list[Notice | Interrupted]:
    """The first notices of a watch on this API."""
    notices: queue.SimpleQueue[Notice | Interrupted] = queue.SimpleQueue()
    watches = Watches(api, notices.put)  # type: ignore[arg-type]
    watches.ensure(scope)
    watches.ensure(scope)
    try:
        return [notices.get(timeout=5) for _notice in range(count)]
    finally:
        watches.close()


def endless() -> Stream:
    return Stream([], "silence")


def listed(version: int, *items: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": {"resourceVersion": str(version)}, "items": list(items)}


def added(version: int) -> dict[str, Any]:
    return event("ADDED", pod("a", version))


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
    api = FakeApi([listed(1)], [Stream([bookmark], "end"), Stream([added(10)], "silence")])
    assert not any(isinstance(notice, Interrupted) for notice in run(api, 2))
    assert api.watched_from == ["1", "9"]
    assert api.listed == 1


BUSY = event("ERROR", {"code": 429, "reason": "TooManyRequests", "message": "busy"})


@pytest.mark.parametrize(
    "fault",
    [
        Stream([added(5)], ConnectionFailed("reset")),
        Stream([added(5), BUSY], "end"),
    ],
    ids=["reset in the stream", "too many requests in the stream"],
)
def test_a_stream_that_breaks_is_continued_from_the_last_version_without_listing(fault: Stream) -> None:
    api = FakeApi([listed(1)], [fault, Stream([added(6)], "silence")])
    _listed, _first, interrupted, second = run(api, 4)
    assert isinstance(interrupted, Interrupted)
    assert second == Changed(PODS, pod("a", 6))
    assert api.watched_from == ["1", "5"]
    assert api.listed == 1


@pytest.mark.parametrize(
    "fault",
    [ConnectionFailed("refused"), ApiError(429, {"message": "busy"}, 0.0), ApiError(503, {"message": "starting"})],
    ids=["refused", "too many requests", "unavailable"],
)
def test_a_watch_that_cannot_begin_for_now_begins_later_without_listing(fault: Exception) -> None:
    api = FakeApi([listed(1)], [fault, fault, Stream([added(2)], "silence")])
    _listed, interrupted, changed = run(api, 3)
    assert isinstance(interrupted, Interrupted)
    assert changed == Changed(PODS, pod("a", 2))
    assert api.watched_from == ["1", "1", "1"]
    assert api.listed == 1


@pytest.mark.parametrize(
    "fault",
    [
        Stream([event("ERROR", {"code": 410, "message": "too old resource version"})], "end"),
        Stream([event("ERROR", {"message": "nobody knows"})], "end"),
        ApiError(410, {"message": "expired"}),
        ApiError(400, {"message": "what version is that?"}),
        ApiError(404, {"message": "no such path"}),
    ],
    ids=["410 in the stream", "another error in the stream", "410 before the stream", "bad request", "not found"],
)
def test_where_the_version_is_no_longer_good_it_lists_again(fault: Any) -> None:
    api = FakeApi([listed(1), listed(7, pod("a", 7))], [fault, endless()])
    first, interrupted, second = run(api, 3)
    assert isinstance(first, Listed)
    assert isinstance(interrupted, Interrupted)
    assert second == Listed(PODS, ({"apiVersion": "v1", "kind": "Pod", **pod("a", 7)},), "7")
    assert api.watched_from == ["1", "7"]


def test_where_watching_does_not_work_it_lists_now_and_then() -> None:
    unavailable = ApiError(503, {"message": "no streams here"})
    api = FakeApi([listed(1), listed(2)], [unavailable] * 3 + [endless()])
    assert [type(notice) for notice in run(api, 3)] == [Listed, Interrupted, Listed]
    assert api.watched_from == ["1", "1", "1", "2"]


def test_an_interruption_is_said_once_and_not_at_every_try() -> None:
    api = FakeApi([ConnectionFailed("refused")] * 4 + [listed(3)], [endless()])
    interrupted, then = run(api, 2)
    assert interrupted == Interrupted(PODS, "refused")
    assert isinstance(then, Listed)


def test_pauses_grow_as_long_as_no_stream_holds(pauses: list[int]) -> None:
    expired = ApiError(410, {"message": "expired"})
    api = FakeApi([listed(1), listed(2), listed(3)], [expired, expired, Stream([added(4)], "end"), endless()])
    run(api, 5)
    assert pauses[:3] == [1, 2, 3]


def test_a_stream_that_held_makes_up_for_earlier_failures(monkeypatch: pytest.MonkeyPatch, pauses: list[int]) -> None:
    monkeypatch.setattr(watching, "HOLD_SECONDS", 0.0)
    reset = [Stream([added(version)], ConnectionFailed("reset")) for version in (2, 3)]
    notices = run(FakeApi([listed(1)], [*reset, endless()]), 5)
    assert [type(notice) for notice in notices] == [Listed, Changed, Interrupted, Changed, Interrupted]
    assert pauses == [1, 1]


def test_what_may_not_be_watched_is_said_once() -> None:
    (notice,) = run(FakeApi([FORBIDDEN], []), 1)
    assert notice == Refused(PODS, FORBIDDEN)


def test_what_may_be_listed_and_not_watched_is_refused_at_once() -> None:
    api = FakeApi([listed(1)], [FORBIDDEN])
    assert run(api, 2)[1] == Refused(PODS, FORBIDDEN)


@pytest.mark.parametrize("refusal", [UNAUTHORIZED, FORBIDDEN], ids=["401", "403"])
def test_who_was_let_in_before_is_not_refused_by_a_server_that_has_just_started(refusal: ApiError) -> None:
    api = FakeApi([listed(1)], [Stream([], "end"), refusal, refusal, Stream([added(2)], "silence")])
    assert [type(notice) for notice in run(api, 3)] == [Listed, Interrupted, Changed]
    assert api.listed == 1


def test_a_server_that_is_not_ready_is_not_believed_to_refuse() -> None:
    api = FakeApi([FORBIDDEN, FORBIDDEN, listed(1)], [endless()], ready=False)
    assert [type(notice) for notice in run(api, 2)] == [Interrupted, Listed]


def test_a_refusal_that_lasts_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "REFUSAL_SECONDS", 0.3)
    monkeypatch.setattr(watching, "backoff_seconds", lambda attempt, error=None: 0.1)
    start = time.monotonic()
    notices = run(FakeApi([listed(1)], [Stream([], "end"), *[UNAUTHORIZED] * 10]), 3)
    assert [type(notice) for notice in notices] == [Listed, Interrupted, Refused]
    assert time.monotonic() - start >= 0.3


def test_a_server_that_is_not_the_one_it_should_be_is_refused_at_once() -> None:
    untrusted = Untrusted("certificate verify failed")
    api = FakeApi([listed(1)], [Stream([], ConnectionFailed("reset")), untrusted])
    assert run(api, 3)[2] == Refused(PODS, untrusted)


def test_a_kind_that_is_not_served_yet_is_asked_for_at_least_each_second(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(watching, "backoff_seconds", lambda attempt, error=None: 5.0)
    monkeypatch.setattr(threading.Event, "wait", lambda self, timeout=None: waits.append(timeout))
    api = FakeApi([listed(1)], [FORBIDDEN], types=[NotServed("example.com/v1", "Widget")] * 3)
    assert [type(notice) for notice in run(api, 2)] == [Listed, Refused]
    assert [wait for wait in waits if wait] == [1.0] * 3


def test_of_events_only_warnings_are_listed_and_watched() -> None:
    api = FakeApi([listed(1)], [Stream([event("ADDED", {"metadata": {"resourceVersion": "2"}})], "silence")])
    run(api, 2, EVENTS)
    assert api.field_selectors == ["type=Warning"] * 2
    api = FakeApi([listed(1)], [Stream([added(2)], "silence")])
    run(api, 2)
    assert api.field_selectors == ["", ""]


def test_silence_is_noticed_soon_after_the_server_should_have_ended_the_stream() -> None:
    api = FakeApi([listed(1)], [Stream([added(version)], "end") for version in range(2, 32)] + [endless()])
    run(api, 31)
    seconds = [server for server, _read in api.watched_seconds]
    assert all(read == server + 5 for server, read in api.watched_seconds)
    assert min(seconds) >= 24
    assert max(seconds) <= 36
    assert len(set(seconds)) > 3, "all watches would be renewed at the same moment"


def test_closing_ends_a_silent_stream_at_once() -> None:
    before = threading.active_count()
    run(FakeApi([listed(1)], [endless()]), 1)
    assert threading.active_count() == before


def test_closing_does_not_wait_for_watches_that_are_stuck() -> None:
    stuck = threading.Event()

    class Stuck(FakeApi):
        def type_of(self, api_version: str, kind: str) -> ResourceType:
            stuck.wait(10)
            raise ConnectionFailed("at last")

    watches = Watches(Stuck([], []), lambda notice: None)  # type: ignore[arg-type]
    for number in range(10):
        watches.ensure(Scope("v1", "Pod", str(number)))
    start = time.monotonic()
    watches.close()
    assert time.monotonic() - start < 1.0
    stuck.set()


class Response:
    """A response whose body comes in these chunks."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        self._chunks = chunks

    def stream(self, amt: None, decode_content: bool) -> Iterator[bytes]:
        return iter(self._chunks)


EVENTS_SENT = [added(2), event("BOOKMARK", pod("b", 3)), event("DELETED", pod("wäre", 4))]
BODY = b"".join(json.dumps(sent, ensure_ascii=False).encode() + b"\n" for sent in EVENTS_SENT)


@given(st.sets(st.integers(min_value=1, max_value=len(BODY) - 1)))
def test_events_are_whole_however_the_body_is_cut(cuts: set[int]) -> None:
    ends = [0, *sorted(cuts), len(BODY)]
    chunks = [BODY[start:end] for start, end in itertools.pairwise(ends)]
    assert list(WatchStream(Response(chunks), lambda read: read())) == EVENTS_SENT


@pytest.mark.parametrize("body", [b"<html>\n", b'"text"\n', b'{"type": "ADDED"}\n', b"\xff\n"])
def test_what_is_no_event_is_a_failed_connection(body: bytes) -> None:
    with pytest.raises(ConnectionFailed, match="not an event"):
        list(WatchStream(Response([body]), lambda read: read()))
