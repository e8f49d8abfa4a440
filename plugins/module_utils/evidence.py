"""Pods, containers and events in words: the lines that a finding shows, and the few that progress shows."""

from __future__ import annotations

from .finding import Object, Surroundings
from .objects import Ref, condition, ref_of, uid_of
from .workload_pods import container_statuses, is_ready, newest_pods, newest_replica_set

DESCRIBED = 5
_STARTING = frozenset({"ContainerCreating", "PodInitializing"})


def evidence_of(obj: Object, around: Surroundings) -> list[str]:
    """What can be said about an object that did not become ready: its pods' states and the last warnings."""
    pods = newest_pods(obj, around)
    lines = [line for pod in pods if (line := pod_line(pod))][:DESCRIBED]
    uids = {uid_of(obj), *(uid_of(pod) for pod in pods)}
    replica_set = newest_replica_set(obj, around) if obj.get("kind") == "Deployment" else None
    if replica_set is not None:
        uids.add(uid_of(replica_set))
    about = sorted((event for uid in uids for event in warnings(around.warnings_about(uid))), key=last_seen)
    return [*lines, *(event_line(event) for event in about[-DESCRIBED:])]


def summary_of_pods(obj: Object, around: Surroundings) -> str:
    """What the newest pods are doing, in a few words: "1 pulling image, 1 not scheduled"."""
    doing: dict[str, int] = {}
    for pod in newest_pods(obj, around):
        if (word := _doing(pod)) is not None:
            doing[word] = doing.get(word, 0) + 1
    return ", ".join(f"{count} {word}" for word, count in sorted(doing.items()))


def warnings(events: object) -> list[Object]:
    """Those of the events that are no good news."""
    return [event for event in events if event.get("type") != "Normal"] if isinstance(events, list | tuple) else []


def pod_line(pod: Object) -> str | None:
    """The state of a pod, or None if it is ready."""
    if is_ready(pod):
        return None
    parts = []
    for status in container_statuses(pod):
        state = status.get("state") or {}
        for name in ("waiting", "terminated"):
            if name in state and state[name].get("reason") != "Completed":
                text = f"container {status.get('name')}: {state[name].get('reason') or name}"
                parts.append(text + (f" ({state[name]['message']})" if state[name].get("message") else ""))
    if not parts:
        scheduled = condition(pod, "PodScheduled") or {}
        described = scheduled if scheduled.get("status") == "False" else condition(pod, "Ready") or {}
        phase = (pod.get("status") or {}).get("phase") or "Pending"
        parts = [
            f"{described.get('reason') or phase}" + (f": {described['message']}" if described.get("message") else "")
        ]
    return f"{lower(ref_of(pod))} {'; '.join(parts)}"


def event_line(event: Object) -> str:
    involved = event.get("involvedObject") or {}
    count = int(event.get("count") or (event.get("series") or {}).get("count") or 1)
    times = f" ({count} times)" if count > 1 else ""
    about = f"{str(involved.get('kind')).lower()} {involved.get('name')}"
    return f"event on {about}: {event.get('reason')}: {message_of(event)}{times}"


def last_seen(event: Object) -> str:
    series = event.get("series") or {}
    return str(series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime") or "")


def message_of(entry: Object) -> str:
    """The message of an event or a condition."""
    return str(entry.get("message") or "").strip()


def lower(ref: Ref) -> str:
    """As a sentence says it: pod web-1."""
    return f"{ref.kind.lower()} {ref.name}"


def _doing(pod: Object) -> str | None:
    if is_ready(pod):
        return None
    scheduled = condition(pod, "PodScheduled")
    if scheduled is None or scheduled.get("status") == "False":
        return "not scheduled"
    for status in container_statuses(pod):
        reason = ((status.get("state") or {}).get("waiting") or {}).get("reason")
        if reason in {"ErrImagePull", "ImagePullBackOff"}:
            return "failing to pull its image"
        if reason == "CrashLoopBackOff":
            return "crashing"
        if reason and reason not in _STARTING:
            return str(reason)
    if (pod.get("status") or {}).get("phase") == "Running":
        return "running but not ready"
    return "starting"
