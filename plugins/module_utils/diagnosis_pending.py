"""Why no node takes a pod: what is short where, whom the labels, taints and volumes leave over."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from .diagnosis_reads import Reads, by_name
from .evidence import event_line, last_seen
from .finding import Explanation, Finding, Object
from .findings_pods import claims_of
from .objects import Ref, labels_of, ref_of
from .workload_pods import made_by

# "0/4 nodes are available: 1 Insufficient cpu, 3 node(s) had untolerated taint {workload: kafka}. preemption: …"
_REASON = re.compile(
    r"(?P<count>\d+) (?P<reason>(?:Insufficient|Too many|node\(s\)|preemption)[^,.]*(?:\{[^}]*\})?[^,.]*)"
)
_TAINT = re.compile(r"untolerated taint\(?s?\)? ?\{(?P<key>[^:}]+)(?:: ?(?P<value>[^}]*))?\}")
_INSUFFICIENT = re.compile(r"Insufficient (?P<resource>\S+)")
_ZONES = ("topology.kubernetes.io/zone", "topology.ebs.csi.aws.com/zone", "failure-domain.beta.kubernetes.io/zone")
_SHOWN_NODES = 3


@dataclass(frozen=True)
class Room:
    """A node, and what of a resource it has in all and still free."""

    node: str
    free: Decimal
    all: Decimal


@dataclass(frozen=True)
class Cluster:
    """What was read about where the pod could go; None is what could not be read."""

    nodes: Sequence[Object] | None
    pods: Sequence[Object] | None
    claims: Mapping[str, Object] | None
    claim_events: Sequence[Object]
    volumes: Sequence[Object] | None


def explain_pending(finding: Finding, reads: Reads) -> Explanation:
    pod = finding.subject
    namespace = ref_of(pod).namespace
    claims: Mapping[str, Object] | None = {}
    events: list[Object] = []
    volumes: Sequence[Object] | None = ()
    names = claims_of(pod)
    if names:
        listed = reads.items("v1", "PersistentVolumeClaim", namespace)
        claims = by_name(listed) if listed is not None else None
        of_claims = "involvedObject.kind=PersistentVolumeClaim,type!=Normal"
        listed_events = reads.items("v1", "Event", namespace, field_selector=of_claims) or ()
        events = [event for event in listed_events if (event.get("involvedObject") or {}).get("name") in names]
        if "volume node affinity" in finding.evidence:
            volumes = reads.items("v1", "PersistentVolume")
    needs_nodes = "nodes are available" in finding.evidence
    nodes = reads.items("v1", "Node") if needs_nodes else ()
    pods: Sequence[Object] | None = ()
    if nodes is None or re.search(r"Insufficient|Too many pods", finding.evidence):
        # Pods that have ended hold no resources any more.
        pods = reads.items("v1", "Pod", field_selector="status.phase!=Succeeded,status.phase!=Failed")
    return pending_explanation(finding, Cluster(nodes, pods, claims, events, volumes))


def pending_explanation(finding: Finding, cluster: Cluster) -> Explanation:
    """Reasons in the order in which they are worth looking at; taints come last, since every pod meets the taints of
    node groups that are not meant for it.
    """
    pod, message = finding.subject, finding.evidence.partition("preemption:")[0]
    found = [*_about_claims(pod, message, cluster)]
    reasons = [(match["reason"].strip(), int(match["count"])) for match in _REASON.finditer(message)]
    for resource in dict.fromkeys(
        match["resource"] for reason, _count in reasons if (match := _INSUFFICIENT.search(reason))
    ):
        found.append(_short(pod, resource, cluster, reasons))
    for reason, count in reasons:
        found += _about_reason(pod, reason, count, cluster)
    tainted = _tainted(pod, message, cluster) if "untolerated taint" in message else []
    # The taints of other node groups are only worth the sentence when nothing else is to blame.
    worth = found or tainted
    if not worth:
        return Explanation()
    because = "; ".join(explanation.because for explanation in worth if explanation.because)
    evidence = [line for explanation in [*found, *tainted] for line in explanation.evidence]
    return Explanation(because, evidence, worth[0].next_command)


def requests_of(pod: Object, resource: str) -> Decimal:
    """What the scheduler reserves: all containers and sidecars, or one init container if that wants more."""
    spec = pod.get("spec") or {}
    inits = spec.get("initContainers") or []
    sidecars = [entry for entry in inits if entry.get("restartPolicy") == "Always"]
    running = sum((_request(entry, resource) for entry in [*(spec.get("containers") or []), *sidecars]), Decimal(0))
    most = max((_request(entry, resource) for entry in inits), default=Decimal(0))
    return max(running, most) + _quantity((spec.get("overhead") or {}).get(resource))


def rooms(resource: str, nodes: Sequence[Object], pods: Sequence[Object]) -> list[Room]:
    """How much of the resource each node has free, most first."""
    used: dict[str, Decimal] = {}
    for pod in pods:
        node = str((pod.get("spec") or {}).get("nodeName") or "")
        used[node] = used.get(node, Decimal(0)) + (1 if resource == "pods" else requests_of(pod, resource))
    found = []
    for entry in nodes:
        name, all_ = ref_of(entry).name, _quantity(((entry.get("status") or {}).get("allocatable") or {}).get(resource))
        found.append(Room(name, all_ - used.get(name, Decimal(0)), all_))
    return sorted(found, key=lambda room: room.free, reverse=True)


def _short(pod: Object, resource: str, cluster: Cluster, reasons: Sequence[tuple[str, int]]) -> Explanation:
    wants = requests_of(pod, resource)
    count = next(count for reason, count in reasons if f"Insufficient {resource}" in reason)
    if cluster.nodes is None:
        return Explanation(f"{resource} is short on {_nodes(count)}", next_command="kubectl describe nodes")
    usable = [node for node in cluster.nodes if _takes(node, pod)] or list(cluster.nodes)
    free = rooms(resource, usable, cluster.pods or ())
    largest = max((room.all for room in free), default=Decimal(0))
    shown = ", ".join(
        f"{room.node} {_amount(room.free, resource)} of {_amount(room.all, resource)}" for room in free[:_SHOWN_NODES]
    )
    if wants > largest:
        wanted, most = _amount(wants, resource), _amount(largest, resource)
        because = f"it wants {resource} {wanted}, more than any node for it has ({most})"
        owner = made_by(pod)
        command = f"kubectl -n {ref_of(pod).namespace} set resources {owner} --requests={resource}=…"
        return Explanation(because, [f"{resource}: {shown} free"], f"{command}, or larger nodes")
    because = f"it wants {resource} {_amount(wants, resource)}, most free: {shown}"
    if cluster.pods is None:
        return Explanation(f"{resource} is short on {_nodes(count)}", (), "kubectl describe nodes")
    return Explanation(because, (), f"kubectl describe node {free[0].node}  (Allocated resources), or add a node")


def _about_reason(pod: Object, reason: str, count: int, cluster: Cluster) -> list[Explanation]:
    spec = pod.get("spec") or {}
    on = _nodes(count)
    if "Too many pods" in reason:
        free = rooms("pods", cluster.nodes or (), cluster.pods or ())
        shown = ", ".join(f"{room.node} {room.all - room.free} of {room.all}" for room in free[:_SHOWN_NODES])
        return [Explanation(f"{on} run as many pods as they may", [f"pods: {shown}"], "kubectl get nodes")]
    if "node affinity/selector" in reason or "node selector" in reason:
        return _unselected(pod, cluster)
    if "volume node affinity conflict" in reason:
        return [_volume_elsewhere(pod, cluster)]
    if "topology spread" in reason:
        keys = [str(entry.get("topologyKey")) for entry in spec.get("topologySpreadConstraints") or []]
        because = f"its topology spread over {', '.join(keys)} forbids {on}"
        return [Explanation(because, (), f"kubectl get nodes -L {','.join(keys)}")]
    if "pod anti-affinity" in reason or "pod affinity" in reason:
        which = "podAntiAffinity" if "anti-affinity" in reason else "podAffinity"
        terms = ((spec.get("affinity") or {}).get(which) or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
        keys = [str(term.get("topologyKey")) for term in terms or []]
        because = f"its {which} by {', '.join(keys)} forbids {on}" if keys else f"{which} forbids {on}"
        return [Explanation(because, (), f"kubectl -n {ref_of(pod).namespace} get pods -o wide")]
    if "were unschedulable" in reason:
        names = [ref_of(node).name for node in cluster.nodes or () if (node.get("spec") or {}).get("unschedulable")]
        because = f"{', '.join(names) or on} is cordoned"
        return [Explanation(because, (), f"kubectl uncordon {' '.join(names)}")]
    if "free ports" in reason:
        return [Explanation(f"its host ports are taken on {on}", (), "kubectl get pods --all-namespaces -o wide")]
    return []


def _unselected(pod: Object, cluster: Cluster) -> list[Explanation]:
    """Which label no node has; nothing if there are nodes with all of them, which something else rules out then."""
    wanted = _node_labels(pod)
    keys = list(dict.fromkeys(key for key, _operator, _values in wanted))
    command = f"kubectl get nodes -L {','.join(keys)}" if keys else "kubectl get nodes --show-labels"
    if cluster.nodes is None:
        return [Explanation("its node selector or affinity matches no node", (), command)]
    if any(_is_selected(node, pod) for node in cluster.nodes):
        return []
    impossible = [entry for entry in wanted if not any(_fits(labels_of(node), *entry) for node in cluster.nodes)]
    if not impossible:
        shown = ", ".join(_requirement(*entry) for entry in wanted)
        return [Explanation(f"no node has all of {shown}" if shown else "", (), command)]
    evidence = []
    for key, _operator, _values in impossible:
        there = sorted({str(labels_of(node)[key]) for node in cluster.nodes if key in labels_of(node)})
        evidence.append(f"label {key} of the nodes: {', '.join(there) or 'no node has it'}")
    because = f"no node has {' and '.join(_requirement(*entry) for entry in impossible)}"
    return [Explanation(because, evidence, command)]


def _node_labels(pod: Object) -> list[tuple[str, str, list[str]]]:
    """What the pod wants of a node's labels, by its node selector and its affinity."""
    selector = (pod.get("spec") or {}).get("nodeSelector") or {}
    return [*((key, "In", [value]) for key, value in selector.items()), *_affinity(pod)]


