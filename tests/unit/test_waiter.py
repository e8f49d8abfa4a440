"""The loop that waits: what it judges, what it says, and how it ends, with notices that the test hands to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.erp.platform.plugins.module_utils import waiter as waiting
from ansible_collections.erp.platform.plugins.module_utils.api import (
    ApiError,
    ConnectionFailed,
    NotServed,
    ResourceType,
)
from ansible_collections.erp.platform.plugins.module_utils.diagnosis import Diagnosis
from ansible_collections.erp.platform.plugins.module_utils.errors import PlatformError
from ansible_collections.erp.platform.plugins.module_utils.findings import DEFAULT_POLICY
from ansible_collections.erp.platform.plugins.module_utils.gate import Gate, ObjectTarget
from ansible_collections.erp.platform.plugins.module_utils.objects import Ref
from ansible_collections.erp.platform.plugins.module_utils.progress import Level
from ansible_collections.erp.platform.plugins.module_utils.waiter import Waited, Waiter
from ansible_collections.erp.platform.plugins.module_utils.watch import Changed, Listed, Refused, Scope

CLAIMS = Scope("v1", "PersistentVolumeClaim", "erp")
EVENTS = Scope("v1", "Event", "erp")


def claim(name: str, phase: str, version: int = 1) -> dict[str, Any]:
    """An object whose readiness is one word."""
    metadata = {"name": name, "namespace": "erp", "uid": name, "resourceVersion": str(version)}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata,
        "spec": {},
        "status": {"phase": phase},
    }


def target(name: str) -> ObjectTarget:
    return ObjectTarget(Ref("v1", "PersistentVolumeClaim", "erp", name))


class SilentWatches:
    """Notes what is to be watched; the test says what is heard."""

    def __init__(self, api: object, put: Callable[[object], None]) -> None:
        self.ensured: set[Scope] = set()

    def ensure(self, scope: Scope) -> None:
        self.ensured.add(scope)

    def close(self) -> None:
        """There is nothing to end."""


class FakeApi:
    """Answers a LIST with ``claims``, or raises ``error``, or ``errors`` one after another."""

    host = "https://api.example"

    def __init__(self) -> None:
        self.claims: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self.errors: list[Exception] = []
        self.lists = 0

    def type_of(self, api_version: str, kind: str) -> ResourceType:
        return ResourceType(api_version, kind, f"{kind.lower()}s", True)

    def list(self, type_: ResourceType, namespace: str, **_options: Any) -> dict[str, Any]:
        self.lists += 1
        if self.errors:
            raise self.errors.pop(0)
        if self.error is not None:
            raise self.error
        return {"metadata": {"resourceVersion": "100"}, "items": self.claims}

    def explained(self, error: Exception, object: str) -> PlatformError:
        return PlatformError(f"explained: {error}", object=object)


class Bench:
    """A waiter, what it said, and a way to let it hear something."""

    def __init__(self) -> None:
        self.api = FakeApi()
        self.lines: list[tuple[Level, str]] = []
        self.waiter = Waiter(self.api, DEFAULT_POLICY, self._report)  # type: ignore[arg-type]

    def _report(self, line: str, level: Level = Level.CHANGE) -> None:
        self.lines.append((level, line.partition("s ")[2]))

    def add(self, name: str, seconds: float = 60.0) -> Waited:
        return self.waiter.add(target(name), time.monotonic() + seconds)

    def hear(self, *notices: object) -> list[Waited]:
        """Take these and everything that follows from them without waiting."""
        for notice in notices:
            self.waiter.put(notice)
        return list(self.waiter.step(time.monotonic()).changed)

    def said(self, level: Level) -> list[str]:
        return [line for own, line in self.lines if own is level]

    def run_until_over(self) -> None:
        end = time.monotonic() + 10
        while not self.waiter.is_over and time.monotonic() < end:
            self.waiter.step(end)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(waiting, "Watches", SilentWatches)
    found = Bench()
    yield found
    found.waiter.close()


def listed(*claims: dict[str, Any]) -> Listed:
    return Listed(CLAIMS, claims, "1")


def test_a_target_is_current_as_soon_as_its_object_is(bench: Bench) -> None:
    data = bench.add("data")
    bench.hear(listed(claim("data", "Pending")))
    assert not bench.waiter.all_current
    assert bench.hear(Changed(CLAIMS, claim("data", "Bound", 2))) == [data]
    assert bench.waiter.all_current
    assert data.ready_after_seconds is not None


def test_a_change_has_only_that_judged_which_it_touches(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        bench.add(f"data-{number}")
    bench.hear(listed(*(claim(f"data-{number}", "Pending") for number in range(50))))
    judged: list[str] = []
    judge = Gate.judge
    monkeypatch.setattr(
        Gate, "judge", lambda self, target, now: judged.append(target.ref.name) or judge(self, target, now)
    )
    bench.hear(Changed(CLAIMS, claim("data-7", "Bound", 2)))
    assert judged == ["data-7"]


def test_what_explains_is_watched_only_once_something_is_not_ready(bench: Bench) -> None:
    bench.add("data")
    bench.hear(listed(claim("data", "Bound")))
    assert bench.waiter._watches.ensured == {CLAIMS}
    bench.hear(Changed(CLAIMS, claim("data", "Pending", 2)))
    assert EVENTS in bench.waiter._watches.ensured


def test_before_a_target_is_late_the_server_is_asked_once_more(bench: Bench) -> None:
    stalled = bench.add("data", seconds=0.05)
    bench.hear(listed(claim("data", "Pending")))
    bench.api.claims = [claim("data", "Bound", 2)]
    time.sleep(0.06)
    bench.hear()
    assert stalled.is_current
    assert not bench.waiter.failures


def test_what_the_last_look_at_one_target_shows_of_another_is_judged_too(bench: Bench) -> None:
    bench.add("late", seconds=0.05)
    other = bench.add("other", seconds=60.0)
    bench.hear(listed(claim("late", "Pending"), claim("other", "Pending")))
    bench.api.claims = [claim("late", "Pending"), claim("other", "Bound", 2)]
    time.sleep(0.06)
    bench.hear()
    start = time.monotonic()
    bench.waiter.step(start + 5)
    assert other.is_current
    assert time.monotonic() - start < 2, "it waited for something else to happen"


def test_a_target_that_is_late_while_the_server_is_silent_says_both(bench: Bench) -> None:
    bench.add("data", seconds=0.05)
    bench.hear(listed(claim("data", "Pending")))
    bench.api.error = ConnectionFailed("no route to host")
    time.sleep(0.06)
    bench.run_until_over()
    (failure,) = bench.waiter.failures
    assert failure.cause.startswith("not ready after")
    assert bench.api.lists == 1, "the silent server was asked to explain, too"
    assert "could not be asked again: no route to host" in failure.evidence


def test_a_kind_that_is_not_served_is_the_cause_of_being_late(bench: Bench) -> None:
    bench.add("data", seconds=0.0)
    bench.api.error = NotServed("v1", "PersistentVolumeClaim")
    bench.hear()
    assert "does not serve PersistentVolumeClaim" in bench.waiter.failures[0].cause


def test_a_refusal_to_watch_the_targets_fails_all_of_them_and_is_said_once(bench: Bench) -> None:
    waited = [bench.add("a"), bench.add("b")]
    bench.hear(Refused(CLAIMS, ApiError(403, {"message": "no"})))
    assert [entry.is_settled for entry in waited] == [True, True]
    assert [failure.cause for failure in bench.waiter.failures] == ["explained: no"]


def test_a_refusal_to_watch_what_explains_is_no_failure(bench: Bench) -> None:
    bench.add("data")
    bench.hear(Refused(EVENTS, ApiError(403, {"message": "no"})))
    assert not bench.waiter.failures
    assert bench.said(Level.CHANGE) == ["explained: no: causes will be less precise"]


def test_a_target_added_after_its_kind_was_refused_fails_at_once(bench: Bench) -> None:
    bench.add("a")
    bench.hear(Refused(CLAIMS, ApiError(403, {"message": "no"})))
    assert bench.add("b").is_settled


def test_failures_that_come_together_are_reported_together(bench: Bench) -> None:
    bench.add("a")
    bench.add("b")
    bench.add("never")
    bench.hear(listed(claim("a", "Lost"), claim("b", "Pending"), claim("never", "Pending")))
    bench.hear(Changed(CLAIMS, claim("b", "Lost", 2)))
    start = time.monotonic()
    bench.run_until_over()
    assert time.monotonic() - start < 2
    assert {failure.object for failure in bench.waiter.failures} == {
        "PersistentVolumeClaim erp/a",
        "PersistentVolumeClaim erp/b",
    }


def test_an_explanation_that_breaks_leaves_the_failure_and_ends_the_waiting(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Diagnosis, *_arguments: object) -> PlatformError:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Diagnosis, "complete", broken)
    bench.add("data")
    bench.hear(listed(claim("data", "Lost")))
    bench.run_until_over()
    (failure,) = bench.waiter.failures
    assert "the volume it was bound to is gone" in str(failure)
    assert "ZeroDivisionError: a bug" in failure.evidence


def test_states_that_pass_at_once_are_not_shown_and_outcomes_are(bench: Bench) -> None:
    bench.add("data")
    bench.hear(listed(claim("data", "Pending")))
    bench.hear(Changed(CLAIMS, claim("data", "Bound", 2)))
    assert bench.lines == [(Level.OUTCOME, "PersistentVolumeClaim/data bound")]


def test_a_state_that_lasts_is_shown(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LASTING_SECONDS", 0.05)
    bench.add("data")
    bench.hear(listed(claim("data", "Pending")))
    time.sleep(0.06)
    bench.hear()
    assert bench.said(Level.CHANGE) == ["PersistentVolumeClaim/data not bound to a volume yet"]


def test_a_ready_target_that_falters_is_an_outcome(bench: Bench) -> None:
    data = bench.add("data")
    bench.hear(listed(claim("data", "Bound")))
    bench.hear(Changed(CLAIMS, claim("data", "Pending", 2)))
    assert not data.is_current
    assert len(bench.said(Level.OUTCOME)) == 1


def test_many_targets_get_a_summary_instead_of_a_line_each(bench: Bench) -> None:
    names = [f"data-{number}" for number in range(waiting.FLOOD + 1)]
    for name in names:
        bench.add(name)
    bench.hear(listed(*(claim(name, "Pending") for name in names)))
    bench.hear(*(Changed(CLAIMS, claim(name, "Bound", 2)) for name in names[:5]))
    shown = [line for level, line in bench.lines if level < Level.DETAIL]
    assert shown == [f"0/{len(names)} ready"]


def test_success_is_what_the_last_list_says(bench: Bench) -> None:
    data = bench.add("data")
    bench.hear(listed(claim("data", "Bound")))
    bench.api.claims = [claim("data", "Pending", 2)]
    assert bench.waiter.confirm(time.monotonic() + 5) == [data]
    assert not bench.waiter.all_current


def test_an_object_that_is_gone_when_success_is_confirmed_is_not_ready(bench: Bench) -> None:
    bench.add("data")
    bench.hear(listed(claim("data", "Bound")))
    bench.waiter.confirm(time.monotonic() + 5)
    assert not bench.waiter.all_current


def test_a_server_that_refuses_for_a_moment_when_success_is_confirmed_is_asked_again(bench: Bench) -> None:
    bench.add("data")
    bench.hear(listed(claim("data", "Bound")))
    bench.api.claims = [claim("data", "Bound")]
    bench.api.errors = [ApiError(403, {"message": "not yet"}), ApiError(401, {"message": "not yet"})]
    assert bench.waiter.confirm(time.monotonic() + 5) == []
    assert bench.waiter.all_current


def test_a_kind_that_is_gone_when_success_is_confirmed_is_a_failure(bench: Bench) -> None:
    bench.add("data")
    bench.hear(listed(claim("data", "Bound")))
    bench.api.error = NotServed("v1", "PersistentVolumeClaim")
    with pytest.raises(PlatformError, match="does not serve PersistentVolumeClaim"):
        bench.waiter.confirm(time.monotonic() + 5)
