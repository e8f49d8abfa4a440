"""Findings about one pod: why no node takes it, why a container of it does not start, or does not stay."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .evidence import event_line, last_seen, lower, message_of, warnings
from .finding import FailFast, Finding, Object, Surroundings
from .objects import condition, ref_of, uid_of
from .workload_pods import container_statuses, last_end

_PULL_FAILED = frozenset({"ErrImagePull", "ImagePullBackOff", "RegistryUnavailable", "SignatureValidationFailed"})
_IMAGE_MISSING = ("not found", "manifest unknown", "manifest_unknown", "repository does not exist", "name unknown")
_REFUSED_BY_REGISTRY = re.compile(
    r"\b40[13]\b|\b(?:unauthorized|denied|forbidden)\b|no basic auth credentials", re.IGNORECASE
)
# An image may be called anything: its digest, tag, repository and URL say nothing about what the registry answered.
_NAMES_OF_IMAGES = re.compile(r"""sha256:[0-9a-f]+|image "[^"]*"|[^\s"{},]*/[^\s"{},]*""")
_CANNOT_START = frozenset({"StartError", "ContainerCannotRun"})
_SETUP_FAILED = {
    "FailedMount": "a volume of the pod cannot be mounted",
    "FailedAttachVolume": "a volume of the pod cannot be attached to its node",
    "FailedCreatePodSandBox": "the node cannot set up the pod's network",
}


def about_pod(pod: Object, around: Surroundings, policy: FailFast) -> Iterator[Finding]:
    """All findings about the pod."""
    scheduled = condition(pod, "PodScheduled") or {}
    if scheduled.get("status") == "False":
        if scheduled.get("reason") == "Unschedulable":
            yield _unschedulable(pod, scheduled, around, policy)
        elif scheduled.get("reason") == "SchedulingGated":
            yield _gated(pod, scheduled)
        return
    events = sorted(warnings(around.warnings_about(uid_of(pod))), key=last_seen)
    statuses = [status for status in container_statuses(pod) if not _is_fine(status)]
    for status in statuses:
        container = _Container(pod, status, events)
        finding = container.image_finding(policy) or container.start_finding() or container.end_finding(policy)
        if finding is not None:
            yield finding
    yield from _not_ready(pod, statuses, events)


@dataclass(frozen=True)
class _Container:
    pod: Object
    status: Object
    events: Sequence[Object]

    @property
    def name(self) -> str:
        return str(self.status.get("name"))

    @property
    def waiting(self) -> Object:
        return (self.status.get("state") or {}).get("waiting") or {}

    @property
    def reason(self) -> str:
        return str(self.waiting.get("reason") or "")

    @property
    def message(self) -> str:
        return message_of(self.waiting)

    @property
    def restarts(self) -> int:
        return int(self.status.get("restartCount") or 0)

    def finding(
        self, rule: str, cause: str, text: str | None = None, command: str = "", grace: float | None = 0.0
    ) -> Finding:
        ref, said = ref_of(self.pod), self.message if text is None else text
        state = self.reason or ("ended" if (self.status.get("state") or {}).get("terminated") else "running")
        evidence = f"{lower(ref)} container {self.name}: {state}" + (f": {said}" if said else "")
        return Finding(rule, cause, evidence, command or ref.kubectl("describe"), self.pod, self.name, grace)

    def image_finding(self, policy: FailFast) -> Finding | None:
        if self.reason == "InvalidImageName":
            return self.finding("image-name", "the image name is not valid")
        if self.reason == "ErrImageNeverPull":
            return self.finding("image-never", "the image is not on the node and its pull policy is Never")
        if self.reason not in _PULL_FAILED:
            return None
        failed = [message_of(event) for event in self.events if event.get("reason") == "Failed"]
        # The waiting message alone often is "Back-off pulling image": the event says why.
        detail = next((message for message in failed if "pull" in message), self.message)
        shown = self.message if len(self.message) >= len(detail) else detail
        text = " ".join([self.message, *failed])
        if any(words in text.lower() for words in _IMAGE_MISSING):
            return self.finding("image-missing", "the image does not exist in the registry", shown)
        if _REFUSED_BY_REGISTRY.search(_NAMES_OF_IMAGES.sub("", text)):
            return self.finding("image-denied", "the registry refuses to hand out the image", shown)
        return self.finding("image-pull", "the image cannot be pulled", shown, grace=policy.image_pull_seconds)

    def start_finding(self) -> Finding | None:
        if self.reason == "CreateContainerConfigError":
            if "failed to sync" in self.message and "cache" in self.message:
                return None
            command = _look_at_config(self.message, ref_of(self.pod).namespace)
            return self.finding("container-config", _config_cause(self.message), command=command)
        if self.reason == "CreateContainerError":
            return self.finding("container-create", "the container cannot be created")
        if self.reason == "RunContainerError" and self.restarts >= 1:
            return self.finding("container-run", "the container cannot be started")
        return None

    def end_finding(self, policy: FailFast) -> Finding | None:
        last = last_end(self.status)
        is_running = "running" in (self.status.get("state") or {})
        ends = self.restarts + (0 if is_running else 1)
        if last.get("reason") == "OOMKilled" and ends >= 2:
            cause = "the container is killed for using more memory than its limit"
            return self.finding("oom", cause, f"OOMKilled, {self._restarted()}")
        if self.reason != "CrashLoopBackOff" or self.restarts < policy.crash_loop_restarts:
            return None
        code = last.get("exitCode")
        said = message_of(last)
        text = self._restarted() + (f", {last['reason']}" if last.get("reason") else "") + (f": {said}" if said else "")
        if last.get("reason") in _CANNOT_START:
            return self.finding("container-run", "the container cannot be started", text)
        ended = f"exit code {code}" if code is not None else "it ends soon after its start"
        ref = ref_of(self.pod)
        logs = f"kubectl -n {ref.namespace} logs {ref.name} -c {self.name} --previous"
        return self.finding("crash-loop", f"the container crashes again and again ({ended})", text, logs)

    def _restarted(self) -> str:
        return f"{self.restarts} restart" + ("" if self.restarts == 1 else "s")