def _is_selected(node: Object, pod: Object) -> bool:
    return all(_fits(labels_of(node), *entry) for entry in _node_labels(pod))


def _affinity(pod: Object) -> list[tuple[str, str, list[str]]]:
    """The requirements of the first required term; other terms are alternatives to it."""
    affinity = ((pod.get("spec") or {}).get("affinity") or {}).get("nodeAffinity") or {}
    terms = (affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms") or [{}]
    return [
        (str(entry.get("key")), str(entry.get("operator")), [str(value) for value in entry.get("values") or []])
        for entry in terms[0].get("matchExpressions") or []
    ]


def _fits(labels: Mapping[str, str], key: str, operator: str, values: Sequence[str]) -> bool:
    value = labels.get(key)
    if operator in {"Gt", "Lt"}:
        if value is None or not value.isdigit():
            return False
        return int(value) > int(values[0]) if operator == "Gt" else int(value) < int(values[0])
    return {
        "In": value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }.get(operator, True)


def _requirement(key: str, operator: str, values: Sequence[str]) -> str:
    if operator == "In" and len(values) == 1:
        return f"{key}={values[0]}"
    return f"{key} {operator} {', '.join(values)}".strip()


def _takes(node: Object, pod: Object) -> bool:
    """Whether the node's labels and taints let the pod in, however full it is."""
    tolerations = (pod.get("spec") or {}).get("tolerations") or []
    return _is_selected(node, pod) and all(
        any(_tolerates(entry, taint) for entry in tolerations) for taint in _repelling(node)
    )


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint.get("key"))
    return toleration.get("key") == taint.get("key") and (toleration.get("value") or "") == (taint.get("value") or "")


