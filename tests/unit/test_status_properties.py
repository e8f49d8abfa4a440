"""What holds for the status of any object, whatever its kind and whatever its controller wrote."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.erp.platform.plugins.module_utils.status import RULES, State, status_of
from hypothesis import assume, given
from hypothesis import strategies as st

FIXTURES = {
    path.stem: yaml.safe_load(path.read_text())["object"]
    for path in sorted(Path(__file__).parent.glob("fixtures/status/*.yml"))
}
OBSERVED = [
    name for name, obj in FIXTURES.items() if isinstance((obj.get("status") or {}).get("observedGeneration"), int)
]
FAILED = [name for name, obj in FIXTURES.items() if status_of(obj).state is State.FAILED]
WITH_CONDITIONS = [name for name, obj in FIXTURES.items() if (obj.get("status") or {}).get("conditions")]

TYPES = ["Ready", "Available", "Progressing", "Synced", "Stalled", "Reconciling", "Failed", "Complete", "Established"]
TYPES += ["NamesAccepted", "AbleToScale", "ScalingActive", "Accepted", "Programmed", "ResolvedRefs", "Suspended"]
FIELDS = ["conditions", "observedGeneration", "phase", "replicas", "readyReplicas", "updatedReplicas", "parents"]
FIELDS += [
    "availableReplicas",
    "loadBalancer",
    "ingress",
    "listeners",
    "parentRefs",
    "parentRef",
    "capacity",
    "storage",
]
FIELDS += ["type", "status", "reason", "message", "lastTransitionTime", "resources", "requests", "updateStrategy"]
FIELDS += ["rollingUpdate", "partition", "readinessGates", "containerStatuses", "state", "terminated", "exitCode"]
FIELDS += ["desiredNumberScheduled", "syncedResourceVersion", "refreshInterval", "completions", "name", "addresses"]
WORDS = [
    *TYPES,
    "True",
    "False",
    "Unknown",
    "LoadBalancer",
    "Bound",
    "Failed",
    "Running",
    "1Gi",
    "x",
    "2-x",
    "OnDelete",
]

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(WORDS),
    st.text(max_size=5),
    st.sampled_from(["²", "9" * 5000]),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=3), inner),
    max_leaves=12,
)
CONDITION = st.fixed_dictionaries(
    {"type": st.sampled_from(TYPES), "status": st.sampled_from(["True", "False", "Unknown"])},
    optional={
        "reason": st.sampled_from(["A", "B", "NewReplicaSetAvailable", "ProgressDeadlineExceeded"]),
        "observedGeneration": st.integers(min_value=1, max_value=3),
        "lastTransitionTime": st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"]),
    },
)


@given(name=st.sampled_from(WITH_CONDITIONS), data=st.data())
def test_neither_the_order_of_conditions_nor_repeating_one_changes_the_status(name: str, data: st.DataObject) -> None:
    obj = copy.deepcopy(FIXTURES[name])
    conditions = obj["status"]["conditions"]
    repeated = data.draw(st.lists(st.sampled_from(conditions), max_size=3))
    obj["status"]["conditions"] = data.draw(st.permutations([*conditions, *repeated]))
    assert status_of(obj) == status_of(FIXTURES[name])


@given(kind=st.sampled_from(sorted(RULES)), conditions=st.lists(CONDITION, max_size=6), data=st.data())
def test_contradicting_conditions_give_the_same_status_in_any_order(
    kind: tuple[str, str], conditions: list[Any], data: st.DataObject
) -> None:
    obj = _object(kind, {"observedGeneration": 1, "conditions": conditions}, generation=1)
    status = status_of(obj)
    obj["status"]["conditions"] = data.draw(st.permutations(conditions))
    assert status_of(obj) == status


@given(name=st.sampled_from(FAILED), older=st.lists(CONDITION, max_size=4), data=st.data())
def test_what_conditions_said_in_the_past_never_makes_a_failed_object_current(
    name: str, older: list[Any], data: st.DataObject
) -> None:
    obj = copy.deepcopy(FIXTURES[name])
    status = obj["status"]
    present = status.get("conditions") or []
    types = {entry["type"] for entry in present}
    now = [{**entry, "lastTransitionTime": "2026-02-01T00:00:00Z"} for entry in present]
    status["conditions"] = data.draw(st.permutations([*now, *(entry for entry in older if entry["type"] in types)]))
    assert not status_of(obj).is_current


@given(name=st.sampled_from(OBSERVED), newer=st.integers(min_value=1))
def test_a_generation_that_is_not_observed_yet_is_never_current(name: str, newer: int) -> None:
    obj = copy.deepcopy(FIXTURES[name])
    obj["metadata"]["generation"] = obj["status"]["observedGeneration"] + newer
    status = status_of(obj)
    assert status.state in {State.IN_PROGRESS, State.TERMINATING}
    assert status.state is State.TERMINATING or status.reason == "GenerationNotObserved"


@given(name=st.sampled_from(sorted(FIXTURES)), generation=st.integers(min_value=1), observed=st.integers(min_value=1))
def test_a_status_of_another_generation_is_never_current(name: str, generation: int, observed: int) -> None:
    obj = copy.deepcopy(FIXTURES[name])
    obj["metadata"]["generation"] = generation
    obj["status"] = {**(obj.get("status") or {}), "observedGeneration": observed}
    assert generation == observed or not status_of(obj).is_current


@pytest.mark.parametrize("type_", ["Ready", "Available", "Succeeded", "Synced"])
@given(observed=st.integers(min_value=1, max_value=5), generation=st.integers(min_value=1, max_value=5))
def test_a_condition_counts_only_for_the_generation_it_is_about(type_: str, observed: int, generation: int) -> None:
    entry = {"type": type_, "status": "True", "observedGeneration": observed}
    obj = _object(("example.com", "Widget"), {"conditions": [entry]}, generation=generation)
    assert status_of(obj).is_current is (observed >= generation)


@given(name=st.sampled_from(sorted(FIXTURES)))
def test_an_object_being_deleted_is_never_anything_else(name: str) -> None:
    obj = copy.deepcopy(FIXTURES[name])
    obj["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert status_of(obj).state is State.TERMINATING


@given(kind=st.sampled_from([*sorted(RULES), ("example.com", "Widget")]), spec=JSON, status=JSON)
def test_whatever_stands_in_spec_and_status_gives_a_status(kind: tuple[str, str], spec: Any, status: Any) -> None:
    assert status_of({**_object(kind, status, generation=1), "spec": spec}).reason


@given(name=st.sampled_from(sorted(FIXTURES)), junk=JSON, data=st.data())
def test_any_field_of_any_fixture_may_hold_something_else(name: str, junk: Any, data: st.DataObject) -> None:
    obj = copy.deepcopy(FIXTURES[name])
    places = [*_places(obj.get("spec")), *_places(obj.get("status"))]
    assume(places)
    holder, key = data.draw(st.sampled_from(places))
    holder[key] = junk
    assert isinstance(status_of(obj).message, str)


COUNTS = {
    "Deployment": ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"],
    "StatefulSet": ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "currentReplicas"],
    "ReplicaSet": ["replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
}
READY = {"readyReplicas", "availableReplicas", "numberReady", "numberAvailable"}
NODES = ["desiredNumberScheduled", "currentNumberScheduled", "updatedNumberScheduled", "numberAvailable", "numberReady"]


@st.composite
def workloads(draw: st.DrawFn) -> dict[str, Any]:
    kind, wanted = draw(st.sampled_from([*sorted(COUNTS), "DaemonSet"])), draw(st.integers(min_value=0, max_value=3))
    # Most counts are what is wanted, or a Current workload were hardly ever among them.
    status: dict[str, Any] = {
        name: max(0, wanted + draw(st.sampled_from([0, 0, 0, 0, 1, -1]))) for name in COUNTS.get(kind, NODES)
    }
    status["observedGeneration"] = 1
    status["conditions"] = [
        {"type": "Available", "status": draw(st.sampled_from(["True", "True", "True", "False"]))},
        {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
    ]
    obj = _object(("apps", kind), status, generation=1)
    obj["spec"] = {"replicas": wanted, "minReadySeconds": draw(st.sampled_from([0, 10]))}
    return obj


@given(workload=workloads(), more=st.integers(min_value=1, max_value=3))
def test_more_ready_pods_never_make_a_current_workload_less(workload: dict[str, Any], more: int) -> None:
    before = status_of(workload)
    for name in READY & set(workload["status"]):
        workload["status"][name] += more
    assert not before.is_current or status_of(workload).is_current


@given(workload=workloads())
def test_a_workload_with_fewer_ready_pods_than_wanted_is_never_current(workload: dict[str, Any]) -> None:
    status = workload["status"]
    if workload["kind"] == "DaemonSet":
        wanted, ready = status["desiredNumberScheduled"], status["numberReady"]
    else:
        wanted, ready = workload["spec"]["replicas"], status["readyReplicas"]
    assert ready >= wanted or not status_of(workload).is_current


def _object(kind: tuple[str, str], status: Any, *, generation: int) -> dict[str, Any]:
    group, name = kind
    return {
        "apiVersion": f"{group}/v1" if group else "v1",
        "kind": name,
        "metadata": {"name": "example", "generation": generation},
        "status": status,
    }


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place inside a value: what holds it and its key there."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield value, key
        yield from _places(inner)
