"""The status of a Kubernetes object, read from the object alone.

The vocabulary is kstatus' (https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus). The rules are a
table by kind; they differ from kstatus where its answer is not what "ready" means to a person waiting: a failed Pod is
Failed, a started Job is InProgress, a Service of type LoadBalancer needs its address, a StatefulSet with OnDelete
needs its pods, an HPA needs metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from .objects import condition, counted

Object = Mapping[str, Any]


class State(StrEnum):
    CURRENT = "Current"
    IN_PROGRESS = "InProgress"
    FAILED = "Failed"
    TERMINATING = "Terminating"
    NOT_FOUND = "NotFound"
    UNKNOWN = "Unknown"


@dataclass(frozen=True)
class Status:
    state: State
    reason: str = ""
    message: str = ""

    @property
    def is_current(self) -> bool:
        return self.state is State.CURRENT


UNKNOWN = Status(State.UNKNOWN)
NOT_FOUND = Status(State.NOT_FOUND, "NotFound", "does not exist")


def status_of(obj: Object) -> Status:
    """Return the status of a live object.

    Order: deletion; a generation that its controller has not seen; Reconciling and Stalled; the rule of the kind;
    the Ready condition; and an object with none of these is Current by existing.
    """
    metadata = obj.get("metadata") or {}
    status = obj.get("status") or {}
    if metadata.get("deletionTimestamp"):
        return Status(State.TERMINATING, "Terminating", "is being deleted")
    observed = status.get("observedGeneration")
    generation = metadata.get("generation")
    if observed is not None and generation is not None and observed != generation:
        return _in_progress("GenerationNotObserved", f"generation is {generation}, its controller has seen {observed}")
    if (reconciling := _true(obj, "Reconciling")) is not None:
        return _in_progress(*_words(reconciling, "Reconciling"))
    if (stalled := _true(obj, "Stalled")) is not None:
        return _failed(*_words(stalled, "Stalled"))
    rule = RULES.get((_group(obj), str(obj.get("kind") or "")))
    return rule(obj) if rule else _by_ready_condition(obj)


def settles_when_applied(obj: Object) -> bool:
    """Whether nothing in the cluster works on this kind after it was stored, so that applying it is all there is to
    wait for.
    """
    if obj.get("kind") == "Service" and not _group(obj):
        return (obj.get("spec") or {}).get("type") != "LoadBalancer"
    return RULES.get((_group(obj), str(obj.get("kind") or ""))) is _current


def _deployment(obj: Object) -> Status:
    spec, status, wanted = _counts(obj)
    progressing = condition(obj, "Progressing")
    if progressing and progressing.get("reason") == "ProgressDeadlineExceeded":
        return _failed("ProgressDeadlineExceeded", str(progressing.get("message") or ""))
    replicas, updated, available, ready = (
        status.get(name) or 0 for name in ("replicas", "updatedReplicas", "availableReplicas", "readyReplicas")
    )
    summary = f"{ready}/{wanted} ready"
    if replicas < wanted:
        return _in_progress("LessReplicas", f"{summary}, {replicas} created")
    if updated < wanted:
        return _in_progress("LessUpdated", f"{summary}, {updated} updated")
    if replicas > wanted:
        return _in_progress("ExtraPods", f"{summary}, {counted(replicas - wanted, 'old pod')} left")
    if available < updated:
        # Available is ready for minReadySeconds; where there are none, saying both would say the same twice.
        return _in_progress("LessAvailable", summary if available == ready else f"{summary}, {available} available")
    if ready < wanted:
        return _in_progress("LessReady", summary)
    # The largest value the API accepts means "no deadline"; the controller then reports no progress.
    has_deadline = spec.get("progressDeadlineSeconds") not in (None, 2147483647)
    if has_deadline and (progressing is None or progressing.get("reason") != "NewReplicaSetAvailable"):
        return _in_progress("ReplicaSetNotAvailable", f"{summary}, the new ReplicaSet is not available yet")
    if _true(obj, "Available") is None:
        return _in_progress("DeploymentNotAvailable", f"{summary}, the Deployment is not available yet")
    return _ready("Ready", summary)


def _stateful_set(obj: Object) -> Status:
    spec, status, wanted = _counts(obj)
    replicas, ready, updated, current = (
        status.get(name) or 0 for name in ("replicas", "readyReplicas", "updatedReplicas", "currentReplicas")
    )
    summary = f"{ready}/{wanted} ready"
    if _never_observed(obj):
        return _in_progress("NotObserved", "its controller has not seen it yet")
    if replicas < wanted:
        return _in_progress("LessReplicas", f"{summary}, {replicas} created")
    if ready < wanted:
        return _in_progress("LessReady", summary)
    if replicas > wanted:
        return _in_progress("ExtraPods", f"{summary}, {counted(replicas - wanted, 'pod')} too many")
    strategy = spec.get("updateStrategy") or {}
    if strategy.get("type") == "OnDelete":
        return _ready("Ready", f"{summary} (pods are replaced when they are deleted)")
    partition = (strategy.get("rollingUpdate") or {}).get("partition") or 0
    if partition:
        if updated < wanted - partition:
            return _in_progress(
                "PartitionRollout", f"{summary}, {updated}/{wanted - partition} updated above the partition"
            )
        return _ready("Ready", f"{summary}, {updated} updated above partition {partition}")
    if current < wanted or status.get("currentRevision") != status.get("updateRevision"):
        return _in_progress("LessUpdated", f"{summary}, {updated}/{wanted} updated")
    return _ready("Ready", summary)


def _daemon_set(obj: Object) -> Status:
    if _never_observed(obj):
        return _in_progress("NotObserved", "its controller has not seen it yet")
    status = obj.get("status") or {}
    desired = status.get("desiredNumberScheduled")
    if desired is None:
        return _in_progress("NotScheduled", "its controller has not counted the nodes yet")
    current, updated, available, ready = (
        status.get(name) or 0
        for name in ("currentNumberScheduled", "updatedNumberScheduled", "numberAvailable", "numberReady")
    )
    summary = f"{ready}/{desired} ready"
    if current < desired:
        return _in_progress("LessScheduled", f"{summary}, {current} created")
    if updated < desired:
        return _in_progress("LessUpdated", f"{summary}, {updated} updated")
    if available < desired:
        return _in_progress("LessAvailable", summary if available == ready else f"{summary}, {available} available")
    if ready < desired:
        return _in_progress("LessReady", summary)
    if desired == 0:
        return _ready("NoNodes", "no node matches its node selector and tolerations")
    return _ready("Ready", summary)


def _replica_set(obj: Object) -> Status:
    _spec, status, wanted = _counts(obj)
    if (failure := _true(obj, "ReplicaFailure")) is not None:
        return _in_progress(*_words(failure, "ReplicaFailure"))
    replicas, labelled, available, ready = (
        status.get(name) or 0 for name in ("replicas", "fullyLabeledReplicas", "availableReplicas", "readyReplicas")
    )
    summary = f"{ready}/{wanted} ready"
    if labelled < wanted:
        return _in_progress("LessLabelled", f"{summary}, {labelled} created")
    if available < wanted:
        return _in_progress("LessAvailable", f"{summary}, {available} available")
    if ready < wanted:
        return _in_progress("LessReady", summary)
    if replicas > wanted:
        return _in_progress("ExtraPods", f"{summary}, {counted(replicas - wanted, 'pod')} too many")
    return _ready("Ready", summary)


def _pod(obj: Object) -> Status:
    status = obj.get("status") or {}
    phase = status.get("phase")
    if phase == "Succeeded":
        return _ready("Succeeded", "ran to its end")
    if phase == "Failed":
        return _failed(str(status.get("reason") or "PodFailed"), str(status.get("message") or "a container failed"))
    ready = condition(obj, "Ready") or {}
    gates = [gate.get("conditionType") for gate in (obj.get("spec") or {}).get("readinessGates") or []]
    unmet = [str(gate) for gate in gates if _true(obj, str(gate)) is None]
    if phase == "Running" and ready.get("status") == "True" and not unmet:
        return _ready("Ready", "running and ready")
    if phase == "Running" and unmet:
        return _in_progress("ReadinessGatesNotReady", f"readiness gate {', '.join(unmet)} is not met")
    return _in_progress(
        str(ready.get("reason") or phase or "Pending"), str(ready.get("message") or f"phase {phase or 'Pending'}")
    )


def _job(obj: Object) -> Status:
    if (failed := _true(obj, "Failed")) is not None:
        return _failed(*_words(failed, "JobFailed"))
    if (complete := _true(obj, "Complete")) is not None:
        return _ready(*_words(complete, "Complete", "completed"))
    if (suspended := _true(obj, "Suspended")) is not None:
        return _ready(*_words(suspended, "Suspended", "is suspended"))
    status = obj.get("status") or {}
    succeeded, active, failed_pods = (status.get(name) or 0 for name in ("succeeded", "active", "failed"))
    wanted = (obj.get("spec") or {}).get("completions") or 1
    return _in_progress("JobInProgress", f"{succeeded}/{wanted} completed, {active} active, {failed_pods} failed")


def _persistent_volume_claim(obj: Object) -> Status:
    phase = (obj.get("status") or {}).get("phase")
    if phase == "Bound":
        return _ready("Bound", "bound")
    if phase == "Lost":
        return _failed("Lost", "the volume it was bound to is gone")
    return _in_progress(str(phase or "Pending"), "not bound to a volume yet")


def _service(obj: Object) -> Status:
    if (obj.get("spec") or {}).get("type") != "LoadBalancer":
        return _ready("Exists", "exists")
    if addresses := _load_balancer_addresses(obj):
        return _ready("LoadBalancerReady", f"address {', '.join(addresses)}")
    return _in_progress("NoAddress", "its load balancer has no address yet")


def _ingress(obj: Object) -> Status:
    if addresses := _load_balancer_addresses(obj):
        return _ready("AddressAssigned", f"address {', '.join(addresses)}")
    return _in_progress("NoAddress", "the ingress controller has not given it an address yet")


def _custom_resource_definition(obj: Object) -> Status:
    if (names := condition(obj, "NamesAccepted")) is not None and names.get("status") == "False":
        return _failed(*_words(names, "NamesNotAccepted"))
    if (established := _true(obj, "Established")) is not None:
        return _ready(*_words(established, "Established"))
    return _in_progress("NotEstablished", "not established yet")


def _api_service(obj: Object) -> Status:
    available = condition(obj, "Available")
    if available is not None and available.get("status") == "True":
        return _ready(*_words(available, "Available"))
    return _in_progress(*_words(available or {}, "NotAvailable", "not available yet"))


def _namespace(obj: Object) -> Status:
    phase = (obj.get("status") or {}).get("phase")
    if phase == "Active":
        return _ready("Active", "active")
    return _in_progress(str(phase or "Pending"), "not active yet")


def _horizontal_pod_autoscaler(obj: Object) -> Status:
    able, active = condition(obj, "AbleToScale"), condition(obj, "ScalingActive")
    if able is None or active is None:
        # Its controller looks at an HPA every 15 seconds; until then there are no conditions.
        return _in_progress("NotObserved", "its controller has not looked at it yet")
    for needed, name in ((able, "AbleToScale"), (active, "ScalingActive")):
        if needed.get("status") != "True" and needed.get("reason") != "ScalingDisabled":
            return _in_progress(*_words(needed, f"Not{name}"))
    current = (obj.get("status") or {}).get("currentReplicas")
    return _ready(*_words(active, "ScalingActive", f"{current} replicas"))


def _target_group_binding(obj: Object) -> Status:
    # The AWS Load Balancer Controller sets no condition; it writes observedGeneration once the targets are registered.
    if _never_observed(obj):
        return _in_progress("NotObserved", "the AWS Load Balancer Controller has not reconciled it yet")
    return _ready("Reconciled", "reconciled")


def _needs_ready_condition(obj: Object) -> Status:
    if condition(obj, "Ready") is None:
        return _in_progress("NotObserved", "its controller has not reported on it yet")
    return _by_ready_condition(obj)


def _by_ready_condition(obj: Object) -> Status:
    ready = condition(obj, "Ready")
    if ready is None:
        return _ready("Exists", "exists")
    if ready.get("status") == "True":
        return _ready(*_words(ready, "Ready"))
    return _in_progress(*_words(ready, "NotReady", "not ready yet"))


def _current(obj: Object) -> Status:
    return _ready("Exists", "exists")


RULES: dict[tuple[str, str], Callable[[Object], Status]] = {
    ("apps", "Deployment"): _deployment,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("apps", "ReplicaSet"): _replica_set,
    ("", "Pod"): _pod,
    ("batch", "Job"): _job,
    ("", "PersistentVolumeClaim"): _persistent_volume_claim,
    ("", "Service"): _service,
    ("", "Namespace"): _namespace,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _custom_resource_definition,
    ("apiregistration.k8s.io", "APIService"): _api_service,
    ("autoscaling", "HorizontalPodAutoscaler"): _horizontal_pod_autoscaler,
    ("networking.k8s.io", "Ingress"): _ingress,
    ("elbv2.k8s.aws", "TargetGroupBinding"): _target_group_binding,
    ("external-secrets.io", "ExternalSecret"): _needs_ready_condition,
    ("external-secrets.io", "ClusterExternalSecret"): _needs_ready_condition,
    ("external-secrets.io", "SecretStore"): _needs_ready_condition,
    ("external-secrets.io", "ClusterSecretStore"): _needs_ready_condition,
    ("policy", "PodDisruptionBudget"): _current,
    ("", "ConfigMap"): _current,
    ("", "Secret"): _current,
    ("", "ServiceAccount"): _current,
    ("", "LimitRange"): _current,
    ("", "ResourceQuota"): _current,
    ("rbac.authorization.k8s.io", "Role"): _current,
    ("rbac.authorization.k8s.io", "RoleBinding"): _current,
    ("rbac.authorization.k8s.io", "ClusterRole"): _current,
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): _current,
    ("networking.k8s.io", "NetworkPolicy"): _current,
    ("networking.k8s.io", "IngressClass"): _current,
    ("storage.k8s.io", "StorageClass"): _current,
    ("scheduling.k8s.io", "PriorityClass"): _current,
    ("batch", "CronJob"): _current,
    ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"): _current,
    ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"): _current,
}


def _counts(obj: Object) -> tuple[Mapping[str, Any], Mapping[str, Any], int]:
    spec = obj.get("spec") or {}
    replicas = spec.get("replicas")
    return spec, obj.get("status") or {}, 1 if replicas is None else int(replicas)


def _never_observed(obj: Object) -> bool:
    return (obj.get("status") or {}).get("observedGeneration") is None


def _true(obj: Object, type_: str) -> Mapping[str, Any] | None:
    found = condition(obj, type_)
    return found if found is not None and found.get("status") == "True" else None


def _words(entry: Mapping[str, Any], reason: str, message: str = "") -> tuple[str, str]:
    return str(entry.get("reason") or reason), str(entry.get("message") or message)


def _load_balancer_addresses(obj: Object) -> list[str]:
    entries = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    return [str(address) for entry in entries if (address := entry.get("hostname") or entry.get("ip"))]


def _group(obj: Object) -> str:
    return str(obj.get("apiVersion") or "").rpartition("/")[0]


def _ready(reason: str, message: str) -> Status:
    return Status(State.CURRENT, reason, message)


def _in_progress(reason: str, message: str) -> Status:
    return Status(State.IN_PROGRESS, reason, message)


def _failed(reason: str, message: str) -> Status:
    return Status(State.FAILED, reason, message)
