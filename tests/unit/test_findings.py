"""Why an object will not become ready, one fixture for each rule; a fixture's name says what it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.erp.platform.plugins.module_utils.findings import (
    FailFast,
    LogSource,
    evidence_of,
    find,
    log_source,
)
from ansible_collections.erp.platform.plugins.module_utils.live import STORAGE_CLASSES, LiveState
from ansible_collections.erp.platform.plugins.module_utils.watch import Changed, Listed, Scope

EVENTS = Scope("v1", "Event", "erp")
SCOPES = {
    Scope("v1", "Pod", "erp"): "pods",
    Scope("apps/v1", "ReplicaSet", "erp"): "replica_sets",
    Scope("apps/v1", "ControllerRevision", "erp"): "controller_revisions",
    EVENTS: "events",
    STORAGE_CLASSES: "storage_classes",
}

FIXTURES = {
    path.stem: yaml.safe_load(path.read_text())
    for path in sorted(Path(__file__).parent.glob("fixtures/findings/*.yml"))
}


def around(fixture: dict[str, Any]) -> LiveState:
    """What the watches would have brought; ``fresh_events`` after the first list, the rest with it."""
    live = LiveState()
    fresh = fixture.get("fresh_events") or []
    for scope, key in SCOPES.items():
        if key in fixture:
            items = [entry for entry in fixture[key] if entry not in fresh]
            live.take(Listed(scope, tuple(typed(scope, entry) for entry in items), "1"))
    for entry in fresh:
        live.take(Changed(EVENTS, typed(EVENTS, entry)))
    return live


def typed(scope: Scope, entry: dict[str, Any]) -> dict[str, Any]:
    """The entry with what every object of a cluster has."""
    identity = str(entry)
    metadata = {"name": identity, "uid": identity, "resourceVersion": "1", **(entry.get("metadata") or {})}
    return {"apiVersion": scope.api_version, "kind": scope.kind, **entry, "metadata": metadata}


@pytest.mark.parametrize("name", FIXTURES)
def test_the_findings_are_what_the_fixture_says(name: str) -> None:
    fixture = FIXTURES[name]
    found = find(fixture["object"], around(fixture), FailFast())
    expected = fixture["expected"]
    assert [{"cause": finding.cause, "grace_seconds": finding.grace_seconds} for finding in found] == expected
    for finding in found:
        assert finding.evidence
        assert finding.next_command.startswith("kubectl ")


@pytest.mark.parametrize("name", FIXTURES)
def test_the_same_problem_keeps_its_key_so_that_its_grace_can_end(name: str) -> None:
    fixture = FIXTURES[name]
    keys = [finding.key for finding in find(fixture["object"], around(fixture), FailFast())]
    assert keys == [finding.key for finding in find(fixture["object"], around(fixture), FailFast())]
    assert len(set(keys)) == len(keys)


def test_a_node_autoscaler_makes_a_pod_without_node_no_reason_to_give_up() -> None:
    fixture = FIXTURES["pod-unschedulable"]
    (finding,) = find(fixture["object"], around(fixture), FailFast(unschedulable_seconds=None))
    assert finding.grace_seconds is None


def test_the_caller_says_how_many_restarts_are_a_crash_loop() -> None:
    fixture = FIXTURES["crash-loop-after-two-restarts"]
    assert find(fixture["object"], around(fixture), FailFast(crash_loop_restarts=3)) == []


def test_a_crash_loop_is_explained_by_the_previous_log() -> None:
    fixture = FIXTURES["crash-loop-after-two-restarts"]
    assert log_source(fixture["object"], around(fixture)) == LogSource("erp", "web-new-1", "web", previous=True)


def test_evidence_names_the_pods_state_and_the_last_warnings() -> None:
    fixture = FIXTURES["image-not-found-says-only-the-event"]
    evidence = evidence_of(fixture["object"], around(fixture))
    assert "pod web-new-1 container web: ImagePullBackOff" in evidence
    assert "event on pod web-new-1: Failed: Failed to pull image" in evidence
