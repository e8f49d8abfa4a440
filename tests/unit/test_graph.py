"""The graph of a rollout: what is refused, and in which order kinds are applied."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.erp.platform.plugins.module_utils.errors import PlatformError
from ansible_collections.erp.platform.plugins.module_utils.graph import dependents_of, nodes_of
from hypothesis import given
from hypothesis import strategies as st

ORDER = [
    ["Namespace"],
    ["CustomResourceDefinition"],
    ["ServiceAccount"],
    ["Role", "ClusterRoleBinding"],
    ["ConfigMap", "Secret"],
    ["SecretStore"],
    ["ExternalSecret"],
    ["PersistentVolumeClaim"],
    ["NetworkPolicy"],
    ["Service"],
    ["TargetGroupBinding"],
    ["Deployment", "StatefulSet", "DaemonSet", "Job", "Widget"],
    ["PodDisruptionBudget"],
    ["HorizontalPodAutoscaler"],
    ["Ingress"],
]


def manifest(kind: str, name: str = "x", namespace: str = "erp") -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": namespace}}


def node(name: str, *manifests: Any, depends_on: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"name": name, "manifests": list(manifests), "depends_on": list(depends_on)}


@given(st.permutations([kind for row in ORDER for kind in row]))
def test_kinds_are_applied_in_the_documented_order_however_they_are_given(kinds: list[str]) -> None:
    (only,) = nodes_of([node("all", *(manifest(kind) for kind in kinds))])
    assert [sorted(entry["kind"] for entry in group) for group in only.groups] == [sorted(row) for row in ORDER]


def test_a_list_object_is_its_items() -> None:
    (only,) = nodes_of([node("all", {"kind": "List", "apiVersion": "v1", "items": [manifest("Service")]})])
    assert [entry["kind"] for entry in only.manifests] == ["Service"]


def test_all_problems_come_at_once() -> None:
    with pytest.raises(PlatformError) as refused:
        nodes_of(
            [
                node("a", manifest("Service"), depends_on=("ghost",)),
                node("a", manifest("Service")),
                node("b", "text", {"kind": "Pod"}),
            ]
        )
    said = str(refused.value)
    assert "node a: two nodes have this name" in said
    assert "node a: depends on ghost, which is no node" in said
    assert "Service erp/x: is described twice" in said
    assert "manifest 0 is no mapping but str" in said
    assert "manifest 1 lacks apiVersion, metadata.name" in said


def test_a_circle_is_shown() -> None:
    with pytest.raises(PlatformError, match="in a circle") as refused:
        nodes_of([node("a", depends_on=("b",)), node("b", depends_on=("c",)), node("c", depends_on=("a",))])
    shown = refused.value.evidence.split(" -> ")
    assert shown[0] == shown[-1]
    assert set(shown) == {"a", "b", "c"}


def test_the_same_name_in_another_namespace_or_kind_is_another_object() -> None:
    nodes_of([node("a", manifest("Service"), manifest("Service", namespace="other"), manifest("Secret"))])


def test_dependents_are_found_through_others() -> None:
    nodes = nodes_of([node("a"), node("b", depends_on=("a",)), node("c", depends_on=("b",)), node("d")])
    assert dependents_of("a", nodes) == {"b", "c"}
