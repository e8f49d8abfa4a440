"""The status of a Kubernetes object, read from the object alone.

The vocabulary is kstatus' (https://github.com/kubernetes-sigs/cli-utils/tree/master/pkg/kstatus). The rules are a
table by kind; they differ from kstatus where its answer is not what "ready" means to a person waiting: a failed Pod is
Failed, a started Job is InProgress, a Service of type LoadBalancer needs its address, a StatefulSet with OnDelete
needs its pods, an HPA needs metrics. A custom resource may hold anything anywhere: no rule raises.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from .objects import annotations_of, condition, condition_in, counted, mapping, mappings

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
    the conditions by which custom resources say that they are ready; and an object with none of these is Current by
    existing.
    """
    return status_before_rules(obj) or status_by_rules(obj)


def status_before_rules(obj: Object) -> Status | None:
    """What decides whatever else the object says: its deletion, a generation not seen yet, Reconciling, Stalled."""
    if mapping(obj.get("metadata")).get("deletionTimestamp"):
        return Status(State.TERMINATING, "Terminating", _deletion(obj))
    observed, generation = _whole(_status(obj).get("observedGeneration")), _generation(obj)
    if observed is not None and generation is not None and observed != generation:
        return _in_progress("GenerationNotObserved", f"generation is {generation}, its controller has seen {observed}")
    for type_, verdict in (("Reconciling", _in_progress), ("Stalled", _failed)):
        if (found := _true(obj, type_)) is not None:
            return outdated(obj, found) or verdict(*_words(found, type_))
    return None


def status_by_rules(obj: Object) -> Status:
    """The status by the rule of the kind or, where there is none, by the conditions."""
    return RULES.get(_kind(obj), _by_conditions)(obj)


def settles_when_applied(obj: Object) -> bool:
    """Whether nothing in the cluster works on this kind after it was stored, so that applying it is all there is to
    wait for.
    """
    if _kind(obj) == ("", "Service"):
        return _spec(obj).get("type") != "LoadBalancer" and status_of(obj).is_current
    return _kind(obj) in _SETTLED and status_of(obj).is_current


def outdated(obj: Object, entry: Mapping[str, Any]) -> Status | None:
    """The status if this condition speaks of an older generation of the object than the present one."""
    observed, generation = _whole(entry.get("observedGeneration")), _generation(obj)
    if observed is None or generation is None or observed >= generation:
        return None
    return _in_progress(
        "GenerationNotObserved", f"generation is {generation}, condition {entry.get('type')} is about {observed}"
    )


def described(entry: Mapping[str, Any]) -> str:
    """A condition in words: "Synced is False (ReconcileError: cannot connect)"."""
    why = ": ".join(str(entry[name]) for name in ("reason", "message") if entry.get(name))
    return f"{entry.get('type')} is {entry.get('status')}" + (f" ({why})" if why else "")


def _deployment(obj: Object) -> Status:
    spec, status, wanted = _counts(obj)
    progressing = condition(obj, "Progressing")
    if progressing and progressing.get("reason") == "ProgressDeadlineExceeded":
        return _failed("ProgressDeadlineExceeded", str(progressing.get("message") or ""))
    replicas, updated, available, ready = _numbers(
        status, "replicas", "updatedReplicas", "availableReplicas", "readyReplicas"
    )
    summary = f"{ready}/{wanted} ready"
    paused = bool(spec.get("paused"))
    if paused and updated < wanted:
        return _in_progress("DeploymentPaused", f"{summary}, paused: its rollout goes on when it is resumed")
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
    # The largest value the API accepts means "no deadline"; the controller then reports no progress. Of a paused
    # Deployment it reports only that it is paused.
    reports_progress = spec.get("progressDeadlineSeconds") not in (None, 2147483647) and not paused
    if reports_progress and (progressing is None or progressing.get("reason") != "NewReplicaSetAvailable"):
        return _in_progress("ReplicaSetNotAvailable", f"{summary}, the new ReplicaSet is not available yet")
    if _true(obj, "Available") is None:
        return _in_progress("DeploymentNotAvailable", f"{summary}, the Deployment is not available yet")
    return _ready("Ready", f"{summary}, paused" if paused else summary)


