"""A tiny kubelet for the pods of known controllers: runs the real program, as its ServiceAccount, and reports on it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import ssl
import subprocess
import time
import urllib.request
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from kubernetes import client

from . import names
from .controllers import CONTROLLERS, NAME_LABEL, Controller, Workspace, cloud_environment, command_arguments
from .layout import Layout
from .processes import start
from .record import Record

FAILURE_ANNOTATION = "sandbox.erp.platform/failure"

_TOKEN_SECONDS = 3600
_FAILED_PROBES = 3
# No image is pulled that fast; a process that starts before its chart's CRDs are served would end at once.
_IMAGE_PULL_SECONDS = 1.5
_LONGEST_BACKOFF_SECONDS = 30.0

Pod: TypeAlias = dict[str, Any]
Key: TypeAlias = tuple[str, str]


@dataclass
class Slot:
    """The one process behind all pods of a controller: that of `leader`, the oldest pod of the newest template."""

    leader: str
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    started_at: str = ""
    healthy: bool = False
    failed_probes: int = 0
    restarts: int = 0
    start_after: float = 0.0
    last_exit: dict[str, Any] | None = None
    tokens_until: float = 0.0


@dataclass
class PodProcesses:
    """Call `sync` again and again; each call moves every controller one step towards what the cluster asks for."""

    layout: Layout
    record: Record
    core: Any  # CoreV1Api; its models type every field as optional
    environment: Mapping[str, str]
    slots: dict[Key, Slot] = field(default_factory=dict)

    def sync(self) -> None:
        groups = _groups(self._pods())
        for key in list(self.slots):
            if key not in groups:
                self._remove(key)
        for key, pods in groups.items():
            try:
                self._sync_group(key, pods)
            except client.ApiException as error:
                # A pod or a ServiceAccount that was deleted meanwhile; the next round sees it.
                print(f"{'/'.join(key)}: {error.status} {error.reason}", flush=True)

    def stop(self) -> None:
        for key in list(self.slots):
            self._remove(key)

    def _pods(self) -> list[Pod]:
        response = self.core.list_pod_for_all_namespaces(
            label_selector=f"{NAME_LABEL} in ({','.join(CONTROLLERS)})",
            resource_version="0",
            _preload_content=False,
            _request_timeout=10,
        )
        items: list[Pod] = json.loads(response.data)["items"]
        return items

    def _sync_group(self, key: Key, pods: Sequence[Pod]) -> None:
        current = _current(pods)
        slot = self.slots.get(key)
        if slot is None or slot.leader not in {pod["metadata"]["uid"] for pod in current}:
            if slot is not None:
                self._remove(key)
            slot = self.slots[key] = Slot(current[0]["metadata"]["uid"], self.layout.controllers / "-".join(key))
            slot.start_after = time.monotonic() + _IMAGE_PULL_SECONDS
        leader = next(pod for pod in current if pod["metadata"]["uid"] == slot.leader)
        controller = CONTROLLERS[key[1]]
        self._observe(slot, controller)
        if self._furnish(slot, leader, controller) and slot.process is None and time.monotonic() >= slot.start_after:
            self._start(slot, leader, controller)
        for pod in pods:
            self._report(pod, slot if pod in current else None)

    def _observe(self, slot: Slot, controller: Controller) -> None:
        if slot.process is None:
            return
        if (code := slot.process.poll()) is not None:
            slot.process = None
            slot.healthy = False
            slot.restarts += 1
            slot.start_after = time.monotonic() + min(2.0**slot.restarts, _LONGEST_BACKOFF_SECONDS)
            slot.last_exit = {
                "exitCode": code if code >= 0 else 128 - code,
                "reason": "Error",
                "startedAt": slot.started_at,
                "finishedAt": _now(),
            }
        elif _answers(controller.health_url(self.record)):
            slot.healthy, slot.failed_probes = True, 0
        else:
            slot.failed_probes += 1
            if slot.failed_probes >= _FAILED_PROBES:
                slot.healthy = False

    def _furnish(self, slot: Slot, pod: Pod, controller: Controller) -> bool:
        """Brings tokens, kubeconfig and volumes up to date; False while something that the pod mounts is missing."""
        slot.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if time.monotonic() >= slot.tokens_until:
            self._write_tokens(slot.folder, pod)
            slot.tokens_until = time.monotonic() + _TOKEN_SECONDS / 2
        has_certificate = False
        for volume in pod["spec"].get("volumes", []):
            folder = slot.folder / "volumes" / volume["name"]
            folder.mkdir(parents=True, exist_ok=True)
            content = self._volume_content(pod["metadata"]["namespace"], volume)
            if content is None:
                return False
            for name, data in content.items():
                _write(folder / name, data)
            has_certificate = has_certificate or bool(content.get("tls.crt"))
        return has_certificate or not controller.needs_certificate

    def _volume_content(self, namespace: str, volume: Mapping[str, Any]) -> dict[str, bytes] | None:
        """Files of a Secret or ConfigMap volume (none for other kinds); None if the object does not exist."""
        try:
            if source := volume.get("secret"):
                secret = self.core.read_namespaced_secret(source["secretName"], namespace)
                return {name: base64.b64decode(data) for name, data in (secret.data or {}).items()}
            if source := volume.get("configMap"):
                config_map = self.core.read_namespaced_config_map(source["name"], namespace)
                return {name: text.encode() for name, text in (config_map.data or {}).items()}
        except client.ApiException as error:
            if error.status != 404:
                raise
            return None
        return {}

    def _write_tokens(self, folder: Path, pod: Pod) -> None:
        metadata, account = pod["metadata"], pod["spec"].get("serviceAccountName", "default")
        # No audience means the API server itself.
        for name, audiences in (("token", []), ("aws-token", ["sts.amazonaws.com"])):
            bound = client.V1BoundObjectReference(
                api_version="v1", kind="Pod", name=metadata["name"], uid=metadata["uid"]
            )
            spec = client.V1TokenRequestSpec(
                audiences=audiences, bound_object_ref=bound, expiration_seconds=_TOKEN_SECONDS
            )
            request = client.AuthenticationV1TokenRequest(spec=spec)
            answer = self.core.create_namespaced_service_account_token(account, metadata["namespace"], request)
            _write(folder / name, answer.status.token.encode())
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "sandbox",
                    "cluster": {
                        "server": self.record.api_url,
                        "certificate-authority": str(self.layout.certificate_authority),
                    },
                }
            ],
            "users": [{"name": account, "user": {"tokenFile": str(folder / "token")}}],
            "contexts": [
                {
                    "name": "sandbox",
                    "context": {"cluster": "sandbox", "user": account, "namespace": metadata["namespace"]},
                }
            ],
            "current-context": "sandbox",
        }
        _write(folder / "kubeconfig", json.dumps(document).encode())

    def _start(self, slot: Slot, pod: Pod, controller: Controller) -> None:
        container = pod["spec"]["containers"][0]
        workspace = Workspace(
            slot.folder,
            slot.folder / "kubeconfig",
            self.layout.certificate_authority,
            self.record.vpc_id,
            names.REGION,
            self.record,
        )
        mounts = {
            mount["mountPath"]: slot.folder / "volumes" / mount["name"] for mount in container.get("volumeMounts", [])
        }
        own = self._container_environment(pod, container)
        account = self.core.read_namespaced_service_account(
            pod["spec"].get("serviceAccountName", "default"), pod["metadata"]["namespace"]
        )
        keys = {"AWS_ACCESS_KEY_ID": names.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": names.SECRET_KEY}
        cloud = cloud_environment(
            account.metadata.annotations or {}, slot.folder / "aws-token", self.record, names.REGION, keys
        )
        environment = {
            **self.environment,
            "HOME": str(slot.folder),
            "TMPDIR": str(slot.folder),
            "KUBECONFIG": str(workspace.kubeconfig),
            **cloud,
            **own,
        }
        arguments = command_arguments(container, own, mounts, controller.arguments(workspace))
        slot.process = start(
            [self.layout.bin / controller.binary, *arguments], slot.folder.with_suffix(".log"), environment, slot.folder
        )
        slot.started_at, slot.failed_probes = _now(), 0

    def _container_environment(self, pod: Pod, container: Mapping[str, Any]) -> dict[str, str]:
        resolved = {}
        for entry in container.get("env", []):
            value = entry["value"] if "value" in entry else self._resolve(pod, entry.get("valueFrom", {}))
            if value is not None:
                resolved[entry["name"]] = value
        return resolved

    def _resolve(self, pod: Pod, source: Mapping[str, Any]) -> str | None:
        namespace = pod["metadata"]["namespace"]
        if reference := source.get("fieldRef"):
            value: Any = pod
            for step in reference["fieldPath"].split("."):
                value = value.get(step) if isinstance(value, dict) else None
            return None if value is None else str(value)
        try:
            if reference := source.get("secretKeyRef"):
                data = self.core.read_namespaced_secret(reference["name"], namespace).data or {}
                return base64.b64decode(data[reference["key"]]).decode() if reference["key"] in data else None
            if reference := source.get("configMapKeyRef"):
                return (self.core.read_namespaced_config_map(reference["name"], namespace).data or {}).get(
                    reference["key"]
                )
        except client.ApiException as error:
            if error.status != 404:
                raise
        return None

    def _report(self, pod: Pod, slot: Slot | None) -> None:
        """Patches the pod's status if the process behind it says otherwise; Ready itself follows by the stages."""
        wanted = _container_status(pod, slot)
        status = pod["status"].get("containerStatuses", [])
        if all(_same(found, wanted) for found in status) and len(status) == len(pod["spec"]["containers"]):
            return
        ready = wanted["ready"]
        unready = {
            "status": "False",
            "reason": "ContainersNotReady",
            "message": "containers with unready status",
            "lastTransitionTime": _now(),
        }
        conditions = (
            [
                {
                    "type": "ContainersReady",
                    "status": "True",
                    "reason": None,
                    "message": None,
                    "lastTransitionTime": _now(),
                }
            ]
            if ready
            else [{"type": kind, **unready} for kind in ("ContainersReady", "Ready")]
        )
        statuses = [
            {"name": container["name"], "image": container["image"], "imageID": "", **wanted}
            for container in pod["spec"]["containers"]
        ]
        self.core.patch_namespaced_pod_status(
            pod["metadata"]["name"],
            pod["metadata"]["namespace"],
            {"status": {"conditions": conditions, "containerStatuses": statuses}},
            _content_type="application/strategic-merge-patch+json",
        )

    def _remove(self, key: Key) -> None:
        slot = self.slots.pop(key)
        if slot.process is not None:
            slot.process.terminate()
            try:
                slot.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                slot.process.kill()
                slot.process.wait()
        shutil.rmtree(slot.folder, ignore_errors=True)  # the log beside it stays


