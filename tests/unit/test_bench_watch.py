"""The independent watch calls a Deployment ready exactly when `kubectl rollout status` does."""

from __future__ import annotations

from typing import Any

import pytest

from bench.watch import AllReady, first_match, image_missing, rolled_out


def deployment(
    status: dict[str, int], name: str = "web", *, generation: int = 1, replicas: int | None = 2
) -> dict[str, Any]:
    spec = {} if replicas is None else {"replicas": replicas}
    return {"metadata": {"name": name, "generation": generation}, "spec": spec, "status": status}


def counts(number: int, **changed: int) -> dict[str, int]:
    keys = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")
    return {"observedGeneration": 1, **dict.fromkeys(keys, number), **changed}


def pod(state: dict[str, Any]) -> dict[str, Any]:
    return {"status": {"containerStatuses": [{"state": {"running": {}}}, {"state": state}]}}


def test_all_pods_new_and_available_is_ready() -> None:
    assert rolled_out(deployment(counts(2)))


def test_one_replica_is_meant_where_none_are_named() -> None:
    assert rolled_out(deployment(counts(1), replicas=None))


@pytest.mark.parametrize("key", ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"])
@pytest.mark.parametrize("number", [1, 3])
def test_any_count_off_is_not_ready(key: str, number: int) -> None:
    assert not rolled_out(deployment(counts(2, **{key: number})))


def test_a_status_of_the_generation_before_is_not_ready() -> None:
    assert not rolled_out(deployment(counts(2), generation=2))


def test_a_deployment_without_status_is_not_ready() -> None:
    assert not rolled_out(deployment({}))


def test_all_are_ready_only_while_each_is() -> None:
    reached = AllReady(2)
    steps = [
        deployment(counts(2), "a"),
        deployment(counts(2, readyReplicas=1), "a"),
        deployment(counts(2), "b"),
        deployment(counts(2), "a"),
    ]
    assert [reached(step) for step in steps] == [False, False, False, True]


def test_the_same_deployment_ready_twice_counts_once() -> None:
    reached = AllReady(2)
    assert not reached(deployment(counts(2), "a"))
    assert not reached(deployment(counts(2), "a"))


def test_a_pod_whose_image_does_not_exist_is_seen_in_any_container() -> None:
    assert image_missing(pod({"waiting": {"reason": "ErrImagePull", "message": "NotFound: web:1: not found"}}))


@pytest.mark.parametrize("state", [{"waiting": {"reason": "ContainerCreating"}}, {"running": {}}])
def test_a_pod_that_starts_is_no_failure(state: dict[str, Any]) -> None:
    assert not image_missing(pod(state))
    assert not image_missing({"status": {}})


@pytest.mark.parametrize("events", [[], [{"type": "ERROR", "object": {"code": 410}}]])
def test_a_watch_that_breaks_is_no_measurement(events: list[dict[str, Any]]) -> None:
    with pytest.raises(SystemExit, match="watch"):
        first_match(iter(events), lambda _: True)
