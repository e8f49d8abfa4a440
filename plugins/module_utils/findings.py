"""Why an object will not become ready: findings, read from a workload, its newest pods and the events about them.

Everything here is a pure function of objects. A finding is fatal at once, after a grace during which it may heal
(counted by the caller from the moment it first saw the finding), or never by itself (``grace_seconds`` is None).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .objects import annotations_of, condition, is_being_deleted, labels_of, metadata_of, ref_of, uid_of

Object = Mapping[str, Any]

# Time for what another controller is just about to do: create a service account, serve metrics, log in to a secret
# manager.
HEALING_SECONDS = 60.0
DESCRIBED_EVENTS = 5


@dataclass(frozen=True)
class FailFast:
    """When to give up early. ``unschedulable_seconds`` is None where a node autoscaler may still add a node."""

    enabled: bool = True
    crash_loop_restarts: int = 2
    image_pull_seconds: float = 60.0
    unschedulable_seconds: float | None = 60.0


DEFAULT_POLICY = FailFast()


@dataclass(frozen=True)
class Finding:
    """``key`` is the same as long as it is the same problem of the same thing; a container's log is evidence if one is
    named.
    """

    key: tuple[str, ...]
    cause: str
    evidence: str
    next_command: str
    grace_seconds: float | None = 0.0
    log_of: LogSource | None = None


@dataclass(frozen=True)
class LogSource:
    namespace: str
    pod: str
    container: str
    previous: bool


class Surroundings(Protocol):
    """What is known around an object; ``live.LiveState`` is it."""

    def owned(self, uid: str, kind: str) -> Sequence[Object]:
        """The objects of this kind that have the object with this uid as an owner."""

    def warnings_about(self, uid: str) -> Sequence[Object]:
        """The Warning events about the object with this uid."""

    def fresh_warnings_about(self, uid: str) -> Sequence[Object]:
        """Those that happened since the waiting began."""

    def warnings_about_named(self, kind: str, namespace: str, name: str) -> Sequence[Object]:
        """The Warning events about the object with this name."""

    def storage_classes(self) -> Sequence[Object] | None:
        """None as long as they are not known."""


def find(obj: Object, around: Surroundings, policy: FailFast) -> list[Finding]:
    """All findings about one object that is not ready."""
    rule = _RULES.get(str(obj.get("kind")))
    found = list(rule(obj, around)) if rule else []
    for pod in newest_pods(obj, around):
        found += _about_pod(pod, around, policy)
    return found


def newest_pods(obj: Object, around: Surroundings) -> list[Object]:
    """The pods of the workload's newest revision. Older pods, and pods being deleted, say nothing about it."""
    kind = obj.get("kind")
    if kind == "Pod":
        return [obj]
    if kind == "Deployment":
        newest = newest_replica_set(obj, around)
        return _pods_of(newest, around) if newest else []
    owned = _pods_of(obj, around)
    if kind == "StatefulSet":
        return _of_revision(owned, str((obj.get("status") or {}).get("updateRevision") or ""))
    if kind == "DaemonSet":
        revisions = around.owned(uid_of(obj), "ControllerRevision")
        newest = max(revisions, key=lambda revision: int(revision.get("revision") or 0), default=None)
        return _of_revision(owned, labels_of(newest).get("controller-revision-hash", "") if newest else "")
    return owned if kind in {"ReplicaSet", "Job"} else []


def newest_replica_set(deployment: Object, around: Surroundings) -> Object | None:
    """The ReplicaSet of the Deployment's current revision, or None while its controller hasn't made it yet."""
    observed = (deployment.get("status") or {}).get("observedGeneration")
    if observed != metadata_of(deployment).get("generation"):
        return None
    revision = annotations_of(deployment).get(_REVISION)
    for replica_set in around.owned(uid_of(deployment), "ReplicaSet"):
        if annotations_of(replica_set).get(_REVISION) == revision:
            return replica_set
    return None


