"""The judgement: is a target ready, will it never be, and when must it be looked at again.

A gate reads the live state that watches maintain; it makes no request.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from .custom_condition import CustomCondition
from .findings import FailFast, Finding, find, summary_of_pods, when_failed
from .live import STORAGE_CLASSES, LiveState
from .objects import Identity, Manifest, Ref, counted, identity_of, labels_of, ref_of, uid_of
from .selectors import Requirement, matches
from .status import NOT_FOUND, State, Status, status_of
from .watch import Scope

# What a finding in its grace says may be turned into certainty by something that touches another object: a claim's
# event, a Service's endpoints. It is looked at again this often.
TROUBLED_SECONDS = 1.0

_WITH_PODS = frozenset({"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "Pod"})


@dataclass(frozen=True)
class ObjectTarget:
    """One object by name; ``uid`` pins its incarnation, "" takes whichever exists."""

    ref: Ref
    uid: str = ""
    condition: CustomCondition | None = None

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
        return _status_of(found[0], self.condition)

    def touched_by(self) -> list[Identity]:
        """The changes that may alter the judgement; an empty name stands for every object of the kind."""
        touching = [self.ref.identity]
        if self.ref.kind == "PersistentVolumeClaim":
            touching.append(identity_of(STORAGE_CLASSES.api_version, STORAGE_CLASSES.kind, "", ""))
        return touching


@dataclass(frozen=True)
class SelectorTarget:
    """All objects of a kind that a label selector matches; at least one, or exactly ``expected_count`` if given."""

    ref: Ref  # its name is the selector as it was written
    selector: tuple[Requirement, ...]
    expected_count: int | None = None
    condition: CustomCondition | None = None

    @property
    def scope(self) -> Scope:
        return Scope(self.ref.api_version, self.ref.kind, self.ref.namespace)

    def objects(self, live: LiveState) -> list[Manifest]:
        return [obj for obj in live.all(self.scope) if matches(self.selector, labels_of(obj))]

    def status(self, live: LiveState) -> Status:
        found = self.objects(live)
        statuses = [_status_of(obj, self.condition) for obj in found]
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

    def touched_by(self) -> list[Identity]:
        return [identity_of(self.ref.api_version, self.ref.kind, self.ref.namespace, "")]


@dataclass(frozen=True)
class EndpointsTarget:
    """A Service that has at least ``min_ready`` ready addresses in its EndpointSlices."""

    ref: Ref
    min_ready: int

    @property
    def scope(self) -> Scope:
        return Scope("discovery.k8s.io/v1", "EndpointSlice", self.ref.namespace)

    def objects(self, live: LiveState) -> list[Manifest]:
        return live.slices_of(self.ref.namespace, self.ref.name)

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

    def touched_by(self) -> list[Identity]:
        return [self.ref.identity]


Target: TypeAlias = "ObjectTarget | SelectorTarget | EndpointsTarget"


@dataclass(frozen=True)
class Verdict:
    """``failure`` is set when the target will not become ready; ``check_at`` (monotonic) is when to look again even if
    nothing happens.
    """

    status: Status
    failure: Finding | None = None
    check_at: float | None = None


@dataclass
class Gate:
    """Judges targets by the live state. Graces are counted from when a finding was first seen."""

    live: LiveState
    policy: FailFast
    _first_seen: dict[tuple[str, ...], float] = field(default_factory=dict)

    def explaining_scopes(self, target: Target) -> list[Scope]:
        """What must be watched, besides the target itself, to see why it is not ready."""
        namespace, kind = target.ref.namespace, target.ref.kind
        scopes = []
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
        status = self.status(target)
        if status.is_current:
            return Verdict(status)
        objects = target.objects(self.live)
        if status.state is State.FAILED:
            return Verdict(status, when_failed(target.ref, status, objects, self.live))
        if not self.policy.enabled:
            return Verdict(status)
        check_at: float | None = None
        for finding in self._findings(objects):
            if finding.grace_seconds is None:
                continue
            due = self._first_seen.setdefault(finding.key, now) + finding.grace_seconds
            if due <= now:
                return Verdict(status, finding)
            due = min(due, now + TROUBLED_SECONDS)
            check_at = due if check_at is None else min(check_at, due)
        return Verdict(status, check_at=check_at)

    def progress(self, target: Target, status: Status) -> str:
        """The state in a few words: "1/2 ready, 1 pulling image"."""
        text = status.message or status.reason or status.state.value
        if status.is_current:
            return text
        doing = (summary_of_pods(obj, self.live) for obj in target.objects(self.live))
        return ", ".join([text, *(words for words in doing if words)])

    def status(self, target: Target) -> Status:
        status = target.status(self.live)
        is_unbound = status.state is State.IN_PROGRESS and status.reason != "Resizing"
        if is_unbound and target.ref.kind == "PersistentVolumeClaim":
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

    def _findings(self, objects: list[Manifest]) -> list[Finding]:
        return [
            finding for obj in objects if not status_of(obj).is_current for finding in find(obj, self.live, self.policy)
        ]


def _status_of(obj: Manifest, condition: CustomCondition | None) -> Status:
    return condition.status(obj) if condition is not None else status_of(obj)