def _stateful_set(obj: Object) -> Status:
    spec, status, wanted = _counts(obj)
    replicas, ready, available, updated, current = _numbers(
        status, "replicas", "readyReplicas", "availableReplicas", "updatedReplicas", "currentReplicas"
    )
    summary = f"{ready}/{wanted} ready"
    if _never_observed(obj):
        return _in_progress("NotObserved", "its controller has not seen it yet")
    if replicas < wanted:
        return _in_progress("LessReplicas", f"{summary}, {replicas} created")
    if ready < wanted:
        return _in_progress("LessReady", summary)
    if available < wanted and _number(spec.get("minReadySeconds")):
        return _in_progress("LessAvailable", f"{summary}, {available} available")
    if replicas > wanted:
        return _in_progress("ExtraPods", f"{summary}, {counted(replicas - wanted, 'pod')} too many")
    strategy = mapping(spec.get("updateStrategy"))
    if strategy.get("type") == "OnDelete":
        return _ready("Ready", f"{summary} (pods are replaced when they are deleted)")
    partition = _number(mapping(strategy.get("rollingUpdate")).get("partition"))
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
    status = _status(obj)
    desired = _whole(status.get("desiredNumberScheduled"))
    if desired is None:
        return _in_progress("NotScheduled", "its controller has not counted the nodes yet")
    current, updated, available, ready = _numbers(
        status, "currentNumberScheduled", "updatedNumberScheduled", "numberAvailable", "numberReady"
    )
    on_delete = mapping(_spec(obj).get("updateStrategy")).get("type") == "OnDelete"
    summary = f"{ready}/{desired} ready"
    if current < desired:
        return _in_progress("LessScheduled", f"{summary}, {current} created")
    if updated < desired and not on_delete:
        return _in_progress("LessUpdated", f"{summary}, {updated} updated")
    if available < desired:
        return _in_progress("LessAvailable", summary if available == ready else f"{summary}, {available} available")
    if ready < desired:
        return _in_progress("LessReady", summary)
    if desired == 0:
        return _ready("NoNodes", "no node matches its node selector and tolerations")
    return _ready("Ready", f"{summary} (pods are replaced when they are deleted)" if on_delete else summary)


