"""Findings about everything that is no pod: who may not create pods, and what controllers say of their objects."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping

from .evidence import event_line, last_seen, lower, message_of, pod_line, warnings
from .finding import HEALING_SECONDS, Finding, Object, Surroundings
from .objects import annotations_of, condition, is_being_deleted, metadata_of, ref_of, uid_of
from .workload_pods import is_ready, newest_replica_set, pods_of

_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
# What LimitRanger says: "maximum cpu usage per Container is 1, but limit is 2".
_LIMIT_RANGE = re.compile(r"\b(?:maximum|minimum) [\w./-]+ usage per |limit to request ratio per ")
_REFUSED_FOR_GOOD = ("forbidden", "denied the request", "denied request", "is invalid")


def about_object(obj: Object, around: Surroundings) -> Iterator[Finding]:
    """All findings about the object itself, its pods left aside."""
    if is_being_deleted(obj):
        yield _being_deleted(obj)
        return
    rule = _RULES.get(str(obj.get("kind")))
    if rule is not None:
        yield from rule(obj, around)


def _being_deleted(obj: Object) -> Finding:
    ref, metadata = ref_of(obj), metadata_of(obj)
    finalizers = [*(metadata.get("finalizers") or []), *((obj.get("spec") or {}).get("finalizers") or [])]
    lines = [f"deleted at {metadata.get('deletionTimestamp')}"]
    if finalizers:
        lines.append(f"finalizers that have not finished: {', '.join(map(str, finalizers))}")
    if ref.kind == "Namespace":
        conditions = (obj.get("status") or {}).get("conditions") or []
        lines += [f"{entry.get('type')}: {message_of(entry)}" for entry in conditions if entry.get("status") == "True"]
    cause = "it is being deleted" + (" and waits for its finalizers" if finalizers else "")
    command = f"{ref.kubectl('get')} -o jsonpath='{{.metadata.finalizers}}'"
    if ref.kind == "Namespace":
        listing = "kubectl api-resources --verbs=list --namespaced -o name"
        command = f"{listing} | xargs -n 1 kubectl -n {ref.name} get --ignore-not-found"
    return Finding("terminating", cause, "\n".join(lines), command, obj, grace_seconds=None)


def _about_deployment(obj: Object, around: Surroundings) -> Iterator[Finding]:
    replica_set = newest_replica_set(obj, around)
    if replica_set is not None:
        yield from _about_replica_set(replica_set, around)


def _about_replica_set(obj: Object, around: Surroundings) -> Iterator[Finding]:
    failure = condition(obj, "ReplicaFailure")
    if failure is not None and failure.get("status") == "True":
        yield pods_refused(obj, message_of(failure), f"{lower(ref_of(obj))}: {failure.get('reason')}")


def _about_creator_of_pods(obj: Object, around: Surroundings) -> Iterator[Finding]:
    """StatefulSets, DaemonSets and Jobs have no ReplicaFailure condition: only an event tells."""
    for event in around.fresh_warnings_about(uid_of(obj)):
        if event.get("reason") == "FailedCreate":
            yield pods_refused(obj, message_of(event), f"event {event.get('reason')}")
            return


def _about_stateful_set(obj: Object, around: Surroundings) -> Iterator[Finding]:
    yield from _about_creator_of_pods(obj, around)
    if (obj.get("spec") or {}).get("podManagementPolicy") == "Parallel":
        return
    pods = sorted(pods_of(obj, around), key=_ordinal)
    blocking = next((pod for pod in pods if not is_ready(pod)), None)
    behind = _not_made_behind(obj, blocking, pods) if blocking is not None else ""
    if blocking is not None and behind:
        ref = ref_of(blocking)
        cause = f"{behind} until pod {ref.name} is ready"
        evidence = pod_line(blocking) or ""
        yield Finding("ordinal", cause, evidence, ref.kubectl("describe"), blocking, grace_seconds=None)


def _not_made_behind(obj: Object, blocking: Object, pods: list[Object]) -> str:
    wanted = (obj.get("spec") or {}).get("replicas")
    wanted = 1 if wanted is None else int(wanted)
    update = str((obj.get("status") or {}).get("updateRevision") or "")
    if update and (metadata_of(blocking).get("labels") or {}).get("controller-revision-hash") != update:
        return "no pod of the new revision is made"
    missing = wanted - len(pods)
    return f"{missing} of {wanted} pods are not made" if missing > 0 else ""


def _ordinal(pod: Object) -> int:
    digits = ref_of(pod).name.rpartition("-")[2]
    return int(digits) if digits.isdigit() else 0


def pods_refused(obj: Object, message: str, source: str) -> Finding:
    """The API server refuses the pods that the object's controller creates."""
    ref = ref_of(obj)
    kind, command, grace = "its pods cannot be created", ref.kubectl("describe"), 0.0
    if "exceeded quota" in message or "failed quota" in message:
        cause, command = f"{kind}: the namespace's quota is used up", f"kubectl -n {ref.namespace} describe quota"
        if "failed quota" in message:
            cause = f"{kind}: the namespace's quota wants requests or limits that they do not have"
    elif "violates PodSecurity" in message:
        cause = f"{kind}: the namespace's Pod Security Standard refuses them"
        command = f"kubectl get namespace {ref.namespace} --show-labels"
    elif _LIMIT_RANGE.search(message):
        cause = f"{kind}: the namespace's LimitRange refuses them"
        command = f"kubectl -n {ref.namespace} describe limitrange"
    elif "serviceaccount" in message and "not found" in message:
        cause, grace = f"{kind}: the service account does not exist", HEALING_SECONDS
        command = f"kubectl -n {ref.namespace} get serviceaccount"
    elif "failed calling webhook" in message or "failed to call webhook" in message:
        cause, grace = f"{kind}: an admission webhook does not answer", HEALING_SECONDS
    elif any(words in message for words in _REFUSED_FOR_GOOD):
        cause = f"{kind}: an admission rule refuses them"
    else:
        cause, grace = kind, HEALING_SECONDS
    return Finding("pods-refused", cause, f"{source}: {message}", command, obj, grace_seconds=grace)