def evidence_of(obj: Object, around: Surroundings) -> str:
    """What can be said about an object that did not become ready in time: its pods' states and the last warnings."""
    pods = newest_pods(obj, around)
    lines = [line for pod in pods if (line := _pod_line(pod))][:DESCRIBED_EVENTS]
    uids = {uid_of(obj), *(uid_of(pod) for pod in pods)}
    if (replica_set := newest_replica_set(obj, around)) is not None:
        uids.add(uid_of(replica_set))
    about = sorted((event for uid in uids for event in around.warnings_about(uid)), key=_last_seen)
    lines += [_event_line(event) for event in about[-DESCRIBED_EVENTS:]]
    return "\n".join(lines)


def log_source(obj: Object, around: Surroundings) -> LogSource | None:
    """The container whose log most likely tells why: one that restarted, else one that runs without being ready."""
    candidates: list[tuple[int, LogSource]] = []
    for pod in newest_pods(obj, around):
        for status in _container_statuses(pod):
            restarts = int(status.get("restartCount") or 0)
            state = status.get("state") or {}
            ended_badly = ((state.get("terminated") or {}).get("exitCode") or 0) != 0
            if restarts or ended_badly or ("running" in state and not status.get("ready")):
                candidates.append((restarts, _log_of(pod, status)))
    return max(candidates, key=lambda candidate: candidate[0])[1] if candidates else None


def summary_of_pods(obj: Object, around: Surroundings) -> str:
    """What the newest pods are doing, in a few words: "1 pulling image, 1 not scheduled"."""
    doing: dict[str, int] = {}
    for pod in newest_pods(obj, around):
        if (word := _doing(pod)) is not None:
            doing[word] = doing.get(word, 0) + 1
    return ", ".join(f"{count} {word}" for word, count in sorted(doing.items()))


_REVISION = "deployment.kubernetes.io/revision"
_REFUSED_BY_REGISTRY = re.compile(
    r"\b40[13]\b|\b(?:unauthorized|denied|forbidden)\b|no basic auth credentials", re.IGNORECASE
)
# An image may be called anything: its digest, tag, repository and URL say nothing about what the registry answered.
_NAMES_OF_IMAGES = re.compile(r"""sha256:[0-9a-f]+|image "[^"]*"|[^\s"{},]*/[^\s"{},]*""")


def _pods_of(owner: Object, around: Surroundings) -> list[Object]:
    return [pod for pod in around.owned(uid_of(owner), "Pod") if not is_being_deleted(pod)]


def _of_revision(pods: Iterable[Object], revision: str) -> list[Object]:
    return [pod for pod in pods if revision and labels_of(pod).get("controller-revision-hash") in _hashes(revision)]


def _hashes(revision: str) -> set[str]:
    # StatefulSet pods carry the revision's whole name, DaemonSet pods only its hash.
    return {revision, revision.rpartition("-")[2]}


def _about_pod(pod: Object, around: Surroundings, policy: FailFast) -> Iterator[Finding]:
    scheduled = condition(pod, "PodScheduled") or {}
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        yield _unschedulable(pod, scheduled, around, policy)
    events = around.warnings_about(uid_of(pod))
    for status in _container_statuses(pod):
        finding = _about_container(pod, status, events, policy)
        if finding is not None:
            yield finding


def _unschedulable(pod: Object, scheduled: Object, around: Surroundings, policy: FailFast) -> Finding:
    ref = ref_of(pod)
    message = str(scheduled.get("message") or "")
    for claim in _claims_of(pod):
        for event in around.warnings_about_named("PersistentVolumeClaim", ref.namespace, claim):
            if _names_no_class(event):
                return Finding(
                    key=(uid_of(pod), claim, "storage-class"),
                    cause=f"the storage class of PersistentVolumeClaim {claim} does not exist",
                    evidence=f"{ref}: {message}\n{_event_line(event)}",
                    next_command="kubectl get storageclass",
                )
    return Finding(
        key=(uid_of(pod), "unschedulable"),
        cause="no node can take the pod",
        evidence=f"{_lower(ref)}: {message}",
        next_command=ref.kubectl("describe"),
        grace_seconds=policy.unschedulable_seconds,
    )


