"""The judgement: is a target ready, will it never be, and if it isn't, why.

A gate reads the live state that watches maintain; it makes no request except for the log of a container that failed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .api import Api, ApiError, ConnectionFailed
from .errors import PlatformError
from .findings import (
    FailFast,
    Finding,
    LogSource,
    Surroundings,
    evidence_of,
    find,
    log_source,
    newest_pods,
    summary_of_pods,
)
from .live import STORAGE_CLASSES, LiveState
from .objects import Manifest, Ref, counted, labels_of, metadata_of, ref_of, uid_of
from .selectors import Requirement, matches
from .status import NOT_FOUND, State, Status, status_of
from .watch import Scope

LOG_LINES = 20
# After the first failure, how long others may still show theirs, so that one run reports them together.
COLLECT_SECONDS = 3.0

_WITH_PODS = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "Pod"})


@dataclass(frozen=True)
class ObjectTarget:
    """One object by name; ``uid`` pins its incarnation, "" takes whichever exists."""

    ref: Ref
    uid: str = ""

    @property
    def scope(self) -> Scope:
        return Scope(self.ref.api_version, self.ref.kind, self.ref.namespace)

    def objects(self, live: LiveState) -> list[Manifest]:
        found = live.get(self.scope, self.ref.namespace, self.ref.name)
        return [found] if found is not None else []

    def status(self, live: LiveState) -> Status:
        found = self.objects(live)
        if not found:
            return NOT_FOUND
        if self.uid and uid_of(found[0]) != self.uid:
            return Status(State.FAILED, "Replaced", "was deleted and created anew by somebody else")
        return status_of(found[0])


@dataclass(frozen=True)
class SelectorTarget:
    """All objects of a kind that a label selector matches; at least one, or exactly ``expected_count`` if given."""

    ref: Ref  # its name is the selector as it was written
    selector: tuple[Requirement, ...]
    expected_count: int | None = None

    @property
    def scope(self) -> Scope:
        return Scope(self.ref.api_version, self.ref.kind, self.ref.namespace)

    def objects(self, live: LiveState) -> list[Manifest]:
        return [obj for obj in live.all(self.scope) if matches(self.selector, labels_of(obj))]

    def status(self, live: LiveState) -> Status:
        found = self.objects(live)
        statuses = [status_of(obj) for obj in found]
        current = sum(status.is_current for status in statuses)
        wanted = self.expected_count if self.expected_count is not None else max(1, len(found))
        summary = f"{current}/{wanted} ready"
        if not found and wanted:
            return Status(State.NOT_FOUND, "NothingMatches", "the selector matches nothing")
        if len(found) != wanted:
            return Status(State.IN_PROGRESS, "WrongCount", f"{summary}, {len(found)} exist")
        for obj, status in zip(found, statuses, strict=True):
            if status.state is State.FAILED:
                return Status(State.FAILED, status.reason, f"{ref_of(obj).name}: {status.message}")
        if current < wanted:
            return Status(State.IN_PROGRESS, "NotAllReady", summary)
        return Status(State.CURRENT, "Ready", summary)


@dataclass(frozen=True)
class EndpointsTarget:
    """A Service that has at least ``min_ready`` ready addresses in its EndpointSlices."""

    ref: Ref
    min_ready: int

    @property
    def scope(self) -> Scope:
        return Scope("discovery.k8s.io/v1", "EndpointSlice", self.ref.namespace)

    def objects(self, live: LiveState) -> list[Manifest]:
        return [
            obj for obj in live.all(self.scope) if labels_of(obj).get("kubernetes.io/service-name") == self.ref.name
        ]

    def status(self, live: LiveState) -> Status:
        ready = {
            address
            for endpoint_slice in self.objects(live)
            for endpoint in endpoint_slice.get("endpoints") or []
            # A missing condition means ready, says the API.
            if (endpoint.get("conditions") or {}).get("ready") is not False
            for address in endpoint.get("addresses") or []
        }
        message = f"{len(ready)}/{counted(self.min_ready, 'ready endpoint')}"
        if len(ready) >= self.min_ready:
            return Status(State.CURRENT, "EndpointsReady", message)
        return Status(State.IN_PROGRESS, "LessEndpoints", message)


Target: TypeAlias = "ObjectTarget | SelectorTarget | EndpointsTarget"


@dataclass(frozen=True)
class Verdict:
    """``failure`` is set when the target will not become ready; ``check_at`` (monotonic) is when a grace ends."""

    status: Status
    failure: Finding | None = None
    check_at: float | None = None


@dataclass
class Gate:
    """Judges targets by the live state. Graces are counted from when a finding was first seen."""

    api: Api
    live: LiveState
    policy: FailFast
    _first_seen: dict[tuple[str, ...], float] = field(default_factory=dict)

    def scopes(self, target: Target) -> list[Scope]:
        """What must be watched to judge the target: itself and what explains it."""
        namespace, kind = target.ref.namespace, target.ref.kind
        scopes = [target.scope]
        if kind in _WITH_PODS and kind != "Pod":
            scopes.append(Scope("v1", "Pod", namespace))
        if kind == "Deployment":
            scopes.append(Scope("apps/v1", "ReplicaSet", namespace))
        if kind == "DaemonSet":
            scopes.append(Scope("apps/v1", "ControllerRevision", namespace))
        if kind == "PersistentVolumeClaim":
            scopes.append(STORAGE_CLASSES)
        if namespace:
            scopes.append(Scope("v1", "Event", namespace))
        return scopes

    def judge(self, target: Target, now: float) -> Verdict:
        status = self._status(target)
        if status.is_current:
            return Verdict(status)
        if status.state is State.FAILED:
            return Verdict(status, self._failed(target, status))
        if not self.policy.enabled:
            return Verdict(status)
        check_at: float | None = None
        for finding in self._findings(target):
            if finding.grace_seconds is None:
                continue
            due = self._first_seen.setdefault(finding.key, now) + finding.grace_seconds
            if due <= now:
                return Verdict(status, finding)
            check_at = due if check_at is None else min(check_at, due)
        return Verdict(status, check_at=check_at)

    def progress(self, target: Target, status: Status) -> str:
        """The state in a few words: "1/2 ready, 1 pulling image"."""
        doing = ", ".join(words for obj in target.objects(self.live) if (words := summary_of_pods(obj, self.live)))
        text = status.message or status.reason or status.state.value
        return f"{text}, {doing}" if doing and not status.is_current else text

    def failure(self, target: Target, finding: Finding) -> PlatformError:
        """The finding as an error, with the container's last lines if a container is to blame."""
        evidence = finding.evidence
        if finding.log_of is not None:
            evidence = "\n".join([evidence, *self._log(finding.log_of)])
        return PlatformError(
            finding.cause, object=str(target.ref), evidence=evidence.strip(), next_command=finding.next_command
        )

    def late(self, target: Target, seconds: float) -> PlatformError:
        """The target is not ready at its deadline: everything that tells why."""
        status = self._status(target)
        around = self.live
        lines = [f"{status.state.value} {status.reason}: {status.message}"]
        pending = self._findings(target)
        objects = [obj for obj in target.objects(self.live) if not status_of(obj).is_current] or target.objects(
            self.live
        )
        source: LogSource | None = None
        for obj in objects[:3]:
            lines += evidence_of(obj, around).splitlines()
            source = source or log_source(obj, around)
        if source is not None:
            lines += self._log(source)
        next_command = pending[0].next_command if pending else _look_at(target, objects, around)
        cause = f"not ready after {seconds:.0f} s"
        return PlatformError(
            f"{cause}: {pending[0].cause}" if pending else cause,
            object=str(target.ref),
            evidence="\n".join(_without_repeats(lines)),
            next_command=next_command,
        )

    def _status(self, target: Target) -> Status:
        status = target.status(self.live)
        if status.state is State.IN_PROGRESS and target.ref.kind == "PersistentVolumeClaim":
            return self._status_of_claim(target, status)
        return status

    def _status_of_claim(self, target: Target, status: Status) -> Status:
        """A claim whose class binds it only when a pod uses it is as ready as it can be."""
        classes = {ref_of(entry).name: entry for entry in self.live.all(STORAGE_CLASSES)}
        for obj in target.objects(self.live):
            storage_class = classes.get(str((obj.get("spec") or {}).get("storageClassName")))
            if storage_class is None or storage_class.get("volumeBindingMode") != "WaitForFirstConsumer":
                return status
        return Status(State.CURRENT, "WaitForFirstConsumer", "is bound when the first pod uses it")

    def _findings(self, target: Target) -> list[Finding]:
        around = self.live
        return [
            finding
            for obj in target.objects(self.live)
            if not status_of(obj).is_current
            for finding in find(obj, around, self.policy)
        ]

    def _failed(self, target: Target, status: Status) -> Finding:
        around = self.live
        objects = target.objects(self.live)
        pending = self._findings(target)
        evidence = [f"{status.reason}: {status.message}", *(finding.evidence for finding in pending)]
        for obj in objects[:1]:
            evidence += evidence_of(obj, around).splitlines()
        sources = [source for obj in objects if (source := log_source(obj, around)) is not None]
        return Finding(
            key=(str(target.ref), "failed"),
            cause=pending[0].cause if pending else _cause_of(status),
            evidence="\n".join(_without_repeats(evidence)),
            next_command=pending[0].next_command if pending else _look_at(target, objects, around),
            log_of=sources[0] if sources else None,
        )

    def _log(self, source: LogSource) -> list[str]:
        which = "previous log" if source.previous else "log"
        for previous in (True, False) if source.previous else (False,):
            try:
                text = self.api.logs(source.namespace, source.pod, source.container, previous=previous, lines=LOG_LINES)
            except (ApiError, ConnectionFailed):
                continue
            lines = text.strip().splitlines()[-LOG_LINES:]
            if lines:
                return [
                    f"{which if previous == source.previous else 'log'} of container {source.container}:",
                    *(f"  {line}" for line in lines),
                ]
        return [f"{which} of container {source.container}: not available"]