def _about_claim(obj: Object, around: Surroundings) -> Iterator[Finding]:
    spec = obj.get("spec") or {}
    wanted = spec.get("storageClassName")
    classes = around.storage_classes()
    if (obj.get("status") or {}).get("phase") == "Lost":
        return
    if classes is not None and not spec.get("volumeName"):
        known = sorted(ref_of(entry).name for entry in classes)
        shown = f"storage classes that exist: {', '.join(known) or 'none'}"
        command = "kubectl get storageclass"
        if wanted and wanted not in known:
            yield Finding("storage-class", f"the storage class {wanted} does not exist", shown, command, obj)
            return
        if wanted is None and not any(annotations_of(entry).get(_DEFAULT_CLASS) == "true" for entry in classes):
            cause = "it names no storage class and none is the default"
            yield Finding("storage-class", cause, shown, command, obj, grace_seconds=HEALING_SECONDS)
            return
    failed = [event for event in _warnings_about(obj, around) if event.get("reason") in _NOT_PROVISIONED]
    cause = "its volume cannot be provisioned" if failed else "no volume has been provisioned for it"
    evidence = event_line(failed[-1]) if failed else f"storage class {wanted}, phase Pending"
    yield Finding("provisioning", cause, evidence, ref_of(obj).kubectl("describe"), obj, grace_seconds=None)


_NOT_PROVISIONED = frozenset({"ProvisioningFailed", "FailedBinding"})


