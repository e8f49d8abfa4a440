"""Manifests that the tests of rollout and readiness_gate share."""

from __future__ import annotations

from typing import Any

Manifest = dict[str, Any]


def config_map(namespace: str, name: str = "settings", **data: str) -> Manifest:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": data}


def secret(namespace: str, name: str = "passwords", **data: str) -> Manifest:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}


def deployment(
    namespace: str,
    name: str = "web",
    *,
    replicas: int | None = 1,
    env: list[Any] | None = None,
    failure: str = "",
    image: str = "registry.example/web:1",
    **annotations: str,
) -> Manifest:
    """A Deployment whose pods start in no time, or fail in the way that the sandbox knows under this name."""
    labels = {"app": name}
    pod = {"sandbox.erp.platform/failure": failure} if failure else {"sandbox.erp.platform/start-seconds": "0.1"}
    spec: Manifest = {
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels, "annotations": pod},
            "spec": {"containers": [{"name": name, "image": image, "env": env or []}]},
        },
    }
    if replicas is not None:
        spec["replicas"] = replicas
    metadata = {"name": name, "namespace": namespace, "annotations": annotations}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def from_config_map(name: str, key: str) -> Manifest:
    return {"name": key.upper(), "valueFrom": {"configMapKeyRef": {"name": name, "key": key}}}


def from_secret(name: str, key: str) -> Manifest:
    return {"name": key.upper(), "valueFrom": {"secretKeyRef": {"name": name, "key": key}}}