def _groups(pods: Sequence[Pod]) -> dict[Key, list[Pod]]:
    """Pods that a kubelet would run, by namespace and controller."""
    groups: dict[Key, list[Pod]] = defaultdict(list)
    for pod in pods:
        metadata = pod["metadata"]
        runs = (
            pod["status"].get("podIP")
            and "deletionTimestamp" not in metadata
            and FAILURE_ANNOTATION not in metadata.get("annotations", {})
        )
        if runs:
            groups[metadata["namespace"], metadata["labels"][NAME_LABEL]].append(pod)
    return groups


def _current(pods: Sequence[Pod]) -> list[Pod]:
    """The pods of the newest template, oldest first: new pods must prove themselves, so the old process makes room."""

    def age(pod: Pod) -> tuple[str, str]:
        return pod["metadata"]["creationTimestamp"], pod["metadata"]["name"]

    def template(pod: Pod) -> str:
        labels: Mapping[str, str] = pod["metadata"]["labels"]
        return labels.get("pod-template-hash", "")

    newest = template(max(pods, key=age))
    return sorted((pod for pod in pods if template(pod) == newest), key=age)


def _container_status(pod: Pod, slot: Slot | None) -> dict[str, Any]:
    running = {"running": {"startedAt": (slot.started_at if slot else "") or pod["status"].get("startTime") or _now()}}
    if slot is None:
        return {"ready": False, "started": False, "restartCount": 0, "state": running}
    crashed = slot.process is None and slot.last_exit is not None
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "the process ended; see the log of the sandbox"}}
    status: dict[str, Any] = {
        "ready": slot.healthy,
        "started": slot.healthy,
        "restartCount": max(0, slot.restarts - (1 if crashed else 0)),
        "state": waiting if crashed else running,
    }
    return status | ({"lastState": {"terminated": slot.last_exit}} if slot.last_exit else {})


def _same(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    def essence(status: Mapping[str, Any]) -> tuple[Any, ...]:
        return status.get("ready"), status.get("restartCount"), *status.get("state", {})

    return essence(found) == essence(wanted)


def _answers(url: str) -> bool:
    # The controllers sign their own certificates; the address and the port are ours.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with urllib.request.urlopen(url, timeout=1, context=context if url.startswith("https:") else None):
            return True
    except OSError:
        return False


def _write(path: Path, data: bytes) -> None:
    """Replaces a file atomically and only if it changed: programs watch these files."""
    if path.exists() and path.read_bytes() == data:
        return
    partial = path.with_name(f".{path.name}.partial")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    partial.rename(path)


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
