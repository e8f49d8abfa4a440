"""The pods that speak for a workload, and the containers in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .finding import Object, Surroundings
from .objects import annotations_of, condition, is_being_deleted, labels_of, metadata_of, uid_of

_REVISION = "deployment.kubernetes.io/revision"


def newest_pods(obj: Object, around: Surroundings) -> list[Object]:
    """The pods of the workload's newest revision. Older pods, and pods being deleted, say nothing about it."""
    kind = obj.get("kind")
    if kind == "Pod":
        return [] if is_being_deleted(obj) else [obj]
    if kind == "Deployment":
        newest = newest_replica_set(obj, around)
        return pods_of(newest, around) if newest else []
    if kind == "StatefulSet":
        return _of_revision(pods_of(obj, around), str((obj.get("status") or {}).get("updateRevision") or ""))
    if kind == "DaemonSet":
        revisions = around.owned(uid_of(obj), "ControllerRevision")
        newest = max(revisions, key=lambda revision: int(revision.get("revision") or 0), default=None)
        hash_ = labels_of(newest).get("controller-revision-hash", "") if newest else ""
        return _of_revision(pods_of(obj, around), hash_)
    return pods_of(obj, around) if kind in {"ReplicaSet", "Job"} else []


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


def pods_of(owner: Object, around: Surroundings) -> list[Object]:
    """All pods that the object owns and that are not being deleted."""
    return [pod for pod in around.owned(uid_of(owner), "Pod") if not is_being_deleted(pod)]


def is_ready(pod: Object) -> bool:
    ready = condition(pod, "Ready")
    return ready is not None and ready.get("status") == "True"


def container_statuses(pod: Object) -> Iterator[Object]:
    """Of init containers and sidecars, then of the others: the order in which they start."""
    status = pod.get("status") or {}
    yield from status.get("initContainerStatuses") or []
    yield from status.get("containerStatuses") or []


def containers_of(pod: Object) -> list[Object]:
    spec = pod.get("spec") or {}
    return [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]


def container_named(pod: Object, name: str) -> Object:
    """The container's specification; empty if the pod has none of this name."""
    return next((container for container in containers_of(pod) if container.get("name") == name), {})


def status_named(pod: Object, name: str) -> Object:
    """The container's status; empty if the kubelet has not reported one."""
    return next((status for status in container_statuses(pod) if status.get("name") == name), {})


def last_end(status: Object) -> Object:
    """How the container ended last; empty if it never did."""
    ended = (status.get("state") or {}).get("terminated") or (status.get("lastState") or {}).get("terminated")
    return ended or {}


def made_by(pod: Object) -> str:
    """What made the pod, as kubectl takes it: a ReplicaSet's Deployment bears its name without the hash."""
    owners = metadata_of(pod).get("ownerReferences") or [{}]
    kind, name = str(owners[0].get("kind") or "Pod"), str(owners[0].get("name") or metadata_of(pod).get("name"))
    if kind == "ReplicaSet" and "-" in name:
        kind, name = "Deployment", name.rpartition("-")[0]
    return f"{kind.lower()} {name}"


def _of_revision(pods: Iterable[Object], revision: str) -> list[Object]:
    return [pod for pod in pods if revision and labels_of(pod).get("controller-revision-hash") in _hashes(revision)]


def _hashes(revision: str) -> set[str]:
    # StatefulSet pods carry the revision's whole name, DaemonSet pods only its hash.
    return {revision, revision.rpartition("-")[2]}
