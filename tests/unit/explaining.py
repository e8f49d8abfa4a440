"""A cluster that answers a diagnosis' read requests out of a few objects."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.erp.platform.plugins.module_utils.api import ApiError, ConnectionFailed, ResourceType
from ansible_collections.erp.platform.plugins.module_utils.diagnosis_reads import Memory, Reads
from ansible_collections.erp.platform.plugins.module_utils.finding import Finding
from ansible_collections.erp.platform.plugins.module_utils.objects import Ref, ref_of

Object = dict[str, Any]


class Cluster:
    """``unreadable`` are kinds that RBAC forbids; ``logs`` are by container, the previous ones by "name/previous"."""

    def __init__(
        self, *objects: Object, logs: Mapping[str, str] | None = None, unreadable: Sequence[str] = (), slow: float = 0.0
    ) -> None:
        self._objects, self._logs, self._unreadable, self._slow = objects, logs or {}, unreadable, slow
        self.requests: list[str] = []

    def type_of(self, api_version: str, kind: str, *, timeout_seconds: float | None = None) -> ResourceType:
        return ResourceType(api_version, kind, f"{kind.lower()}s", True)

    def get(self, ref: Ref, *, timeout_seconds: float | None = None) -> Object | None:
        self._asked(f"get {ref}", ref.kind, timeout_seconds)
        return next((dict(obj) for obj in self._objects if ref_of(obj).identity == ref.identity), None)

    def list(
        self,
        type_: ResourceType,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        *,
        timeout_seconds: float | None = None,
    ) -> Object:
        self._asked(f"list {type_.kind}", type_.kind, timeout_seconds)
        found = [obj for obj in self._objects if obj["kind"] == type_.kind]
        return {"items": [obj for obj in found if not namespace or obj["metadata"].get("namespace") == namespace]}

    def logs(
        self, namespace: str, pod: str, container: str, *, previous: bool, lines: int, timeout_seconds: float
    ) -> str:
        self._asked(f"log {container}", "log", timeout_seconds)
        name = f"{container}/previous" if previous else container
        if name not in self._logs:
            raise ApiError(400, {"message": "previous terminated container not found"})
        return self._logs[name]

    def _asked(self, request: str, kind: str, timeout_seconds: float | None) -> None:
        self.requests.append(request)
        if self._slow:
            assert timeout_seconds is not None, "a request without limit"
            time.sleep(min(self._slow, timeout_seconds))
            raise ConnectionFailed("no complete answer")
        if kind in self._unreadable:
            raise ApiError(403, {"message": f"{kind} is forbidden"})


def reads(cluster: Cluster, seconds: float = 5.0) -> Reads:
    return Reads(cluster, Memory(), time.monotonic() + seconds)  # type: ignore[arg-type]


def obj(kind: str, name: str, api_version: str = "v1", namespace: str = "erp", **fields: Any) -> Object:
    metadata = {
        "name": name,
        "uid": name,
        **({"namespace": namespace} if namespace else {}),
        **fields.pop("metadata", {}),
    }
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}


def pod(name: str = "web-1", *, status: Object | None = None, labels: Object | None = None, **container: Any) -> Object:
    """A pod of Deployment web with one container; ``status`` is the container's."""
    owner = {"kind": "ReplicaSet", "name": "web-5d9f", "uid": "rs"}
    return obj(
        "Pod",
        name,
        metadata={"labels": labels or {"app": "web"}, "ownerReferences": [owner]},
        spec={
            "nodeName": "node-a",
            "containers": [{"name": "web", "image": "registry.example/erp/web:1", **container}],
        },
        status={"phase": "Pending", "containerStatuses": [{"name": "web", "ready": False, **(status or {})}]},
    )


def finding(rule: str, subject: Object, evidence: str = "", container: str = "web") -> Finding:
    return Finding(rule, "the cause", evidence, "kubectl describe", subject, container)


def service(name: str, port: int = 80, **selector: str) -> Object:
    return obj(
        "Service",
        name,
        spec={"selector": selector or {"app": name}, "ports": [{"port": port}], "clusterIP": "10.0.0.9"},
    )


def endpoint_slice(of: str, *addresses: str, ready: bool = True) -> Object:
    endpoints = [{"addresses": [address], "conditions": {"ready": ready}} for address in addresses]
    labels = {"kubernetes.io/service-name": of}
    return obj("EndpointSlice", f"{of}-x", "discovery.k8s.io/v1", metadata={"labels": labels}, endpoints=endpoints)


def node(name: str, cpu: str = "4", *, labels: Object | None = None, **spec: Any) -> Object:
    allocatable = {"cpu": cpu, "memory": "16Gi", "pods": "3"}
    return obj(
        "Node", name, namespace="", metadata={"labels": labels or {}}, spec=spec, status={"allocatable": allocatable}
    )
