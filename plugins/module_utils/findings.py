"""Why an object will not become ready, as far as the watched objects tell it.

Everything here is a pure function of objects. Whether and when to give up is decided by ``find`` and the grace of each
finding; what ``diagnosis`` then asks the API for only makes the cause, the evidence and the next command better.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from .evidence import evidence_of, summary_of_pods
from .finding import DEFAULT_POLICY, FailFast, Finding, Object, Surroundings
from .findings_controllers import about_object
from .findings_pods import about_pod
from .objects import Ref, is_being_deleted, ref_of
from .status import State, Status, status_of
from .workload_pods import containers_of, is_ready, last_end, newest_pods, status_named

__all__ = [
    "DEFAULT_POLICY",
    "FailFast",
    "Finding",
    "Surroundings",
    "find",
    "newest_pods",
    "summary_of_pods",
    "when_failed",
    "when_late",
]

# When the time is over, one restart or one failed pull is a reason as good as any.
_AT_THE_END = FailFast(crash_loop_restarts=0)
_DESCRIBED_OBJECTS = 3

_CAUSES = {
    "ProgressDeadlineExceeded": "it made no progress within its progressDeadlineSeconds",
    "BackoffLimitExceeded": "the Job failed: its pods failed too often",
    "PodFailurePolicy": "the Job failed: its podFailurePolicy ended it",
    "DeadlineExceeded": "the Job failed: it ran longer than its activeDeadlineSeconds",
    "Lost": "the volume it was bound to is gone",
}


def find(obj: Object, around: Surroundings, policy: FailFast) -> list[Finding]:
    """All findings about one object that is not ready."""
    found = list(about_object(obj, around))
    if not is_being_deleted(obj):
        for pod in newest_pods(obj, around):
            found += about_pod(pod, around, policy)
    return found


def when_failed(ref: Ref, status: Status, objects: Sequence[Object], around: Surroundings) -> Finding:
    """The status itself says that the target has failed: the reason for that, if its pods show one."""
    unready = [obj for obj in objects if status_of(obj).state is State.FAILED] or list(objects)
    found = _worst_first(finding for obj in unready for finding in find(obj, around, _AT_THE_END))
    lines = [f"{status.reason}: {status.message}" if status.message else status.reason]
    if status.reason == "ProgressDeadlineExceeded" and found:
        return _completed(found[0], found[0].cause, [*lines, *_evidence(found, unready, around)])
    cause = _CAUSES.get(status.reason, f"{status.reason}: {status.message}" if status.message else status.reason)
    ended = next((finding for obj in unready if (finding := _ended_badly(obj, around)) is not None), None)
    if ended is not None:
        return _completed(ended, f"{cause}; {ended.cause}", [*lines, *_evidence([ended, *found], unready, around)])
    if found:
        return _completed(found[0], f"{cause}: {found[0].cause}", [*lines, *_evidence(found, unready, around)])
    subject = unready[0] if unready else {}
    rule = {"PersistentVolumeClaim": "lost", "CustomResourceDefinition": "names"}.get(ref.kind, "failed")
    command = _look_at(ref, unready, around)
    return Finding(rule, cause, "\n".join(_unique([*lines, *_evidence([], unready, around)])), command, subject)


def when_late(ref: Ref, status: Status, objects: Sequence[Object], around: Surroundings, seconds: float) -> Finding:
    """The target is not ready at its deadline: the most probable reason, and everything that tells why."""
    unready = [obj for obj in objects if not status_of(obj).is_current] or list(objects)
    found = _worst_first(finding for obj in unready for finding in find(obj, around, _AT_THE_END))
    lines = [f"{status.state.value} {status.reason}: {status.message}", *_evidence(found, unready, around)]
    cause = f"not ready after {seconds:.0f} s"
    if found:
        return _completed(found[0], f"{cause}: {found[0].cause}", lines)
    subject: Object = unready[0] if unready else {}
    rule = "late"
    if status.state is State.NOT_FOUND:
        rule = "not-found"
        cause = f"{cause}: {status.message or 'it does not exist'}"
    elif ref.kind == "Service" and not any(obj.get("kind") == "Service" for obj in objects):
        rule, subject = "endpoints", {}
    return Finding(rule, cause, "\n".join(_unique(lines)), _look_at(ref, unready, around), subject)


def _worst_first(found: Iterable[Finding]) -> list[Finding]:
    """What would have ended the wait soonest explains best; what may always heal explains least."""
    return sorted(found, key=lambda finding: float("inf") if finding.grace_seconds is None else finding.grace_seconds)


def _completed(finding: Finding, cause: str, lines: Iterable[str]) -> Finding:
    return replace(finding, cause=cause, evidence="\n".join(_unique(lines)))


def _evidence(found: Sequence[Finding], objects: Sequence[Object], around: Surroundings) -> list[str]:
    lines = [finding.evidence for finding in found[:_DESCRIBED_OBJECTS]]
    for obj in objects[:_DESCRIBED_OBJECTS]:
        lines += evidence_of(obj, around)
    return lines


def _ended_badly(obj: Object, around: Surroundings) -> Finding | None:
    """The container whose end made the pod, and with it its Job, fail."""
    for pod in reversed(newest_pods(obj, around)):
        for container in containers_of(pod):
            name = str(container.get("name"))
            last = last_end(status_named(pod, name))
            if last.get("exitCode"):
                ref = ref_of(pod)
                reason = f", {last['reason']}" if last.get("reason") else ""
                return Finding(
                    "ended",
                    f"container {name} ended with exit code {last['exitCode']}",
                    f"pod {ref.name} container {name}: exit code {last['exitCode']}{reason}",
                    f"kubectl -n {ref.namespace} logs {ref.name} -c {name}",
                    pod,
                    name,
                )
    return None


def _look_at(ref: Ref, objects: Sequence[Object], around: Surroundings) -> str:
    for obj in objects:
        for pod in newest_pods(obj, around):
            if not is_ready(pod):
                return ref_of(pod).kubectl("describe")
    if any(ref_of(obj).kind == ref.kind and ref_of(obj).name for obj in objects):
        return ref_of(objects[0]).kubectl("describe")
    if any(character in ref.name for character in "=,()! ") or not ref.name:
        return f"kubectl -n {ref.namespace} get {ref.kind.lower()} -l '{ref.name}'"
    return f"kubectl -n {ref.namespace} get {ref.kind.lower()}" if ref.namespace else f"kubectl get {ref.kind.lower()}"


def _unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(line for text in texts for line in text.splitlines() if line.strip()))
