"""Why an object will not become ready, one fixture for each rule; a fixture's name says what it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.erp.platform.plugins.module_utils.evidence import evidence_of
from ansible_collections.erp.platform.plugins.module_utils.findings import (
    FailFast,
    Finding,
    find,
    when_failed,
    when_late,
)
from ansible_collections.erp.platform.plugins.module_utils.live import STORAGE_CLASSES, LiveState
from ansible_collections.erp.platform.plugins.module_utils.objects import Ref, ref_of
from ansible_collections.erp.platform.plugins.module_utils.status import NOT_FOUND, State, Status, status_of
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


def test_a_crash_loop_blames_its_container() -> None:
    fixture = FIXTURES["crash-loop-after-two-restarts"]
    (finding,) = find(fixture["object"], around(fixture), FailFast())
    assert (finding.rule, finding.container, finding.subject["metadata"]["name"]) == ("crash-loop", "web", "web-new-1")


def test_evidence_names_the_pods_state_and_the_last_warnings() -> None:
    fixture = FIXTURES["image-not-found-says-only-the-event"]
    evidence = "\n".join(evidence_of(fixture["object"], around(fixture)))
    assert "pod web-new-1 container web: ImagePullBackOff" in evidence
    assert "event on pod web-new-1: Failed: Failed to pull image" in evidence


def late(name: str) -> Finding:
    obj = FIXTURES[name]["object"]
    status = Status(State.IN_PROGRESS, "LessReady", "0/1 ready")
    return when_late(ref_of(obj), status, [obj], around(FIXTURES[name]), 30.0)


def test_at_the_deadline_one_restart_is_reason_enough() -> None:
    assert late("crash-loop-after-one-restart").cause.startswith("not ready after 30 s: the container crashes again")


def test_at_the_deadline_what_would_have_ended_it_soonest_comes_first() -> None:
    finding = late("stateful-set-update-revision-fails")
    assert finding.cause == "not ready after 30 s: the image does not exist in the registry"
    assert finding.rule == "image-missing"


def test_at_the_deadline_without_any_finding_the_status_and_the_next_look_are_said() -> None:
    finding = late("container-starting")
    assert finding.cause == "not ready after 30 s"
    assert finding.evidence.startswith("InProgress LessReady: 0/1 ready\npod web-new-1 ")
    assert finding.next_command == "kubectl -n erp describe pod web-new-1"


def test_what_never_came_is_not_found_at_the_deadline() -> None:
    finding = when_late(Ref("v1", "ConfigMap", "erp", "settings"), NOT_FOUND, [], LiveState(), 5.0)
    assert (finding.rule, finding.cause) == ("not-found", "not ready after 5 s: does not exist")
    assert finding.next_command == "kubectl -n erp get configmap"


def test_a_service_that_waits_for_endpoints_is_explained_by_its_endpoints() -> None:
    status = Status(State.IN_PROGRESS, "LessEndpoints", "0/1 ready endpoint")
    finding = when_late(Ref("v1", "Service", "erp", "web"), status, [], LiveState(), 5.0)
    assert finding.rule == "endpoints"


def test_a_failed_job_is_explained_by_the_container_that_ended() -> None:
    fixture = FIXTURES["job-container-failed"]
    job = fixture["object"]
    finding = when_failed(ref_of(job), status_of(job), [job], around(fixture))
    assert (finding.rule, finding.container) == ("ended", "migrate")
    assert finding.cause == "the Job failed: its pods failed too often; container migrate ended with exit code 3"
    assert "BackoffLimitExceeded" in finding.evidence


def test_a_deployment_without_progress_is_explained_by_its_pods() -> None:
    fixture = FIXTURES["image-not-found"]
    obj = fixture["object"]
    status = Status(State.FAILED, "ProgressDeadlineExceeded", "timed out progressing")
    finding = when_failed(ref_of(obj), status, [obj], around(fixture))
    assert finding.cause == "the image does not exist in the registry"
    assert finding.evidence.startswith("ProgressDeadlineExceeded: timed out progressing\n")


def test_a_claim_that_lost_its_volume_says_so() -> None:
    claim = {"kind": "PersistentVolumeClaim", "metadata": {"name": "data", "uid": "claim"}, "status": {"phase": "Lost"}}
    finding = when_failed(Ref("v1", "PersistentVolumeClaim", "erp", "data"), status_of(claim), [claim], LiveState())
    assert finding.cause == "the volume it was bound to is gone"