def _about_container(pod: Object, status: Object, events: Sequence[Object], policy: FailFast) -> Finding | None:
    waiting = (status.get("state") or {}).get("waiting") or {}
    reason, message = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
    restarts = int(status.get("restartCount") or 0)
    last = (status.get("lastState") or {}).get("terminated") or {}
    ref, name = ref_of(pod), str(status.get("name"))
    describe, logs = ref.kubectl("describe"), f"kubectl -n {ref.namespace} logs {ref.name} -c {name} --previous"

    def finding(
        rule: str,
        cause: str,
        text: str = message,
        grace: float | None = 0.0,
        command: str = describe,
        log: LogSource | None = None,
    ) -> Finding:
        evidence = f"{_lower(ref)} container {name}: {reason or 'running'}" + (f": {text}" if text else "")
        return Finding((uid_of(pod), name, rule), cause, evidence, command, grace, log)

    if last.get("reason") == "OOMKilled" and restarts >= 2:
        return finding(
            "oom",
            "the container is killed for using more memory than its limit",
            f"OOMKilled, {restarts} restarts",
            log=_log_of(pod, status),
        )
    if reason == "InvalidImageName":
        return finding("image-name", "the image name is not valid")
    if reason == "ErrImageNeverPull":
        return finding("image-never", "the image is not on the node and its pull policy is Never")
    if reason in {"ErrImagePull", "ImagePullBackOff"}:
        text = " ".join([message, *(_message(event) for event in events if event.get("reason") == "Failed")]).strip()
        # The waiting message alone often is "Back-off pulling image": the event says why.
        detail = next(
            (_message(event) for event in events if event.get("reason") == "Failed" and "pull" in _message(event)),
            message,
        )
        shown = message if len(message) >= len(detail) else detail
        if _any_in(
            text, "not found", "manifest unknown", "manifest_unknown", "repository does not exist", "name unknown"
        ):
            return finding("image-missing", "the image does not exist in the registry", shown)
        if _REFUSED_BY_REGISTRY.search(_NAMES_OF_IMAGES.sub("", text)):
            return finding(
                "image-denied",
                "the registry refuses to hand out the image: credentials or imagePullSecrets are wrong",
                shown,
            )
        return finding("image-pull", "the image cannot be pulled", shown, policy.image_pull_seconds)
    if reason == "CreateContainerConfigError":
        if "failed to sync" in message and "cache" in message:
            return None
        return finding("container-config", _config_cause(message))
    if reason == "CreateContainerError":
        return finding("container-create", "the container cannot be created")
    if reason == "RunContainerError" and restarts >= 1:
        return finding("container-run", "the container cannot be started", log=_log_of(pod, status))
    if reason == "CrashLoopBackOff" and restarts >= policy.crash_loop_restarts:
        code = last.get("exitCode")
        ended = f"exit code {code}" if code is not None else "it ends soon after its start"
        said = str(last.get("message") or "")
        return finding(
            "crash-loop",
            f"the container crashes again and again ({ended})",
            f"{restarts} restarts"
            + (f", {last.get('reason')}" if last.get("reason") else "")
            + (f": {said}" if said else ""),
            command=logs,
            log=_log_of(pod, status),
        )
    return None


def _config_cause(message: str) -> str:
    if "not found" in message or "couldn't find key" in message:
        return "a ConfigMap or Secret that the container uses, or a key of it, does not exist"
    if "runAsNonRoot" in message:
        return "the image runs as root, which the pod's runAsNonRoot forbids"
    return "the container's configuration is not valid"


def _about_deployment(obj: Object, around: Surroundings) -> Iterator[Finding]:
    replica_set = newest_replica_set(obj, around)
    if replica_set is not None:
        yield from _about_replica_set(replica_set, around)