def _tainted(pod: Object, message: str, cluster: Cluster) -> list[Explanation]:
    """By taint: from the nodes, or from what the scheduler names where nodes may not be read."""
    tolerations = (pod.get("spec") or {}).get("tolerations") or []
    on: dict[tuple[str, str], list[str]] = {}
    selected = [node for node in cluster.nodes or () if _is_selected(node, pod)]
    for node in selected or cluster.nodes or ():
        for taint in _repelling(node):
            if not any(_tolerates(entry, taint) for entry in tolerations):
                on.setdefault((str(taint.get("key")), str(taint.get("value") or "")), []).append(ref_of(node).name)
    if cluster.nodes is None:
        on = {(match["key"], match["value"] or ""): [] for match in _TAINT.finditer(message)}
    found = []
    for (key, value), names in on.items():
        shown = f"{key}={value}" if value else key
        where = ", ".join(names[:_SHOWN_NODES]) + (" and others" if len(names) > _SHOWN_NODES else "")
        command = "kubectl get nodes -o custom-columns=NAME:.metadata.name,TAINTS:.spec.taints"
        if key.startswith("node.kubernetes.io/") and names:
            command = f"kubectl describe node {names[0]}  (Conditions)"
        because = f"it does not tolerate the taint {shown} of {where or 'the nodes'}"
        found.append(Explanation(because, [f"taint {shown}: {where}"] if where else (), command))
    return found