def _cause_of(status: Status) -> str:
    known = {
        "ProgressDeadlineExceeded": "it made no progress within its progressDeadlineSeconds",
        "BackoffLimitExceeded": "the Job failed: its pods failed too often",
        "DeadlineExceeded": "the Job failed: it ran longer than its activeDeadlineSeconds",
    }
    return known.get(status.reason, f"{status.reason}: {status.message}" if status.message else status.reason)


def _look_at(target: Target, objects: Iterable[Manifest], around: Surroundings) -> str:
    for obj in objects:
        for pod in newest_pods(obj, around):
            ready: Any = next(
                (c for c in (pod.get("status") or {}).get("conditions") or [] if c.get("type") == "Ready"), {}
            )
            if ready.get("status") != "True":
                return ref_of(pod).kubectl("describe")
        if metadata_of(obj):
            return ref_of(obj).kubectl("describe")
    if isinstance(target, SelectorTarget):
        return f"kubectl -n {target.ref.namespace} get {target.ref.kind.lower()} -l {target.ref.name}"
    if isinstance(target, EndpointsTarget):
        return f"kubectl -n {target.ref.namespace} get endpointslices -l kubernetes.io/service-name={target.ref.name}"
    return target.ref.kubectl("get")


def _without_repeats(lines: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(line for text in lines for line in text.splitlines() if line))
