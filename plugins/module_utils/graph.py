"""The graph of a rollout: named nodes, what each depends on, and the order of kinds inside one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import Any

from .errors import PlatformError, raise_all
from .objects import Manifest, Ref, ref_of

# Inside a node, the kinds of one row are applied together, row after row; kinds not listed go with the workloads.
KIND_ORDER: tuple[frozenset[str], ...] = (
    frozenset({"Namespace"}),
    frozenset({"CustomResourceDefinition"}),
    frozenset({"ServiceAccount", "PriorityClass", "StorageClass", "ResourceQuota", "LimitRange"}),
    frozenset({"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}),
    frozenset({"ConfigMap", "Secret"}),
    frozenset({"SecretStore", "ClusterSecretStore"}),
    frozenset({"ExternalSecret", "ClusterExternalSecret"}),
    frozenset({"PersistentVolume", "PersistentVolumeClaim"}),
    frozenset({"NetworkPolicy"}),
    frozenset({"Service"}),
    frozenset({"TargetGroupBinding"}),
    frozenset(),
    frozenset({"PodDisruptionBudget"}),
    frozenset({"HorizontalPodAutoscaler"}),
    frozenset({"Ingress"}),
)
_WORKLOADS = KIND_ORDER.index(frozenset())

# What comes later cannot work, or would be judged wrongly, before these are ready: objects need their namespace and
# their type, pods their secrets (a pod that starts before its Secret exists shows an error that is fatal otherwise).
READY_FIRST = frozenset(
    {
        "Namespace",
        "CustomResourceDefinition",
        "SecretStore",
        "ClusterSecretStore",
        "ExternalSecret",
        "ClusterExternalSecret",
    }
)


@dataclass(frozen=True)
class Node:
    name: str
    manifests: tuple[Any, ...]
    depends_on: tuple[str, ...] = ()
    timeout_seconds: float | None = None
    groups: tuple[tuple[Manifest, ...], ...] = field(init=False)

    def __post_init__(self) -> None:
        rows: dict[int, list[Any]] = {}
        for manifest in self.manifests:
            if isinstance(manifest, Mapping):  # what isn't is reported by nodes_of
                rows.setdefault(_row(str(manifest.get("kind"))), []).append(manifest)
        object.__setattr__(self, "groups", tuple(tuple(rows[row]) for row in sorted(rows)))


def nodes_of(entries: Sequence[Mapping[str, Any]]) -> tuple[Node, ...]:
    """The nodes that the option describes. Every problem of the input is reported at once."""
    problems: list[PlatformError] = []
    nodes = tuple(
        Node(
            str(entry["name"]),
            tuple(_flattened(entry.get("manifests") or [])),
            tuple(entry.get("depends_on") or ()),
            entry.get("timeout_seconds"),
        )
        for entry in entries
    )
    names = [node.name for node in nodes]
    problems += [
        PlatformError("two nodes have this name", object=f"node {name}")
        for name in sorted({name for name in names if names.count(name) > 1})
    ]
    for node in nodes:
        problems += _problems_of_dependencies(node, names)
        problems += _problems_of_manifests(node)
    problems += _duplicates(nodes)
    if not problems:
        problems += _cycles(nodes)
    raise_all(problems)
    return nodes


def dependents_of(name: str, nodes: Iterable[Node]) -> set[str]:
    """All nodes that wait, directly or through others, for this one."""
    found: set[str] = set()
    pending = [name]
    while pending:
        current = pending.pop()
        for node in nodes:
            if current in node.depends_on and node.name not in found:
                found.add(node.name)
                pending.append(node.name)
    return found


def _row(kind: str) -> int:
    for row, kinds in enumerate(KIND_ORDER):
        if kind in kinds:
            return row
    return _WORKLOADS


def _flattened(manifests: Iterable[Any]) -> Iterable[Any]:
    for manifest in manifests:
        if isinstance(manifest, Mapping) and str(manifest.get("kind", "")).endswith("List") and "items" in manifest:
            yield from _flattened(manifest["items"])
        elif manifest is not None:
            yield manifest


def _problems_of_dependencies(node: Node, names: Sequence[str]) -> Iterable[PlatformError]:
    for unknown in sorted(set(node.depends_on) - set(names)):
        yield PlatformError(
            f"depends on {unknown}, which is no node",
            object=f"node {node.name}",
            evidence=f"nodes: {', '.join(names)}",
        )


def _problems_of_manifests(node: Node) -> Iterable[PlatformError]:
    for index, manifest in enumerate(node.manifests):
        if not isinstance(manifest, Mapping):
            yield PlatformError(
                f"manifest {index} is no mapping but {type(manifest).__name__}", object=f"node {node.name}"
            )
            continue
        ref = ref_of(manifest)
        missing = [
            key
            for key, value in (("apiVersion", ref.api_version), ("kind", ref.kind), ("metadata.name", ref.name))
            if not value
        ]
        if missing:
            yield PlatformError(
                f"manifest {index} lacks {', '.join(missing)}",
                object=f"node {node.name}" + (f", {ref}" if ref.kind else ""),
            )


def _duplicates(nodes: Iterable[Node]) -> Iterable[PlatformError]:
    first: dict[tuple[str, str, str], str] = {}
    for node in nodes:
        for manifest in node.manifests:
            if not isinstance(manifest, Mapping):
                continue
            ref: Ref = ref_of(manifest)
            if ref.identity in first:
                where = (
                    f"in node {node.name}"
                    if first[ref.identity] == node.name
                    else f"in nodes {first[ref.identity]} and {node.name}"
                )
                yield PlatformError(f"is described twice, {where}", object=str(ref))
            first.setdefault(ref.identity, node.name)


def _cycles(nodes: Iterable[Node]) -> Iterable[PlatformError]:
    try:
        TopologicalSorter({node.name: node.depends_on for node in nodes}).prepare()
    except CycleError as error:
        yield PlatformError(
            "the nodes depend on each other in a circle", object="nodes", evidence=" -> ".join(reversed(error.args[1]))
        )