def _about_replica_set(obj: Object, around: Surroundings) -> Iterator[Finding]:
    failure = condition(obj, "ReplicaFailure")
    if failure is not None and failure.get("status") == "True":
        yield _pods_refused(obj, str(failure.get("message") or ""), f"{_lower(ref_of(obj))}: {failure.get('reason')}")


def _about_creator_of_pods(obj: Object, around: Surroundings) -> Iterator[Finding]:
    """StatefulSets, DaemonSets and Jobs have no ReplicaFailure condition: only an event tells."""
    for event in around.fresh_warnings_about(uid_of(obj)):
        if event.get("reason") == "FailedCreate":
            yield _pods_refused(obj, _message(event), f"event {event.get('reason')}")
            return


def _pods_refused(obj: Object, message: str, source: str) -> Finding:
    grace: float | None = 0.0
    if "exceeded quota" in message:
        cause, command = "its pods cannot be created: the namespace's quota is used up", "describe resourcequota"
    elif "violates PodSecurity" in message:
        cause, command = (
            "its pods cannot be created: the namespace's Pod Security Standard refuses them",
            "describe namespace",
        )
    elif "serviceaccount" in message and "not found" in message:
        cause, command, grace = (
            "its pods cannot be created: the service account does not exist",
            "get serviceaccount",
            HEALING_SECONDS,
        )
    elif "forbidden" in message:
        cause, command = "its pods cannot be created: an admission rule refuses them", "describe"
    else:
        cause, command, grace = "its pods cannot be created", "describe", HEALING_SECONDS
    ref = ref_of(obj)
    namespace = f"kubectl -n {ref.namespace} "
    if command == "describe namespace":
        next_command = f"kubectl describe namespace {ref.namespace}"
    else:
        next_command = ref.kubectl("describe") if command == "describe" else namespace + command
    return Finding((uid_of(obj), "pods-refused"), cause, f"{source}: {message}", next_command, grace)


def _about_claim(obj: Object, around: Surroundings) -> Iterator[Finding]:
    spec = obj.get("spec") or {}
    wanted = spec.get("storageClassName")
    classes = around.storage_classes()
    if not wanted or spec.get("volumeName") or classes is None:
        return
    known = sorted(ref_of(entry).name for entry in classes)
    if wanted not in known:
        yield Finding(
            key=(uid_of(obj), "storage-class"),
            cause=f"the storage class {wanted} does not exist",
            evidence=f"storage classes that exist: {', '.join(known) or 'none'}",
            next_command="kubectl get storageclass",
        )


def _about_autoscaler(obj: Object, around: Surroundings) -> Iterator[Finding]:
    active = condition(obj, "ScalingActive")
    if active is None or active.get("status") == "True":
        return
    message = str(active.get("message") or "")
    evidence = f"{active.get('reason')}: {message}"
    if "missing request for" in message:
        resource = message.partition("missing request for")[2].split()[0]
        yield Finding(
            key=(uid_of(obj), "requests"),
            cause=f"it cannot scale on {resource}: a container of its target has no {resource} request",
            evidence=evidence,
            next_command=ref_of(obj).kubectl("describe"),
        )
    elif "metrics.k8s.io" in message and _any_in(
        message, "could not find the requested resource", "currently unable to handle"
    ):
        yield Finding(
            key=(uid_of(obj), "metrics-server"),
            cause="it gets no metrics: metrics-server is missing or not ready",
            evidence=evidence,
            next_command="kubectl get apiservice v1beta1.metrics.k8s.io",
            grace_seconds=HEALING_SECONDS,
        )


def _about_external_secret(obj: Object, around: Surroundings) -> Iterator[Finding]:
    ready = condition(obj, "Ready")
    if ready is not None and ready.get("status") == "False":
        events = around.warnings_about(uid_of(obj))
        lines = [
            f"{ready.get('reason')}: {ready.get('message')}",
            *(_event_line(event) for event in sorted(events, key=_last_seen)[-2:]),
        ]
        yield Finding(
            key=(uid_of(obj), "not-synced"),
            cause="the secret manager does not hand out what it asks for",
            evidence="\n".join(lines),
            next_command=ref_of(obj).kubectl("describe"),
            grace_seconds=HEALING_SECONDS,
        )