def _is_fine(status: Object) -> bool:
    """Ready now, or an init container that has done its work: what happened to it earlier no longer matters."""
    ended = (status.get("state") or {}).get("terminated") or {}
    return bool(status.get("ready")) or ended.get("reason") == "Completed"


def _unschedulable(pod: Object, scheduled: Object, around: Surroundings, policy: FailFast) -> Finding:
    ref = ref_of(pod)
    message = message_of(scheduled)
    for claim in claims_of(pod):
        for event in around.warnings_about_named("PersistentVolumeClaim", ref.namespace, claim):
            if _names_no_class(event):
                return Finding(
                    "storage-class",
                    f"the storage class of PersistentVolumeClaim {claim} does not exist",
                    f"{lower(ref)}: {message}\n{event_line(event)}",
                    "kubectl get storageclass",
                    pod,
                )
    return Finding(
        "unschedulable",
        "no node can take the pod",
        f"{lower(ref)}: {message}",
        ref.kubectl("describe"),
        pod,
        grace_seconds=policy.unschedulable_seconds,
    )


def _gated(pod: Object, scheduled: Object) -> Finding:
    gates = ", ".join(str(gate.get("name")) for gate in (pod.get("spec") or {}).get("schedulingGates") or [])
    ref = ref_of(pod)
    return Finding(
        "gated",
        f"nobody has opened the scheduling gate {gates}",
        f"{lower(ref)}: {message_of(scheduled) or 'SchedulingGated'}",
        f"kubectl -n {ref.namespace} get pod {ref.name} -o jsonpath='{{.spec.schedulingGates}}'",
        pod,
        grace_seconds=None,
    )


def _not_ready(pod: Object, statuses: Sequence[Object], events: Sequence[Object]) -> Iterator[Finding]:
    """What may heal for as long as there is time: a probe that fails, a gate that is shut, a volume that is missing."""
    ref = ref_of(pod)
    for status in statuses:
        if "running" not in (status.get("state") or {}):
            continue
        name = str(status.get("name"))
        failing = [event for event in events if event.get("reason") == "Unhealthy" and _is_about(event, name)]
        if failing:
            probe, _colon, said = message_of(failing[-1]).partition(" probe failed")
            cause = f"the {probe.lower()} probe of container {name} fails"
            evidence = f"{lower(ref)} container {name}: {message_of(failing[-1])}"
            logs = f"kubectl -n {ref.namespace} logs {ref.name} -c {name}"
            yield Finding("probe", cause if said else "a probe fails", evidence, logs, pod, name, None)
    gates = [str(gate.get("conditionType")) for gate in (pod.get("spec") or {}).get("readinessGates") or []]
    if (condition(pod, "ContainersReady") or {}).get("status") == "True":
        for gate in gates:
            found = condition(pod, gate) or {}
            if found.get("status") != "True":
                said = f"{found.get('reason')}: {message_of(found)}" if found else "nobody has set this condition"
                cause, evidence = f"its readiness gate {gate} is not met", f"{lower(ref)} {gate}: {said}"
                yield Finding("readiness-gate", cause, evidence, ref.kubectl("describe"), pod, gate, None)
    setup = [event for event in events if event.get("reason") in _SETUP_FAILED]
    if setup and statuses and all(_is_starting(status) for status in statuses):
        cause = _SETUP_FAILED[str(setup[-1].get("reason"))]
        yield Finding("setup", cause, event_line(setup[-1]), ref.kubectl("describe"), pod, grace_seconds=None)


def _is_starting(status: Object) -> bool:
    waiting = (status.get("state") or {}).get("waiting") or {}
    return waiting.get("reason") in {"ContainerCreating", "PodInitializing"}


def _is_about(event: Object, container: str) -> bool:
    path = str((event.get("involvedObject") or {}).get("fieldPath") or "")
    return not path or f"{{{container}}}" in path


def _config_cause(message: str) -> str:
    if "not found" in message or "couldn't find key" in message:
        return "a ConfigMap or Secret that the container uses, or a key of it, does not exist"
    if "runAsNonRoot" in message:
        return "the image runs as root, which the pod's runAsNonRoot forbids"
    return "the container's configuration is not valid"


def _look_at_config(message: str, namespace: str) -> str:
    """The object that is missing, or whose keys are to be looked at; keys only, since it may be a Secret."""
    if missing := re.search(r'(configmap|secret) "([^"]+)" not found', message, re.IGNORECASE):
        return f"kubectl -n {namespace} get {missing[1].lower()} {missing[2]}"
    if missing := re.search(r"find key \S+ in (ConfigMap|Secret) (?:[^/\s]+/)?(\S+)", message):
        return f"kubectl -n {namespace} describe {missing[1].lower()} {missing[2]}"
    return ""


def claims_of(pod: Object) -> list[str]:
    """The names of the PersistentVolumeClaims that the pod mounts."""
    volumes = (pod.get("spec") or {}).get("volumes") or []
    return [str(claim["claimName"]) for volume in volumes if (claim := volume.get("persistentVolumeClaim"))]


def _names_no_class(event: Object) -> bool:
    message = message_of(event)
    return event.get("reason") == "ProvisioningFailed" and "storageclass" in message and "not found" in message