def _replica_set(obj: Object) -> Status:
    _spec, status, wanted = _counts(obj)
    if (failure := _true(obj, "ReplicaFailure")) is not None:
        return _in_progress(*_words(failure, "ReplicaFailure"))
    if _never_observed(obj):
        return _in_progress("NotObserved", "its controller has not seen it yet")
    replicas, labelled, available, ready = _numbers(
        status, "replicas", "fullyLabeledReplicas", "availableReplicas", "readyReplicas"
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
    status = _status(obj)
    phase = status.get("phase")
    if phase == "Succeeded":
        return _ready("Succeeded", "ran to its end")
    if phase == "Failed":
        return _failed(
            str(status.get("reason") or "PodFailed"), str(status.get("message") or _failed_container(status))
        )
    ready = condition(obj, "Ready") or {}
    gates = [str(gate.get("conditionType")) for gate in mappings(_spec(obj).get("readinessGates"))]
    unmet = [gate for gate in gates if _true(obj, gate) is None]
    if phase == "Running" and ready.get("status") == "True" and not unmet:
        return _ready("Ready", "running and ready")
    if phase == "Running" and unmet:
        return _in_progress("ReadinessGatesNotReady", f"readiness gate {', '.join(unmet)} is not met")
    scheduled = condition(obj, "PodScheduled") or {}
    if phase != "Running" and scheduled.get("status") == "False":
        return _in_progress(*_words(scheduled, "NotScheduled", "not scheduled yet"))
    return _in_progress(*_words(ready, str(phase or "Pending"), f"phase {phase or 'Pending'}"))


def _failed_container(status: Mapping[str, Any]) -> str:
    for container in (*mappings(status.get("initContainerStatuses")), *mappings(status.get("containerStatuses"))):
        terminated = mapping(mapping(container.get("state")).get("terminated"))
        if _number(terminated.get("exitCode")):
            return f"container {container.get('name')} exited with code {terminated.get('exitCode')}"
    return "a container failed"


def _job(obj: Object) -> Status:
    # FailureTarget is set, for good, while the pods of a Job that has failed are still ending.
    for type_ in ("Failed", "FailureTarget"):
        if (failed := _true(obj, type_)) is not None:
            return _failed(*_words(failed, "JobFailed"))
    if (complete := _true(obj, "Complete")) is not None:
        return _ready(*_words(complete, "Complete", "completed"))
    spec, status = _spec(obj), _status(obj)
    # A Job has no observedGeneration: just after it was resumed, the condition still says that it is suspended.
    if spec.get("suspend") and (suspended := _true(obj, "Suspended")) is not None:
        return _ready(*_words(suspended, "Suspended", "is suspended"))
    if (success := _true(obj, "SuccessCriteriaMet")) is not None:
        return _in_progress(_words(success, "SuccessCriteriaMet")[0], "has succeeded, its pods are still ending")
    succeeded, active, failed_pods = _numbers(status, "succeeded", "active", "failed")
    # Without completions the pods share a queue of work: the Job is done when one has succeeded and all have ended.
    wanted = _whole(spec.get("completions"))
    done = f"{succeeded} completed" if wanted is None else f"{succeeded}/{wanted} completed"
    return _in_progress("JobInProgress", f"{done}, {active} active, {failed_pods} failed")


def _cron_job(obj: Object) -> Status:
    if _spec(obj).get("suspend"):
        return _ready("Suspended", "is suspended: starts no Jobs")
    return _current(obj)


def _persistent_volume_claim(obj: Object) -> Status:
    phase = _status(obj).get("phase")
    if phase == "Lost":
        return _failed("Lost", "the volume it was bound to is gone")
    if phase != "Bound":
        return _in_progress(str(phase or "Pending"), "not bound to a volume yet")
    requested = mapping(mapping(_spec(obj).get("resources")).get("requests")).get("storage")
    capacity = mapping(_status(obj).get("capacity")).get("storage")
    if not _is_more(requested, capacity):
        return _ready("Bound", "bound")
    if (pending := _true(obj, "FileSystemResizePending")) is not None:
        return _ready(_words(pending, "FileSystemResizePending")[0], "bound, grows when a pod mounts it the next time")
    errors = [found for name in ("ControllerResizeError", "NodeResizeError") if (found := _true(obj, name)) is not None]
    why = f": {described(errors[0])}" if errors else ""
    return _in_progress("Resizing", f"bound, being resized from {capacity} to {requested}{why}")


def _is_more(requested: object, capacity: object) -> bool:
    if not isinstance(requested, str) or not isinstance(capacity, str) or requested == capacity:
        return False
    from kubernetes.utils.quantity import parse_quantity

    try:
        return bool(parse_quantity(requested) > parse_quantity(capacity))
    except ValueError:
        return False


def _service(obj: Object) -> Status:
    if _spec(obj).get("type") != "LoadBalancer":
        return _ready("Exists", "exists")
    if addresses := _load_balancer_addresses(obj):
        return _ready("LoadBalancerReady", f"address {', '.join(addresses)}")
    return _in_progress("NoAddress", "its load balancer has no address yet")


def _ingress(obj: Object) -> Status:
    if addresses := _load_balancer_addresses(obj):
        return _ready("AddressAssigned", f"address {', '.join(addresses)}")
    name = _spec(obj).get("ingressClassName") or annotations_of(obj).get("kubernetes.io/ingress.class")
    of_class = f" of class {name}" if name else ""
    return _in_progress("NoAddress", f"no ingress controller{of_class} has given it an address yet")


def _custom_resource_definition(obj: Object) -> Status:
    if (names := condition(obj, "NamesAccepted")) is not None and names.get("status") == "False":
        return _failed(*_words(names, "NamesNotAccepted"))
    established = condition(obj, "Established") or {}
    if established.get("status") == "True":
        return _ready(*_words(established, "Established"))
    if established.get("status") == "False" and established.get("reason") != "Installing":
        return _failed(*_words(established, "NotEstablished"))
    return _in_progress("NotEstablished", "not established yet")


def _api_service(obj: Object) -> Status:
    available = condition(obj, "Available")
    if available is not None and available.get("status") == "True":
        return _ready(*_words(available, "Available"))
    return _in_progress(*_words(available or {}, "NotAvailable", "not available yet"))


def _namespace(obj: Object) -> Status:
    phase = _status(obj).get("phase")
    if phase == "Active":
        return _ready("Active", "active")
    return _in_progress(str(phase or "Pending"), "not active yet")


def _horizontal_pod_autoscaler(obj: Object) -> Status:
    conditions = _status(obj).get("conditions") or _conditions_of_v1(obj)
    able, active = condition_in(conditions, "AbleToScale"), condition_in(conditions, "ScalingActive")
    for needed in (able, active):
        # Scaling is disabled while the target is scaled to zero, which is what somebody wants it to be.
        if needed is not None and needed.get("status") != "True" and needed.get("reason") != "ScalingDisabled":
            return _in_progress(*_words(needed, f"Not{needed.get('type')}"))
    if able is None or active is None:
        # Its controller looks at an HPA every 15 seconds; until then there are no conditions.
        return _in_progress("NotObserved", "its controller has not looked at it yet")
    current = _status(obj).get("currentReplicas")
    return _ready(*_words(active, "ScalingActive", f"{current} replicas"))


def _conditions_of_v1(obj: Object) -> object:
    """autoscaling/v1 has no field for conditions; the API server puts them into an annotation."""
    try:
        return json.loads(str(mapping(annotations_of(obj)).get("autoscaling.alpha.kubernetes.io/conditions") or "[]"))
    except ValueError:
        return []


def _target_group_binding(obj: Object) -> Status:
    # The AWS Load Balancer Controller sets no condition; it writes observedGeneration once the targets are registered.
    if _never_observed(obj):
        return _in_progress("NotObserved", "the AWS Load Balancer Controller has not reconciled it yet")
    return _ready("Reconciled", "reconciled")


def _external_secret(obj: Object) -> Status:
    status = _needs_ready_condition(obj)
    # External Secrets writes no observedGeneration, but "<generation>-<hash of the metadata>" of what it has synced.
    synced = _whole(str(_status(obj).get("syncedResourceVersion") or "").partition("-")[0])
    generation = _generation(obj)
    if not status.is_current or synced is None or generation is None or synced >= generation:
        return status
    interval = str(_spec(obj).get("refreshInterval") or "1h")
    policy = _spec(obj).get("refreshPolicy") or "Periodic"
    if policy == "CreatedOnce" or (policy == "Periodic" and not any(digit in interval for digit in "123456789")):
        return _ready(status.reason, f"synced once, at generation {synced}; its refreshPolicy never syncs it again")
    return _in_progress("GenerationNotObserved", f"generation is {generation}, its controller has synced {synced}")


def _gateway_class(obj: Object) -> Status:
    return _unmet(obj, _status(obj), ("Accepted",)) or _ready("Accepted", "accepted by its controller")


def _gateway(obj: Object) -> Status:
    if (unmet := _unmet(obj, _status(obj), ("Accepted", "Programmed"))) is not None:
        return unmet
    for listener in mappings(_status(obj).get("listeners")):
        for type_ in ("Accepted", "ResolvedRefs", "Programmed"):
            entry = condition_in(listener.get("conditions"), type_)
            if entry is not None and entry.get("status") == "False" and outdated(obj, entry) is None:
                return _in_progress(_words(entry, type_)[0], f"listener {listener.get('name')}: {described(entry)}")
    addresses = [str(entry.get("value")) for entry in mappings(_status(obj).get("addresses"))]
    return _ready("Programmed", f"address {', '.join(addresses)}" if addresses else "programmed")


def _route(obj: Object) -> Status:
    """A route answers for each parent it names, by whichever controllers manage that parent."""
    parents = mappings(_spec(obj).get("parentRefs"))
    answers = [(_parent_key(obj, mapping(a.get("parentRef"))), a) for a in mappings(_status(obj).get("parents"))]
    for parent in parents:
        name = f"{parent.get('kind') or 'Gateway'} {parent.get('name')}"
        own = [answer for key, answer in answers if key == _parent_key(obj, parent)]
        if not own:
            return _in_progress("NotObserved", f"no controller of {name} has reported on it yet")
        for answer in own:
            if (unmet := _unmet(obj, answer, ("Accepted", "ResolvedRefs"), f"{name}: ")) is not None:
                return unmet
    if not parents:
        return _ready("NoParents", "names no Gateway, so nothing serves it")
    return _ready("Accepted", f"accepted by {counted(len(parents), 'parent')}")


def _parent_key(route: Object, ref: Mapping[str, Any]) -> tuple[str, ...]:
    """What a parentRef means, its defaults filled in as the Gateway API defines them."""
    group = ref.get("group")
    return (
        "gateway.networking.k8s.io" if group is None else str(group),
        str(ref.get("kind") or "Gateway"),
        str(ref.get("namespace") or mapping(route.get("metadata")).get("namespace") or ""),
        str(ref.get("name")),
        str(ref.get("sectionName") or ""),
        str(ref.get("port") or ""),
    )


def _unmet(obj: Object, holder: Mapping[str, Any], types: Iterable[str], prefix: str = "") -> Status | None:
    """The first of these conditions that is not True of the object's present generation."""
    for type_ in types:
        entry = condition_in(holder.get("conditions"), type_)
        if entry is None:
            return _in_progress("NotObserved", f"{prefix}no controller has reported {type_} yet")
        if (stale := outdated(obj, entry)) is not None:
            return _in_progress(stale.reason, f"{prefix}{stale.message}")
        if entry.get("status") != "True":
            return _in_progress(_words(entry, f"Not{type_}")[0], f"{prefix}{described(entry)}")
    return None


def _needs_ready_condition(obj: Object) -> Status:
    if condition(obj, "Ready") is None:
        return _in_progress("NotObserved", "its controller has not reported on it yet")
    return _by_conditions(obj)


def _needs_conditions(obj: Object) -> Status:
    if not mappings(_status(obj).get("conditions")):
        return _in_progress("NotObserved", "its operator has not reported on it yet")
    return _by_conditions(obj)


def _by_conditions(obj: Object) -> Status:
    """A custom resource, by what operators write.

    Ready is kstatus' word. Where an operator has no Ready: Available (Prometheus, KubeVirt, Cluster API) or Succeeded
    (Tekton), which are never Failed when False, since some write False while they still work. Synced beside or
    instead of them says whether the wanted state reached its place (Crossplane, Sealed Secrets). Strimzi replaces
    Ready by NotReady, others by Failed. Progressing and Degraded mean too different things to decide.
    """
    synced = condition(obj, "Synced")
    if synced is not None and (synced.get("status") != "True" or outdated(obj, synced)):
        return outdated(obj, synced) or _in_progress(_words(synced, "NotSynced")[0], described(synced))
    for type_ in ("Ready", "Available", "Succeeded"):
        if (entry := condition(obj, type_)) is not None:
            if entry.get("status") != "True":
                default = "not ready yet" if type_ == "Ready" else described(entry)
                return outdated(obj, entry) or _in_progress(*_words(entry, f"Not{type_}", default))
            return outdated(obj, entry) or _ready(*_words(entry, type_))
    for type_ in ("NotReady", "Failed"):
        if (entry := _true(obj, type_)) is not None:
            return outdated(obj, entry) or _in_progress(*_words(entry, type_))
    return _ready(*_words(synced, "Synced")) if synced is not None else _current(obj)


def _current(_obj: Object) -> Status:
    return _ready("Exists", "exists")


_SETTLED = frozenset(
    {
        ("", "ConfigMap"),
        ("", "Secret"),
        ("", "ServiceAccount"),
        ("", "LimitRange"),
        ("", "ResourceQuota"),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration"),
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration"),
        ("batch", "CronJob"),
        ("networking.k8s.io", "IngressClass"),
        ("networking.k8s.io", "NetworkPolicy"),
        ("rbac.authorization.k8s.io", "ClusterRole"),
        ("rbac.authorization.k8s.io", "ClusterRoleBinding"),
        ("rbac.authorization.k8s.io", "Role"),
        ("rbac.authorization.k8s.io", "RoleBinding"),
        ("scheduling.k8s.io", "PriorityClass"),
        ("storage.k8s.io", "StorageClass"),
    }
)

RULES: dict[tuple[str, str], Callable[[Object], Status]] = {
    **dict.fromkeys(_SETTLED, _current),
    ("apps", "Deployment"): _deployment,
    ("apps", "StatefulSet"): _stateful_set,
    ("apps", "DaemonSet"): _daemon_set,
    ("apps", "ReplicaSet"): _replica_set,
    ("", "ReplicationController"): _replica_set,
    ("", "Pod"): _pod,
    ("batch", "Job"): _job,
    ("batch", "CronJob"): _cron_job,
    ("", "PersistentVolumeClaim"): _persistent_volume_claim,
    ("", "Service"): _service,
    ("", "Namespace"): _namespace,
    ("apiextensions.k8s.io", "CustomResourceDefinition"): _custom_resource_definition,
    ("apiregistration.k8s.io", "APIService"): _api_service,
    ("autoscaling", "HorizontalPodAutoscaler"): _horizontal_pod_autoscaler,
    ("policy", "PodDisruptionBudget"): _current,
    ("networking.k8s.io", "Ingress"): _ingress,
    ("elbv2.k8s.aws", "TargetGroupBinding"): _target_group_binding,
    ("external-secrets.io", "ExternalSecret"): _external_secret,
    ("external-secrets.io", "ClusterExternalSecret"): _needs_ready_condition,
    ("external-secrets.io", "SecretStore"): _needs_ready_condition,
    ("external-secrets.io", "ClusterSecretStore"): _needs_ready_condition,
    ("cert-manager.io", "Certificate"): _needs_ready_condition,
    ("cert-manager.io", "Issuer"): _needs_ready_condition,
    ("cert-manager.io", "ClusterIssuer"): _needs_ready_condition,
    # Of a cluster whose reconciliation is paused, Strimzi reports only that.
    ("kafka.strimzi.io", "Kafka"): _needs_conditions,
    ("gateway.networking.k8s.io", "GatewayClass"): _gateway_class,
    ("gateway.networking.k8s.io", "Gateway"): _gateway,
    ("gateway.networking.k8s.io", "HTTPRoute"): _route,
    ("gateway.networking.k8s.io", "GRPCRoute"): _route,
    ("gateway.networking.k8s.io", "TCPRoute"): _route,
    ("gateway.networking.k8s.io", "TLSRoute"): _route,
    ("gateway.networking.k8s.io", "UDPRoute"): _route,
}


def _kind(obj: Object) -> tuple[str, str]:
    return str(obj.get("apiVersion") or "").rpartition("/")[0], str(obj.get("kind") or "")


def _spec(obj: Object) -> Mapping[str, Any]:
    return mapping(obj.get("spec"))


def _status(obj: Object) -> Mapping[str, Any]:
    return mapping(obj.get("status"))


def _generation(obj: Object) -> int | None:
    return _whole(mapping(obj.get("metadata")).get("generation"))


def _whole(value: object) -> int | None:
    """A whole number, also written as a string: Argo Rollouts' observedGeneration. Anything else is no statement."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return int(value) if isinstance(value, str) and value.isdecimal() and len(value) < 20 else None


def _number(value: object, default: int = 0) -> int:
    found = _whole(value)
    return default if found is None else found


def _numbers(status: Mapping[str, Any], *names: str) -> tuple[int, ...]:
    return tuple(_number(status.get(name)) for name in names)


def _counts(obj: Object) -> tuple[Mapping[str, Any], Mapping[str, Any], int]:
    """The spec, the status and the wanted replicas, 1 if not set."""
    return _spec(obj), _status(obj), _number(_spec(obj).get("replicas"), 1)


def _never_observed(obj: Object) -> bool:
    return _whole(_status(obj).get("observedGeneration")) is None


def _true(obj: Object, type_: str) -> Mapping[str, Any] | None:
    found = condition(obj, type_)
    return found if found is not None and found.get("status") == "True" else None


def _words(entry: Mapping[str, Any], reason: str, message: str = "") -> tuple[str, str]:
    return str(entry.get("reason") or reason), str(entry.get("message") or message)


def _load_balancer_addresses(obj: Object) -> list[str]:
    entries = mappings(mapping(_status(obj).get("loadBalancer")).get("ingress"))
    return [str(address) for entry in entries if (address := entry.get("hostname") or entry.get("ip"))]


def _deletion(obj: Object) -> str:
    """Why the deletion takes its time: what a namespace still holds, or the finalizers to come."""
    if _kind(obj) == ("", "Namespace"):
        conditions = mappings(_status(obj).get("conditions"))
        held = {str(entry.get("message") or entry.get("type")) for entry in conditions if entry.get("status") == "True"}
        return "; ".join(["is being deleted", *sorted(held)])
    finalizers = mapping(obj.get("metadata")).get("finalizers")
    if isinstance(finalizers, list) and finalizers:
        return f"is being deleted, waits for {', '.join(map(str, finalizers))}"
    return "is being deleted"


def _ready(reason: str, message: str) -> Status:
    return Status(State.CURRENT, reason, message)


def _in_progress(reason: str, message: str) -> Status:
    return Status(State.IN_PROGRESS, reason, message)


def _failed(reason: str, message: str) -> Status:
    return Status(State.FAILED, reason, message)
