"""What is rolled out: Deployments of two pods that all take the same time to become ready."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Manifest = dict[str, Any]

DAG = "dag"
_START_SECONDS = 5.0
_START_SECONDS_OF_MANY = 30.0  # so that most of many pods start at the same time, however busy the control plane is
_MANY = 500
_DAG_START_SECONDS = 2.0
# A tool that needs longer has lost anyway.
_TIMEOUT_SECONDS = 300
_TIMEOUT_SECONDS_OF_MANY = 900
_FAILURE_TIMEOUT_SECONDS = 30
_REPLICAS = 2
# The order of row A1, with the names of rows A4 and A5.
_DAG_STAGES = (
    ("zookeeper",),
    ("kafka",),
    ("mysql", "mongodb"),
    ("employee-service", "notification-service", "approval-request-service", "approval-processing-service"),
)


@dataclass(frozen=True)
class Workload:
    """Stages of Deployment names; a stage may start when the one before it is ready."""

    size: int | str
    stages: tuple[tuple[str, ...], ...]
    pod_start_seconds: float
    timeout_seconds: int
    failure: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for stage in self.stages for name in stage)

    @property
    def pods(self) -> int:
        return len(self.names) * _REPLICAS

    @property
    def start_seconds(self) -> float:
        """The least that any tool needs: the start of one pod after the other along the longest path."""
        return self.pod_start_seconds * len(self.stages)

    def manifests(self, namespace: str) -> list[list[Manifest]]:
        """The Deployments of each stage."""
        annotations = {"sandbox.erp.platform/start-seconds": f"{self.pod_start_seconds:g}"}
        if self.failure:
            annotations["sandbox.erp.platform/failure"] = self.failure
        return [[_deployment(namespace, name, annotations) for name in stage] for stage in self.stages]


def of_size(size: int | str) -> Workload:
    """`size` independent Deployments, or the graph of the documents for `dag`."""
    if size == DAG:
        return Workload(DAG, _DAG_STAGES, _DAG_START_SECONDS, _TIMEOUT_SECONDS)
    count = int(size)
    stage = tuple(f"service-{number:04}" for number in range(count))
    if count < _MANY:
        return Workload(count, (stage,), _START_SECONDS, _TIMEOUT_SECONDS)
    return Workload(count, (stage,), _START_SECONDS_OF_MANY, _TIMEOUT_SECONDS_OF_MANY)


def failing() -> Workload:
    """One Deployment whose image does not exist."""
    return Workload("failure", (("broken",),), 0.0, _FAILURE_TIMEOUT_SECONDS, failure="ErrImagePull-not-found")


def _deployment(namespace: str, name: str, pod_annotations: dict[str, str]) -> Manifest:
    labels = {"app": name}
    container = {
        "name": "main",
        "image": f"registry.example/{name}:1",
        "ports": [{"containerPort": 8080}],
        "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {
            "replicas": _REPLICAS,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels, "annotations": pod_annotations},
                "spec": {"containers": [container]},
            },
        },
    }
