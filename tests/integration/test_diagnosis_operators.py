"""What the gate says about objects whose controllers come by charts: HPA, ExternalSecret, TargetGroupBinding."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.erp.platform.plugins.module_utils.api import ApiError
from ansible_collections.erp.platform.plugins.module_utils.connection import connect
from ansible_collections.erp.platform.plugins.module_utils.diagnosis import Diagnosis
from ansible_collections.erp.platform.plugins.module_utils.objects import ref_of

from .conftest import Sandbox
from .manifests import Manifest, deployment
from .situations import Diagnose, apply, diagnose, pod_of
from .test_sandbox_controllers import arn, controllers

__all__ = ["controllers"]

pytestmark = pytest.mark.timeout(300)

SPACE = "default"


@pytest.fixture
def said(empty_sandbox: Sandbox) -> Diagnose:
    return diagnose(empty_sandbox, SPACE)


def autoscaler(name: str) -> Manifest:
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}},
    }
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    spec = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 3, "metrics": [metric]}
    metadata = {"name": name, "namespace": SPACE}
    return {"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": metadata, "spec": spec}


def store(name: str, **auth: Any) -> Manifest:
    aws = {"service": "SecretsManager", "region": "ap-northeast-2", **({"auth": auth} if auth else {})}
    metadata = {"name": name, "namespace": SPACE}
    return {
        "apiVersion": "external-secrets.io/v1",
        "kind": "SecretStore",
        "metadata": metadata,
        "spec": {"provider": {"aws": aws}},
    }


def external_secret(name: str, store: str, key: str, property_: str = "password") -> Manifest:
    data = [{"secretKey": "password", "remoteRef": {"key": key, "property": property_}}]
    spec = {"secretStoreRef": {"name": store, "kind": "SecretStore"}, "data": data, "refreshInterval": "1h"}
    metadata = {"name": name, "namespace": SPACE}
    return {"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": metadata, "spec": spec}


def binding(name: str, target_group: str) -> Manifest:
    spec = {"serviceRef": {"name": "web", "port": 80}, "targetGroupARN": target_group}
    metadata = {"name": name, "namespace": SPACE}
    return {"apiVersion": "elbv2.k8s.aws/v1beta1", "kind": "TargetGroupBinding", "metadata": metadata, "spec": spec}


def test_without_metrics_server_an_autoscaler_says_that_it_is_not_installed(
    empty_sandbox: Sandbox, said: Diagnose
) -> None:
    measured = deployment(SPACE, "measured")
    pod_of(measured)["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "100m"}}
    apply(empty_sandbox, [measured, autoscaler("measured")])
    error = said("HorizontalPodAutoscaler", "measured", timeout_seconds=20.0)
    assert error.cause.endswith(
        "it gets no metrics: metrics-server is missing or not ready: "
        "no APIService v1beta1.metrics.k8s.io is registered: metrics-server is not installed"
    )
    assert "FailedGetResourceMetric" in error.evidence
    assert error.next_command == "helm list --all-namespaces --filter metrics-server"


@pytest.mark.usefixtures("controllers")
def test_an_autoscaler_of_pods_without_requests_names_the_container(empty_sandbox: Sandbox, said: Diagnose) -> None:
    apply(empty_sandbox, [deployment(SPACE, "unlimited"), autoscaler("unlimited")])
    error = said("HorizontalPodAutoscaler", "unlimited", timeout_seconds=90.0)
    assert error.cause == (
        "it cannot scale on cpu: a container of its target has no cpu request: without requests: unlimited (cpu)"
    )
    assert "missing request for cpu" in error.evidence
    assert error.next_command == f"kubectl -n {SPACE} set resources deployment unlimited -c unlimited --requests=cpu=…"


@pytest.mark.usefixtures("controllers")
def test_external_secrets_say_what_is_missing_where(empty_sandbox: Sandbox, said: Diagnose) -> None:
    no_account = {"jwt": {"serviceAccountRef": {"name": "nobody"}}}
    apply(
        empty_sandbox,
        [
            store("aws"),
            store("broken", **no_account),
            external_secret("no-secret", "aws", "erp/dev/nothing"),
            external_secret("no-property", "aws", "erp/dev/mysql", "passwd"),
            external_secret("no-store", "awss", "erp/dev/mysql"),
            external_secret("store-broken", "broken", "erp/dev/mysql"),
        ],
    )
    expected = {
        "no-secret": (
            "the secret erp/dev/nothing does not exist in AWS Secrets Manager in ap-northeast-2",
            "aws secretsmanager list-secrets --query 'SecretList[].Name' --region ap-northeast-2",
        ),
        "no-property": (
            "the secret erp/dev/mysql has no property passwd",
            (
                "aws secretsmanager describe-secret --secret-id erp/dev/mysql --region ap-northeast-2  "
                "(and the property in the ExternalSecret's remoteRef)"
            ),
        ),
        "no-store": (
            "its SecretStore awss does not exist; did you mean 'aws'?",
            f"kubectl -n {SPACE} get secretstore.external-secrets.io",
        ),
        "store-broken": (
            f"its SecretStore {SPACE}/broken is not ready",
            f"kubectl -n {SPACE} describe secretstore.external-secrets.io broken",
        ),
    }
    for name, (cause, command) in expected.items():
        error = said("ExternalSecret", name, timeout_seconds=8.0)
        assert error.cause.endswith(f"the secret manager does not hand out what it asks for: {cause}")
        assert "SecretSyncedError" in error.evidence
        assert error.next_command == command
    broken = said("SecretStore", "broken", timeout_seconds=8.0)
    assert broken.cause.endswith("it cannot log in to its secret manager: its ServiceAccount nobody does not exist")
    assert "InvalidProviderConfig" in broken.evidence
    assert broken.next_command == f"kubectl -n {SPACE} get serviceaccounts"


@pytest.mark.usefixtures("controllers")
def test_a_binding_of_a_target_group_that_does_not_exist_is_refused_with_the_reason(empty_sandbox: Sandbox) -> None:
    wrong = binding("wrong", arn(empty_sandbox).replace("erp-dev", "erp-xyz"))
    api = connect({"kubeconfig": empty_sandbox.env["KUBECONFIG"]})
    ref = ref_of(wrong)
    type_ = api.type_of(ref.api_version, ref.kind)
    with pytest.raises(ApiError) as refused:
        api.apply(wrong, type_, field_manager="erp.platform", force=False, dry_run=True)
    error = Diagnosis(api).refused(ref, str(refused.value))
    assert error is not None
    assert error.cause.startswith("the API server refuses it: admission webhook ")
    assert "TargetGroupNotFound" in error.cause
    assert error.next_command == "aws elbv2 describe-target-groups --query 'TargetGroups[].TargetGroupArn'"


@pytest.mark.usefixtures("controllers")
def test_a_binding_whose_controller_is_down_says_so(empty_sandbox: Sandbox, said: Diagnose) -> None:
    """The last of the module: it takes the controller away."""
    webhooks = "validatingwebhookconfiguration,mutatingwebhookconfiguration"
    empty_sandbox.kubectl("delete", webhooks, "aws-load-balancer-webhook")
    scale = ("scale", "-n", "kube-system", "deployment/aws-load-balancer-controller", "--replicas=0")
    empty_sandbox.kubectl(*scale)
    label = "app.kubernetes.io/name=aws-load-balancer-controller"
    empty_sandbox.kubectl("wait", "-n", "kube-system", "pods", "-l", label, "--for=delete", "--timeout=60s")
    target_group = arn(empty_sandbox)
    apply(empty_sandbox, [binding("orphan", target_group)])
    error = said("TargetGroupBinding", "orphan", timeout_seconds=3.0)
    assert error.cause.endswith(
        "the AWS Load Balancer Controller has not reconciled it: the AWS Load Balancer Controller has no ready pod "
        "(deployment aws-load-balancer-controller in kube-system)"
    )
    assert f"target group {target_group}" in error.evidence
    assert error.next_command == "kubectl -n kube-system describe deployment aws-load-balancer-controller"
