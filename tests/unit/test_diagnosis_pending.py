"""Why no node takes a pod, from the scheduler's message and what the nodes and volumes are."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from ansible_collections.erp.platform.plugins.module_utils.diagnosis_pending import explain_pending, requests_of, rooms

from .explaining import Cluster, finding, node, obj, pod, reads

CPU_SHORT = "pod web-1: 0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: 2 No victims."


def wanting(**requests: str) -> dict[str, Any]:
    subject = pod("web-1", resources={"requests": requests})
    del subject["spec"]["nodeName"]
    return subject


def running(name: str, on: str, **requests: str) -> dict[str, Any]:
    busy = pod(name, resources={"requests": requests})
    busy["spec"]["nodeName"] = on
    return busy


def explained(subject: dict[str, Any], message: str, *cluster: dict[str, Any], unreadable: tuple[str, ...] = ()) -> Any:
    return explain_pending(finding("unschedulable", subject, message), reads(Cluster(*cluster, unreadable=unreadable)))


def test_a_full_cluster_says_what_is_wanted_and_where_most_is_free() -> None:
    found = explained(
        wanting(cpu="2"),
        CPU_SHORT,
        node("node-a"),
        node("node-b"),
        running("x", "node-a", cpu="3500m"),
        running("y", "node-b", cpu="3"),
    )
    assert found.because == "it wants cpu 2, most free: node-b 1 of 4, node-a 0.5 of 4"
    assert found.next_command == "kubectl describe node node-b  (Allocated resources), or add a node"


def test_a_pod_that_no_node_could_ever_take_is_told_to_want_less() -> None:
    found = explained(wanting(cpu="8"), CPU_SHORT, node("node-a"), node("node-b"))
    assert found.because == "it wants cpu 8, more than any node for it has (4)"
    assert found.next_command == "kubectl -n erp set resources deployment web --requests=cpu=…, or larger nodes"


def test_nodes_that_are_not_meant_for_the_pod_are_not_counted_as_free() -> None:
    taint = {"key": "workload", "value": "kafka", "effect": "NoSchedule"}
    message = (
        "pod web-1: 0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {workload: kafka}. "
        "preemption: x"
    )
    found = explained(
        wanting(cpu="2"), message, node("node-a"), node("kafka-a", taints=[taint]), running("x", "node-a", cpu="3")
    )
    assert found.because == "it wants cpu 2, most free: node-a 1 of 4"
    assert "taint workload=kafka: kafka-a" in found.evidence


def test_where_nodes_may_not_be_read_the_scheduler_is_all_there_is() -> None:
    found = explained(wanting(cpu="2"), CPU_SHORT, unreadable=("Node", "Pod"))
    assert found.because == "cpu is short on 2 nodes"


def test_memory_is_said_in_the_units_people_use() -> None:
    message = "pod web-1: 0/1 nodes are available: 1 Insufficient memory."
    found = explained(
        wanting(memory="4Gi"), message, node("node-a"), running("x", "node-a", memory="15Gi"), running("y", "node-a")
    )
    assert found.because == "it wants memory 4Gi, most free: node-a 1Gi of 16Gi"


@pytest.mark.parametrize(
    ("spec", "message", "because", "command"),
    [
        (
            {"nodeSelector": {"disk": "ssd"}},
            "1 node(s) didn't match Pod's node affinity/selector",
            "no node has disk=ssd",
            "kubectl get nodes -L disk",
        ),
        (
            {
                "affinity": {
                    "nodeAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": {
                            "nodeSelectorTerms": [
                                {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["c", "d"]}]}
                            ]
                        }
                    }
                }
            },
            "1 node(s) didn't match Pod's node affinity/selector",
            "no node has zone In c, d",
            "kubectl get nodes -L zone",
        ),
        (
            {"topologySpreadConstraints": [{"topologyKey": "zone"}]},
            "1 node(s) didn't match pod topology spread constraints",
            "its topology spread over zone forbids 1 node",
            "kubectl get nodes -L zone",
        ),
        (
            {
                "affinity": {
                    "podAntiAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "kubernetes.io/hostname"}]
                    }
                }
            },
            "1 node(s) didn't match pod anti-affinity rules",
            "its podAntiAffinity by kubernetes.io/hostname forbids 1 node",
            "kubectl -n erp get pods -o wide",
        ),
        (
            {},
            "1 node(s) didn't have free ports for the requested pod ports",
            "its host ports are taken on 1 node",
            None,
        ),
    ],
)
def test_a_rule_of_the_pod_that_no_node_meets_is_named(
    spec: dict[str, Any], message: str, because: str, command: str | None
) -> None:
    subject = wanting()
    subject["spec"].update(spec)
    labels = {"zone": "a"}
    found = explained(subject, f"pod web-1: 0/1 nodes are available: {message}.", node("node-a", labels=labels))
    assert found.because == because
    assert command in (None, found.next_command)


def test_the_nearest_values_of_a_label_are_shown() -> None:
    subject = wanting()
    subject["spec"]["nodeSelector"] = {"workload": "gpu"}
    message = "pod web-1: 0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector."
    found = explained(subject, message, node("node-a", labels={"workload": "kafka"}))
    assert found.evidence == ["label workload of the nodes: kafka"]


def test_a_taint_is_to_blame_where_the_selector_leads_to_tainted_nodes_only() -> None:
    taint = {"key": "workload", "value": "kafka", "effect": "NoSchedule"}
    subject = wanting()
    subject["spec"]["nodeSelector"] = {"workload": "kafka"}
    message = (
        "pod web-1: 0/2 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, "
        "1 node(s) had untolerated taint {workload: kafka}."
    )
    cluster = (node("node-a"), node("kafka-a", labels={"workload": "kafka"}, taints=[taint]))
    found = explained(subject, message, *cluster)
    assert found.because == "it does not tolerate the taint workload=kafka of kafka-a"
    assert found.next_command == "kubectl get nodes -o custom-columns=NAME:.metadata.name,TAINTS:.spec.taints"


def test_a_node_that_is_not_ready_is_looked_at() -> None:
    taint = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
    message = "0/1 nodes are available: 1 node(s) had untolerated taint {node.kubernetes.io/not-ready: }."
    found = explained(wanting(), message, node("node-a", taints=[taint]))
    assert found.because == "it does not tolerate the taint node.kubernetes.io/not-ready of node-a"
    assert found.next_command == "kubectl describe node node-a  (Conditions)"


def test_cordoned_nodes_are_named() -> None:
    message = "0/1 nodes are available: 1 node(s) were unschedulable."
    found = explained(wanting(), message, node("node-a", unschedulable=True))
    assert (found.because, found.next_command) == ("node-a is cordoned", "kubectl uncordon node-a")


def test_nodes_with_as_many_pods_as_they_may_run_are_counted() -> None:
    message = "0/1 nodes are available: 1 Too many pods."
    busy = [running(f"x{number}", "node-a") for number in range(3)]
    found = explained(wanting(), message, node("node-a"), *busy)
    assert found.because == "1 node run as many pods as they may"
    assert found.evidence == ["pods: node-a 3 of 3"]


def with_claim() -> dict[str, Any]:
    subject = wanting()
    subject["spec"]["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    return subject


def test_a_claim_that_is_missing_comes_first() -> None:
    found = explained(with_claim(), 'pod web-1: persistentvolumeclaim "data" not found')
    assert found.because == "its PersistentVolumeClaim data does not exist"


def test_a_claim_that_is_not_bound_shows_its_class_and_events() -> None:
    claim = obj("PersistentVolumeClaim", "data", spec={"storageClassName": "gp3"}, status={"phase": "Pending"})
    about = {"kind": "PersistentVolumeClaim", "name": "data"}
    event = obj("Event", "e", involvedObject=about, reason="ProvisioningFailed", message="UnauthorizedOperation")
    message = "pod web-1: 0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."
    found = explained(with_claim(), message, claim, event, node("node-a"))
    assert found.because == "its PersistentVolumeClaim data is not bound"
    assert found.evidence == [
        "PersistentVolumeClaim data: Pending, storage class gp3",
        "event on persistentvolumeclaim data: ProvisioningFailed: UnauthorizedOperation",
    ]
    assert found.next_command == "kubectl -n erp describe persistentvolumeclaim data"


def test_a_volume_in_another_zone_names_the_zone() -> None:
    claim = obj("PersistentVolumeClaim", "data", spec={"volumeName": "pv-1"}, status={"phase": "Bound"})
    expression = {"key": "topology.kubernetes.io/zone", "operator": "In", "values": ["ap-northeast-2c"]}
    required = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    volume = obj("PersistentVolume", "pv-1", namespace="", spec={"nodeAffinity": {"required": required}})
    message = "pod web-1: 0/1 nodes are available: 1 node(s) had volume node affinity conflict."
    zone_a = node("node-a", labels={"topology.kubernetes.io/zone": "ap-northeast-2a"})
    found = explained(with_claim(), message, claim, volume, zone_a)
    assert found.because == "the volume of PersistentVolumeClaim data is in ap-northeast-2c, where there is no node"
    assert found.evidence == ["zones of the nodes: ap-northeast-2a"]
    assert found.next_command == "kubectl get pv pv-1 -o jsonpath='{.spec.nodeAffinity}'"


def test_requests_are_counted_as_the_scheduler_does() -> None:
    def container(cpu: str, **fields: str) -> dict[str, Any]:
        return {"resources": {"requests": {"cpu": cpu}}, **fields}

    spec = {
        "containers": [container("200m"), container("300m")],
        "initContainers": [container("1"), container("100m", restartPolicy="Always")],
        "overhead": {"cpu": "50m"},
    }
    assert requests_of({"spec": spec}, "cpu") == Decimal("1.05")


def test_most_room_comes_first() -> None:
    found = rooms("cpu", [node("a", "1"), node("b", "4")], [running("x", "b", cpu="3500m")])
    assert [(room.node, room.free) for room in found] == [("a", Decimal(1)), ("b", Decimal("0.5"))]
