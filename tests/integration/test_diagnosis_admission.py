"""What the gate and an apply say when the API server refuses pods or objects."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from ansible_collections.erp.platform.plugins.module_utils.api import ApiError
from ansible_collections.erp.platform.plugins.module_utils.connection import connect
from ansible_collections.erp.platform.plugins.module_utils.diagnosis import Diagnosis
from ansible_collections.erp.platform.plugins.module_utils.errors import PlatformError
from ansible_collections.erp.platform.plugins.module_utils.objects import ref_of

from .conftest import Sandbox
from .manifests import Manifest, config_map, deployment
from .situations import Diagnose, apply, diagnose, pod_of


@pytest.fixture
def said(sandbox: Sandbox, namespace: str) -> Diagnose:
    return diagnose(sandbox, namespace)


def limiting(namespace: str, kind: str, spec: Manifest) -> Manifest:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "limits", "namespace": namespace}, "spec": spec}


def with_resources(manifest: Manifest, **resources: dict[str, str]) -> Manifest:
    pod_of(manifest)["spec"]["containers"][0]["resources"] = resources
    return manifest


@contextmanager
def webhook(sandbox: Sandbox, namespace: str, resource: str) -> Iterator[None]:
    """A validating webhook for this namespace whose Service has no pods."""
    name = f"{namespace}-policy"
    entry = {
        "name": "policy.example.com",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "clientConfig": {"service": {"name": "policy", "namespace": namespace, "path": "/validate"}},
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [resource]}],
    }
    api = "admissionregistration.k8s.io/v1"
    configuration = {"apiVersion": api, "kind": "ValidatingWebhookConfiguration", "metadata": {"name": name}}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "policy", "namespace": namespace},
        "spec": {"selector": {"app": "policy"}, "ports": [{"port": 443}]},
    }
    apply(sandbox, [service, {**configuration, "webhooks": [entry]}])
    try:
        yield
    finally:
        sandbox.kubectl("delete", "validatingwebhookconfiguration", name)


def refused(sandbox: Sandbox, manifest: Manifest) -> PlatformError:
    """Apply, without storing it, until the API server knows the rule that refuses it; explained."""
    api = connect({"kubeconfig": sandbox.env["KUBECONFIG"]})
    ref = ref_of(manifest)
    type_ = api.type_of(ref.api_version, ref.kind)
    ends = time.monotonic() + 30.0
    while time.monotonic() < ends:
        try:
            api.apply(manifest, type_, field_manager="erp.platform", force=False, dry_run=True)
        except ApiError as error:
            explained = Diagnosis(api).refused(ref, str(error))
            return explained or pytest.fail(f"not explained: {error}")
        time.sleep(0.2)
    pytest.fail("it was never refused")


def pod(namespace: str) -> Manifest:
    spec = {"containers": [{"name": "web", "image": "registry.example/web:1"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe", "namespace": namespace}, "spec": spec}


def test_a_quota_that_is_used_up_says_how_much_of_it_is_used(sandbox: Sandbox, said: Diagnose, namespace: str) -> None:
    apply(sandbox, [limiting(namespace, "ResourceQuota", {"hard": {"requests.cpu": "1"}})])
    apply(sandbox, [with_resources(deployment(namespace), requests={"cpu": "2"})])
    error = said("Deployment", "web")
    assert error.cause == (
        "its pods cannot be created: the namespace's quota is used up: quota limits allows requests.cpu=1, "
        "requests.cpu=0 is used and requests.cpu=2 more is wanted"
    )
    assert "exceeded quota: limits" in error.evidence
    assert error.next_command == f"kubectl -n {namespace} describe resourcequota limits"


def test_a_quota_that_wants_requests_says_which(sandbox: Sandbox, said: Diagnose, namespace: str) -> None:
    apply(sandbox, [limiting(namespace, "ResourceQuota", {"hard": {"requests.cpu": "1"}}), deployment(namespace)])
    error = said("Deployment", "web")
    assert error.cause.endswith("quota limits wants every container to specify requests.cpu for: web")
    assert "failed quota: limits: must specify requests.cpu" in error.evidence
    assert error.next_command == f"kubectl -n {namespace} describe resourcequota limits"


def test_a_limit_range_that_is_exceeded_says_by_how_much(sandbox: Sandbox, said: Diagnose, namespace: str) -> None:
    apply(sandbox, [limiting(namespace, "LimitRange", {"limits": [{"type": "Container", "max": {"cpu": "1"}}]})])
    apply(sandbox, [with_resources(deployment(namespace), limits={"cpu": "2"}, requests={"cpu": "1"})])
    error = said("Deployment", "web")
    assert error.cause == (
        "its pods cannot be created: the namespace's LimitRange refuses them: "
        "maximum cpu usage per Container is 1, but limit is 2"
    )
    assert "is forbidden" in error.evidence
    assert error.next_command == f"kubectl -n {namespace} describe limitrange"


def test_a_pod_security_refusal_names_the_rules_and_what_to_set(
    sandbox: Sandbox, said: Diagnose, namespace: str
) -> None:
    sandbox.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    apply(sandbox, [deployment(namespace)])
    error = said("Deployment", "web")
    rules = "allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile"
    assert error.cause == (
        "its pods cannot be created: the namespace's Pod Security Standard refuses them: "
        f"the restricted standard forbids: {rules}"
    )
    assert 'container "web" must set securityContext.allowPrivilegeEscalation=false' in error.evidence.splitlines()
    command = f"kubectl get namespace {namespace} --show-labels; correct the securityContext as the evidence says"
    assert error.next_command == command


def test_a_webhook_without_endpoints_names_the_service_and_its_pods(
    sandbox: Sandbox, said: Diagnose, namespace: str
) -> None:
    with webhook(sandbox, namespace, "pods"):
        refused(sandbox, pod(namespace))
        apply(sandbox, [deployment(namespace)])
        error = said("Deployment", "web", timeout_seconds=3.0)
    assert error.cause.startswith("not ready after ")
    assert error.cause.endswith(
        "an admission webhook does not answer: admission webhook policy.example.com does not answer: "
        f"Service {namespace}/policy has no pods (selector app=policy)"
    )
    assert f"webhook policy.example.com is served by Service {namespace}/policy" in error.evidence
    assert error.next_command == f"kubectl -n {namespace} get deployments"


def test_an_apply_that_a_dead_webhook_stops_is_explained_too(sandbox: Sandbox, namespace: str) -> None:
    with webhook(sandbox, namespace, "configmaps"):
        error = refused(sandbox, config_map(namespace))
    assert error.object == f"ConfigMap {namespace}/settings"
    assert error.cause == (
        "the API server refuses it: admission webhook policy.example.com does not answer: "
        f"Service {namespace}/policy has no pods (selector app=policy)"
    )
    assert "no endpoints available" in error.evidence
    assert error.next_command == f"kubectl -n {namespace} get deployments"


def test_a_policy_that_denies_an_apply_is_named(sandbox: Sandbox, namespace: str) -> None:
    name = f"{namespace}-owner"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    spec = {
        "matchConstraints": {"resourceRules": [rule], "namespaceSelector": selector},
        "validations": [{"expression": "has(object.metadata.labels)", "message": "label owner is missing"}],
    }
    api = "admissionregistration.k8s.io/v1"
    binding = {"policyName": name, "validationActions": ["Deny"]}
    policy = {"apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name}, "spec": spec}
    bound = {"apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name}, "spec": binding}
    apply(sandbox, [policy, bound])
    try:
        error = refused(sandbox, config_map(namespace))
    finally:
        sandbox.kubectl("delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", name)
    assert error.cause.endswith(f"ValidatingAdmissionPolicy {name} denied it: label owner is missing")
    assert error.next_command == f"kubectl get validatingadmissionpolicy {name} -o yaml"