_RULES = {
    "Deployment": _about_deployment,
    "ReplicaSet": _about_replica_set,
    "StatefulSet": _about_creator_of_pods,
    "DaemonSet": _about_creator_of_pods,
    "Job": _about_creator_of_pods,
    "PersistentVolumeClaim": _about_claim,
    "HorizontalPodAutoscaler": _about_autoscaler,
    "ExternalSecret": _about_external_secret,
    "SecretStore": _about_external_secret,
    "ClusterSecretStore": _about_external_secret,
}


def _container_statuses(pod: Object) -> Iterator[Object]:
    status = pod.get("status") or {}
    yield from status.get("initContainerStatuses") or []
    yield from status.get("containerStatuses") or []


def _log_of(pod: Object, status: Object) -> LogSource:
    # While a container waits for its next start, or has just started again, what went wrong is in the previous
    # instance's log.
    ref = ref_of(pod)
    return LogSource(
        ref.namespace, ref.name, str(status.get("name")), previous=int(status.get("restartCount") or 0) > 0
    )


def _claims_of(pod: Object) -> list[str]:
    volumes = (pod.get("spec") or {}).get("volumes") or []
    return [str(claim["claimName"]) for volume in volumes if (claim := volume.get("persistentVolumeClaim"))]


def _names_no_class(event: Object) -> bool:
    return (
        event.get("reason") == "ProvisioningFailed"
        and "storageclass" in _message(event)
        and "not found" in _message(event)
    )


def _pod_line(pod: Object) -> str | None:
    ready = condition(pod, "Ready")
    if ready is not None and ready.get("status") == "True":
        return None
    parts = []
    for status in _container_statuses(pod):
        state = status.get("state") or {}
        for name in ("waiting", "terminated"):
            if name in state and state[name].get("reason") != "Completed":
                text = f"container {status.get('name')}: {state[name].get('reason') or name}"
                parts.append(text + (f" ({state[name]['message']})" if state[name].get("message") else ""))
    if not parts:
        scheduled = condition(pod, "PodScheduled") or {}
        described = scheduled if scheduled.get("status") == "False" else ready or {}
        phase = (pod.get("status") or {}).get("phase") or "Pending"
        parts = [
            f"{described.get('reason') or phase}" + (f": {described['message']}" if described.get("message") else "")
        ]
    return f"{_lower(ref_of(pod))} {'; '.join(parts)}"


def _doing(pod: Object) -> str | None:
    ready = condition(pod, "Ready")
    if ready is not None and ready.get("status") == "True":
        return None
    scheduled = condition(pod, "PodScheduled")
    if scheduled is None or scheduled.get("status") == "False":
        return "not scheduled"
    for status in _container_statuses(pod):
        waiting = (status.get("state") or {}).get("waiting") or {}
        reason = waiting.get("reason")
        if reason in {"ErrImagePull", "ImagePullBackOff"}:
            return "failing to pull its image"
        if reason == "CrashLoopBackOff":
            return "crashing"
        if reason and reason not in {"ContainerCreating", "PodInitializing"}:
            return str(reason)
    if (pod.get("status") or {}).get("phase") == "Running":
        return "running but not ready"
    return "starting"


def _event_line(event: Object) -> str:
    involved = event.get("involvedObject") or {}
    count = int(event.get("count") or (event.get("series") or {}).get("count") or 1)
    times = f" ({count} times)" if count > 1 else ""
    about = f"{str(involved.get('kind')).lower()} {involved.get('name')}"
    return f"event on {about}: {event.get('reason')}: {_message(event)}{times}"


def _last_seen(event: Object) -> str:
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or "")


def _message(event: Object) -> str:
    return str(event.get("message") or "").strip()


def _any_in(text: str, *needles: str) -> bool:
    lowered = text.lower()
    return any(needle in lowered for needle in needles)


def _lower(ref: Any) -> str:
    return f"{ref.kind.lower()} {ref.name}"