def _about_autoscaler(obj: Object, around: Surroundings) -> Iterator[Finding]:
    able = condition(obj, "AbleToScale")
    if able is not None and able.get("status") == "False":
        target = (obj.get("spec") or {}).get("scaleTargetRef") or {}
        named = f"{target.get('kind')} {target.get('name')}"
        message = message_of(able)
        missing = able.get("reason") == "FailedGetScale" and "not found" in message
        yield Finding(
            "scale-target",
            f"its target {named} does not exist" if missing else f"its target {named} cannot be scaled",
            f"{able.get('reason')}: {message}",
            f"kubectl -n {ref_of(obj).namespace} get {str(target.get('kind')).lower()}",
            obj,
            grace_seconds=HEALING_SECONDS,
        )
        return
    active = condition(obj, "ScalingActive")
    if active is None or active.get("status") == "True":
        return
    message = message_of(active)
    evidence = f"{active.get('reason')}: {message}"
    if "missing request for" in message:
        resource = message.partition("missing request for")[2].split()[0]
        cause = f"it cannot scale on {resource}: a container of its target has no {resource} request"
        yield Finding("requests", cause, evidence, ref_of(obj).kubectl("describe"), obj)
    elif "metrics.k8s.io" in message and any(
        words in message for words in ("could not find the requested resource", "currently unable to handle")
    ):
        cause = "it gets no metrics: metrics-server is missing or not ready"
        command = "kubectl get apiservice v1beta1.metrics.k8s.io"
        yield Finding("metrics-server", cause, evidence, command, obj, grace_seconds=HEALING_SECONDS)


def _about_external_secret(obj: Object, around: Surroundings) -> Iterator[Finding]:
    ready = condition(obj, "Ready")
    if ready is None or ready.get("status") != "False":
        return
    lines = [f"{ready.get('reason')}: {message_of(ready)}", *map(event_line, _warnings_about(obj, around)[-2:])]
    cause = (
        "it cannot log in to its secret manager"
        if str(obj.get("kind")).endswith("SecretStore")
        else "the secret manager does not hand out what it asks for"
    )
    command = ref_of(obj).kubectl("describe")
    rule = "secret-store" if str(obj.get("kind")).endswith("SecretStore") else "external-secret"
    yield Finding(rule, cause, "\n".join(lines), command, obj, grace_seconds=HEALING_SECONDS)


def _about_target_group_binding(obj: Object, around: Surroundings) -> Iterator[Finding]:
    shown = [event_line(event) for event in _warnings_about(obj, around)[-2:]]
    cause = "the AWS Load Balancer Controller has not reconciled it"
    evidence = "\n".join(shown) or f"target group {(obj.get('spec') or {}).get('targetGroupARN')}"
    yield Finding("target-group-binding", cause, evidence, ref_of(obj).kubectl("describe"), obj, grace_seconds=None)


def _about_api_service(obj: Object, around: Surroundings) -> Iterator[Finding]:
    available = condition(obj, "Available") or {}
    if available.get("status") == "True":
        return
    evidence = f"{available.get('reason')}: {message_of(available)}" if available else "it has no Available condition"
    cause = "the service behind this API is not available"
    yield Finding("api-service", cause, evidence, ref_of(obj).kubectl("describe"), obj, grace_seconds=None)


def _about_load_balanced(obj: Object, around: Surroundings) -> Iterator[Finding]:
    if obj.get("kind") == "Service" and (obj.get("spec") or {}).get("type") != "LoadBalancer":
        return
    shown = [event_line(event) for event in _warnings_about(obj, around)[-2:]]
    evidence = "\n".join(shown) or "no controller has said anything about it"
    cause = "no load balancer has been made for it"
    yield Finding("load-balancer", cause, evidence, ref_of(obj).kubectl("describe"), obj, grace_seconds=None)


def _warnings_about(obj: Object, around: Surroundings) -> list[Object]:
    return sorted(warnings(around.warnings_about(uid_of(obj))), key=last_seen)


_RULES: Mapping[str, Callable[[Object, Surroundings], Iterator[Finding]]] = {
    "Deployment": _about_deployment,
    "ReplicaSet": _about_replica_set,
    "StatefulSet": _about_stateful_set,
    "DaemonSet": _about_creator_of_pods,
    "Job": _about_creator_of_pods,
    "PersistentVolumeClaim": _about_claim,
    "HorizontalPodAutoscaler": _about_autoscaler,
    "ExternalSecret": _about_external_secret,
    "SecretStore": _about_external_secret,
    "ClusterSecretStore": _about_external_secret,
    "TargetGroupBinding": _about_target_group_binding,
    "APIService": _about_api_service,
    "Service": _about_load_balanced,
    "Ingress": _about_load_balanced,
}
