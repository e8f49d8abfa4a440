"""Situations that the diagnosis tests produce, and what the gate says about them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from ansible_collections.erp.platform.plugins.module_utils.connection import connect
from ansible_collections.erp.platform.plugins.module_utils.errors import PlatformError
from ansible_collections.erp.platform.plugins.module_utils.findings import FailFast
from ansible_collections.erp.platform.plugins.module_utils.readiness import NotReady, Options, wait_until_ready

from .conftest import Sandbox
from .manifests import Manifest, deployment

Diagnose = Callable[..., PlatformError]
API_VERSIONS = {
    "Deployment": "apps/v1",
    "StatefulSet": "apps/v1",
    "Job": "batch/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
    "ExternalSecret": "external-secrets.io/v1",
    "SecretStore": "external-secrets.io/v1",
    "TargetGroupBinding": "elbv2.k8s.aws/v1beta1",
    "Ingress": "networking.k8s.io/v1",
    "APIService": "apiregistration.k8s.io/v1",
    "CustomResourceDefinition": "apiextensions.k8s.io/v1",
}


def diagnose(sandbox: Sandbox, namespace: str) -> Diagnose:
    """Gate one object that will not become ready; returns the failure. No grace is given."""

    def run(kind: str, name: str, *, timeout_seconds: float = 15.0, **entry: Any) -> PlatformError:
        described = {**_described(kind, namespace, name), **entry}
        (only,) = _failures(sandbox, [described], timeout_seconds)
        return only

    return run


def diagnose_all(
    sandbox: Sandbox, namespace: str, kind: str, names: Iterable[str], *, timeout_seconds: float = 30.0
) -> dict[str, PlatformError]:
    """Gate objects of a kind together; returns the failures by name."""
    failures = _failures(sandbox, [_described(kind, namespace, name) for name in names], timeout_seconds)
    return {failure.object.rpartition("/")[2]: failure for failure in failures}


def _described(kind: str, namespace: str, name: str) -> dict[str, Any]:
    return {"kind": kind, "name": name, "namespace": namespace, "api_version": API_VERSIONS.get(kind, "v1")}


def _failures(sandbox: Sandbox, objects: list[dict[str, Any]], timeout_seconds: float) -> tuple[PlatformError, ...]:
    api = connect({"kubeconfig": sandbox.env["KUBECONFIG"]})
    at_once = FailFast(image_pull_seconds=0.0, unschedulable_seconds=0.0)
    options = Options(objects=objects, timeout_seconds=timeout_seconds, fail_fast=at_once)
    with pytest.raises(NotReady) as failed:
        wait_until_ready(api, options, lambda text, level: None)
    return failed.value.failures()


def apply(sandbox: Sandbox, manifests: Iterable[Manifest]) -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
    sandbox.kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(listed))


def pod_of(manifest: Manifest) -> Manifest:
    template: Manifest = manifest["spec"]["template"]
    return template


def failing(
    namespace: str,
    name: str,
    failure: str,
    *,
    container: str = "web",
    annotations: dict[str, str] | None = None,
    **spec: Any,
) -> Manifest:
    """A Deployment whose pods fail in a way that the sandbox knows; ``spec`` is added to that of its pods."""
    manifest = deployment(namespace, name, failure=failure)
    pod = pod_of(manifest)
    pod["metadata"]["annotations"].update({"sandbox.erp.platform/start-seconds": "0.1", **(annotations or {})})
    pod["spec"]["containers"][0]["name"] = container
    pod["spec"].update(spec)
    return manifest