def _repelling(node: Object) -> list[Mapping[str, Any]]:
    taints = (node.get("spec") or {}).get("taints") or []
    return [taint for taint in taints if taint.get("effect") != "PreferNoSchedule"]


def _about_claims(pod: Object, message: str, cluster: Cluster) -> list[Explanation]:
    namespace, names = ref_of(pod).namespace, claims_of(pod)
    if not names or cluster.claims is None or not re.search(r"(?i)persistentvolumeclaim|volume", message):
        return []
    found = []
    for name in names:
        claim = cluster.claims.get(name)
        ref = Ref("v1", "PersistentVolumeClaim", namespace, name)
        if claim is None:
            because = f"its PersistentVolumeClaim {name} does not exist"
            found.append(Explanation(because, (), f"kubectl -n {namespace} get persistentvolumeclaims"))
            continue
        phase = (claim.get("status") or {}).get("phase")
        about = [event for event in cluster.claim_events if (event.get("involvedObject") or {}).get("name") == name]
        if phase == "Bound" or ("unbound" not in message and not about):
            continue
        storage_class = (claim.get("spec") or {}).get("storageClassName")
        lines = [f"PersistentVolumeClaim {name}: {phase}, storage class {storage_class or 'none'}"]
        lines += [event_line(event) for event in sorted(about, key=last_seen)[-2:]]
        found.append(Explanation(f"its PersistentVolumeClaim {name} is not bound", lines, ref.kubectl("describe")))
    return found


def _volume_elsewhere(pod: Object, cluster: Cluster) -> Explanation:
    volumes = by_name(cluster.volumes)
    for name in claims_of(pod):
        claim = (cluster.claims or {}).get(name, {})
        volume = volumes.get(str((claim.get("spec") or {}).get("volumeName")))
        zones = _zones_of(volume or {})
        if volume is not None and zones:
            there = [ref_of(node).name for node in cluster.nodes or () if set(zones) & set(labels_of(node).values())]
            because = f"the volume of PersistentVolumeClaim {name} is in {', '.join(zones)}"
            because += f", and none of {', '.join(there)} can take it" if there else ", where there is no node"
            command = f"kubectl get pv {ref_of(volume).name} -o jsonpath='{{.spec.nodeAffinity}}'"
            return Explanation(because, [f"zones of the nodes: {', '.join(_node_zones(cluster)) or 'none'}"], command)
    return Explanation("a volume of it is bound to other nodes", (), "kubectl get pv")


def _zones_of(volume: Mapping[str, Any]) -> list[str]:
    terms = (((volume.get("spec") or {}).get("nodeAffinity") or {}).get("required") or {}).get("nodeSelectorTerms")
    expressions = [entry for term in terms or [] for entry in term.get("matchExpressions") or []]
    return [str(value) for entry in expressions if entry.get("key") in _ZONES for value in entry.get("values") or []]


def _node_zones(cluster: Cluster) -> list[str]:
    return sorted(
        {str(labels_of(node)[key]) for node in cluster.nodes or () for key in _ZONES if key in labels_of(node)}
    )


def _request(container: Mapping[str, Any], resource: str) -> Decimal:
    return _quantity(((container.get("resources") or {}).get("requests") or {}).get(resource))


def _quantity(text: object) -> Decimal:
    from kubernetes.utils.quantity import parse_quantity

    try:
        return Decimal(parse_quantity(str(text))) if text is not None else Decimal(0)
    except ValueError:
        return Decimal(0)


def _amount(number: Decimal, resource: str) -> str:
    """As people write it: 0.4 CPUs, 3.5 Gi."""
    if resource == "memory" or "storage" in resource:
        for unit, size in (("Gi", 2**30), ("Mi", 2**20)):
            if abs(number) >= size:
                return f"{number / size:.1f}".removesuffix(".0") + unit
    return f"{number:.2f}".rstrip("0").rstrip(".")


def _nodes(count: int) -> str:
    return f"{count} node" + ("" if count == 1 else "s")
