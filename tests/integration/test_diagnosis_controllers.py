"""What the gate says about Services, claims, autoscalers and other objects that no pod can explain."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator

import pytest

from .conftest import Sandbox
from .manifests import Manifest, config_map, deployment
from .situations import Diagnose, apply, diagnose, failing


@pytest.fixture(scope="module")
def space(sandbox: Sandbox) -> Iterator[str]:
    name = f"test-{uuid.uuid4().hex[:8]}"
    sandbox.kubectl("create", "namespace", name)
    apply(
        sandbox,
        [
            deployment(name, "web"),
            failing(name, "unready", "never-ready"),
            service(name, "wrong-selector", app="web", tier="front"),
            service(name, "unready", app="unready"),
            {**service(name, "wrong-port", app="web"), "spec": {"selector": {"app": "web"}, "ports": [HTTP]}},
            policy(name, "only-from-front", app="unready"),
            claim(name, "no-class", "does-not-exist"),
            storage_class(name),
            claim(name, "no-provisioner", name),
            autoscaler(name, "scaled", "wbe"),
            ingress(name, "web", f"{name}-class"),
            pinned(config_map(name, "pinned")),
        ],
    )
    yield name
    sandbox.kubectl("delete", "namespace", name, "--wait=false")
    sandbox.kubectl("delete", "storageclass", name)


HTTP = {"port": 80, "targetPort": "http"}


def service(namespace: str, name: str, **selector: str) -> Manifest:
    spec = {"selector": selector, "ports": [{"port": 80}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def policy(namespace: str, name: str, **labels: str) -> Manifest:
    metadata = {"name": name, "namespace": namespace}
    spec = {"podSelector": {"matchLabels": labels}}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def claim(namespace: str, name: str, storage_class: str) -> Manifest:
    spec = {
        "storageClassName": storage_class,
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
    }
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}


def storage_class(name: str) -> Manifest:
    provisioner = {"provisioner": "disks.example.com"}
    return {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": name}, **provisioner}


def autoscaler(namespace: str, name: str, target: str) -> Manifest:
    spec = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
        "minReplicas": 1,
        "maxReplicas": 3,
    }
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": metadata, "spec": spec}


def ingress(namespace: str, name: str, class_: str) -> Manifest:
    backend = {"service": {"name": "web", "port": {"number": 80}}}
    spec = {"ingressClassName": class_, "defaultBackend": backend}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec}


def pinned(manifest: Manifest) -> Manifest:
    manifest["metadata"]["finalizers"] = ["example.com/keep"]
    return manifest


@pytest.fixture
def said(sandbox: Sandbox, space: str) -> Diagnose:
    return diagnose(sandbox, space)


def endpoints(said: Diagnose, name: str) -> tuple[str, str, str]:
    error = said("Service", name, min_ready_endpoints=2, timeout_seconds=3.0)
    return error.cause.partition(": ")[2], error.evidence, error.next_command


def test_a_selector_that_matches_nothing_says_which_label_differs(said: Diagnose, space: str) -> None:
    cause, evidence, command = endpoints(said, "wrong-selector")
    assert cause == (
        "its selector app=web,tier=front matches no pod: it wants tier=front, the nearest pod has no label tier"
    )
    assert "has app=web" in evidence
    assert command == f"kubectl -n {space} get pods --show-labels"


def test_pods_that_are_not_ready_are_said_to_be_the_reason_and_policies_a_hint(said: Diagnose, space: str) -> None:
    cause, evidence, command = endpoints(said, "unready")
    assert cause == "1 of the 1 pods that its selector matches are not ready"
    assert "containers with unready status: [web]" in evidence
    assert "NetworkPolicies that select these pods and may matter to who reaches them: only-from-front" in evidence
    assert command.startswith(f"kubectl -n {space} describe pod unready-")


def test_a_port_that_no_container_names_is_the_reason(said: Diagnose) -> None:
    cause, _evidence, command = endpoints(said, "wrong-port")
    assert cause == "its targetPort http is no port of the pods' containers (their port names: none)"
    assert command.endswith("get pods -l app=web -o jsonpath='{..ports}'")


def test_a_service_that_does_not_exist_is_looked_for_under_similar_names(said: Diagnose, space: str) -> None:
    error = said("Service", "unreadyy", timeout_seconds=2.0)
    assert error.cause.endswith("does not exist: did you mean 'unready'?")
    assert error.next_command == f"kubectl -n {space} get service"


def test_a_claim_of_a_class_that_does_not_exist_fails_at_once(said: Diagnose) -> None:
    error = said("PersistentVolumeClaim", "no-class", timeout_seconds=30.0)
    assert error.cause == "the storage class does-not-exist does not exist"
    assert "storage classes that exist: gp3" in error.evidence
    assert error.next_command == "kubectl get storageclass"


def test_a_claim_whose_provisioner_is_not_installed_says_so(said: Diagnose, space: str) -> None:
    error = said("PersistentVolumeClaim", "no-provisioner", timeout_seconds=2.0)
    assert error.cause.endswith(f"the provisioner of its storage class {space}, disks.example.com, is not installed")
    assert "Pending" in error.evidence
    assert error.next_command == "kubectl get csidrivers"


def test_an_autoscaler_whose_target_is_misspelt_is_told_the_right_name(said: Diagnose, space: str) -> None:
    error = said("HorizontalPodAutoscaler", "scaled", timeout_seconds=10.0)
    assert error.cause.endswith(
        "its target Deployment wbe does not exist: scaleTargetRef names it wrongly; did you mean 'web'?"
    )
    assert "FailedGetScale: the HPA controller was unable to get the target's current scale" in error.evidence
    assert error.next_command == f"kubectl -n {space} get deployment"


def test_an_ingress_of_a_class_that_does_not_exist_says_so(said: Diagnose, space: str) -> None:
    error = said("Ingress", "web", timeout_seconds=2.0)
    assert f"no load balancer has been made for it: its IngressClass {space}-class does not exist" in error.cause
    assert "ingress classes that exist: " in error.evidence
    assert error.next_command == "kubectl get ingressclass"


def test_an_object_that_is_being_deleted_names_its_finalizers(sandbox: Sandbox, said: Diagnose, space: str) -> None:
    sandbox.kubectl("-n", space, "delete", "configmap", "pinned", "--wait=false")
    error = said("ConfigMap", "pinned", timeout_seconds=2.0)
    assert error.cause.endswith("it is being deleted and waits for its finalizers")
    assert "finalizers that have not finished: example.com/keep" in error.evidence
    assert error.next_command == f"kubectl -n {space} get configmap pinned -o jsonpath='{{.metadata.finalizers}}'"


def test_a_namespace_that_cannot_be_deleted_names_what_is_left_in_it(sandbox: Sandbox, said: Diagnose) -> None:
    name = f"test-{uuid.uuid4().hex[:8]}"
    sandbox.kubectl("create", "namespace", name)
    apply(sandbox, [pinned(config_map(name, "kept"))])
    sandbox.kubectl("delete", "namespace", name, "--wait=false")
    remaining = "--for=condition=NamespaceFinalizersRemaining"
    sandbox.kubectl("wait", "namespace", name, remaining, "--timeout=60s")
    try:
        error = said("Namespace", name, namespace="", timeout_seconds=1.0)
    finally:
        unpin(sandbox, name, "kept")
    assert error.cause.endswith("it is being deleted and waits for its finalizers")
    assert "finalizers remaining: example.com/keep in 1 resource instances" in error.evidence
    assert error.next_command.endswith(f"kubectl -n {name} get --ignore-not-found")


def test_a_definition_whose_names_are_taken_names_the_one_that_has_them(
    sandbox: Sandbox, said: Diagnose, space: str
) -> None:
    group = f"{space}.example.com"
    apply(sandbox, [definition(group, "widgets")])
    sandbox.kubectl("wait", "crd", f"widgets.{group}", "--for=condition=Established", "--timeout=60s")
    apply(sandbox, [definition(group, "gadgets")])
    try:
        error = said("CustomResourceDefinition", f"gadgets.{group}", namespace="")
    finally:
        sandbox.kubectl("delete", "crd", f"widgets.{group}", f"gadgets.{group}", "--wait=false")
    assert error.cause.endswith(f"its names are taken by widgets.{group}")
    assert "is already in use" in error.evidence
    assert error.next_command == f"kubectl get crd widgets.{group} -o jsonpath='{{..spec.names}}'"


def test_an_api_whose_service_is_missing_names_the_service(sandbox: Sandbox, said: Diagnose, space: str) -> None:
    name = f"v1.{space}.example.com"
    spec = {
        "group": f"{space}.example.com",
        "version": "v1",
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "insecureSkipTLSVerify": True,
        "service": {"name": "api", "namespace": space},
    }
    api = "apiregistration.k8s.io/v1"
    apply(sandbox, [{"apiVersion": api, "kind": "APIService", "metadata": {"name": name}, "spec": spec}])
    try:
        error = said("APIService", name, namespace="", timeout_seconds=3.0)
    finally:
        sandbox.kubectl("delete", "apiservice", name)
    assert error.cause.endswith(f"the service behind this API is not available: Service {space}/api does not exist")
    assert "ServiceNotFound" in error.evidence
    assert error.next_command == "kubectl get services --all-namespaces | grep api"


def unpin(sandbox: Sandbox, namespace: str, name: str) -> None:
    nothing = json.dumps({"metadata": {"finalizers": None}})
    sandbox.kubectl("-n", namespace, "patch", "configmap", name, "--type=merge", "-p", nothing)


@pytest.fixture(autouse=True, scope="module")
def unpinned(sandbox: Sandbox, space: str) -> Iterator[None]:
    """A finalizer that nobody serves would keep the namespace for ever."""
    yield
    unpin(sandbox, space, "pinned")


def definition(group: str, plural: str) -> Manifest:
    names = {"plural": plural, "kind": plural.title(), "singular": plural[:-1], "shortNames": ["same"]}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": [version]}
    metadata = {"name": f"{plural}.{group}"}
    api = "apiextensions.k8s.io/v1"
    return {"apiVersion": api, "kind": "CustomResourceDefinition", "metadata": metadata, "spec": spec}
