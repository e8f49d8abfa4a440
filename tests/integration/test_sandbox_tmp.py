"""The real controllers, installed by their charts with ordinary values."""

from __future__ import annotations

import json
import subprocess
import time

import pytest

NAMESPACE = "erp-dev"
TARGET_GROUP = "erp-dev-approval-req-nlb-tg"
ROLE = "arn:aws:iam::806332783810:role/"

pytestmark = pytest.mark.timeout(180)  # the load balancer controller looks at target health every 15 s only


def run(sandbox, *command):
    done = subprocess.run(command, env=dict(sandbox.env), capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def install(sandbox, chart, namespace, *values):
    mirror = sandbox.env["ERP_CHART_MIRROR"]
    where = ("--repo", mirror, "--namespace", namespace, "--create-namespace", "--wait", "--timeout", "150s")
    run(sandbox, "helm", "upgrade", "--install", chart, chart, *where, *values)


def arn(sandbox):
    query = ("--query", "TargetGroups[0].TargetGroupArn", "--output", "text")
    return run(sandbox, "aws", "elbv2", "describe-target-groups", "--names", TARGET_GROUP, *query).strip()


def targets(sandbox):
    found = run(
        sandbox, "aws", "elbv2", "describe-target-health", "--target-group-arn", arn(sandbox), "--output", "json"
    )
    return {target["Target"]["Id"] for target in json.loads(found)["TargetHealthDescriptions"]}


def eventually(condition, timeout_seconds=60):
    """For what Kubernetes has no `wait` for: the cloud's side."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        assert time.monotonic() < deadline, "did not come true"
        time.sleep(1)


def apply(sandbox, *objects):
    sandbox.kubectl("apply", "-f", "-", stdin="\n---\n".join(json.dumps(item) for item in objects))


@pytest.fixture(scope="module")
def controllers(sandbox):
    """metrics-server and External Secrets first: the load balancer controller's webhook then stands in nobody's way."""
    vpc = run(
        sandbox,
        "aws",
        "ec2",
        "describe-vpcs",
        "--filters",
        "Name=cidr,Values=10.42.0.0/16",
        "--query",
        "Vpcs[0].VpcId",
        "--output",
        "text",
    ).strip()
    install(sandbox, "metrics-server", "kube-system")
    install(sandbox, "external-secrets", "external-secrets-system")
    annotation = r"serviceAccount.annotations.eks\.amazonaws\.com/role-arn"
    values = (
        "clusterName=erp-dev-cluster",
        "region=ap-northeast-2",
        f"vpcId={vpc}",
        f"{annotation}={ROLE}erp-dev-aws-load-balancer-controller",
    )
    install(
        sandbox,
        "aws-load-balancer-controller",
        "kube-system",
        *(part for value in values for part in ("--set", value)),
    )
    labels = {"elbv2.k8s.aws/pod-readiness-gate-inject": "enabled"}
    apply(sandbox, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})
    return sandbox


@pytest.fixture(scope="module")
def bound(controllers):
    """A Deployment behind a Service that is bound to a target group."""
    metadata = {"namespace": NAMESPACE}
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "web", "resources": {"requests": {"cpu": "200m"}}}]},
    }
    apply(
        controllers,
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "web", **metadata},
            "spec": {"selector": {"app": "web"}, "ports": [{"port": 8082}]},
        },
        {
            "apiVersion": "elbv2.k8s.aws/v1beta1",
            "kind": "TargetGroupBinding",
            "metadata": {"name": "web", **metadata},
            "spec": {"serviceRef": {"name": "web", "port": 8082}, "targetGroupARN": arn(controllers)},
        },
    )
    apply(
        controllers,
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", **metadata},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template},
        },
    )
    return controllers


def test_the_load_balancer_controller_registers_the_pods_and_opens_their_readiness_gates(bound):
    bound.kubectl("wait", "-n", NAMESPACE, "deployment/web", "--for=condition=Available", "--timeout=90s")
    pods = json.loads(bound.kubectl("get", "pods", "-n", NAMESPACE, "-l", "app=web", "-o", "json").stdout)["items"]
    assert {pod["spec"]["readinessGates"][0]["conditionType"] for pod in pods} == {"target-health.elbv2.k8s.aws/web"}
    assert targets(bound) == {pod["status"]["podIP"] for pod in pods}


def test_the_webhook_of_the_load_balancer_controller_completes_a_binding(bound):
    binding = json.loads(bound.kubectl("get", "targetgroupbinding", "web", "-n", NAMESPACE, "-o", "json").stdout)
    assert binding["spec"]["targetType"] == "ip"


def test_pods_that_go_are_deregistered(bound):
    bound.kubectl("scale", "-n", NAMESPACE, "deployment/web", "--replicas=1")
    eventually(lambda: len(targets(bound)) == 1)


def test_external_secrets_fetches_the_secret_as_the_role_of_a_service_account(controllers):
    metadata = {"namespace": NAMESPACE}
    account = {
        "name": "external-secrets",
        "annotations": {"eks.amazonaws.com/role-arn": f"{ROLE}erp-dev-external-secrets"},
    }
    jwt = {"jwt": {"serviceAccountRef": {"name": "external-secrets"}}}
    apply(
        controllers,
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {**account, **metadata}},
        {
            "apiVersion": "external-secrets.io/v1",
            "kind": "SecretStore",
            "metadata": {"name": "aws", **metadata},
            "spec": {"provider": {"aws": {"service": "SecretsManager", "region": "ap-northeast-2", "auth": jwt}}},
        },
        {
            "apiVersion": "external-secrets.io/v1",
            "kind": "ExternalSecret",
            "metadata": {"name": "mysql", **metadata},
            "spec": {
                "secretStoreRef": {"name": "aws", "kind": "SecretStore"},
                "dataFrom": [{"extract": {"key": "erp/dev/mysql"}}],
            },
        },
    )
    controllers.kubectl("wait", "-n", NAMESPACE, "externalsecret/mysql", "--for=condition=Ready", "--timeout=60s")
    secret = json.loads(controllers.kubectl("get", "secret", "mysql", "-n", NAMESPACE, "-o", "json").stdout)
    assert set(secret["data"]) == {"username", "password"}


def test_the_webhook_of_external_secrets_refuses_a_bad_secret(controllers):
    bad = {
        "apiVersion": "external-secrets.io/v1",
        "kind": "ExternalSecret",
        "metadata": {"name": "bad", "namespace": NAMESPACE},
        "spec": {"secretStoreRef": {"name": "aws", "kind": "SecretStore"}},
    }
    refused = subprocess.run(
        ["kubectl", "apply", "-f", "-"],
        env=dict(controllers.env),
        input=json.dumps(bad),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert 'admission webhook "validate.externalsecret.external-secrets.io" denied the request' in refused.stderr


def test_the_metrics_api_serves_nodes_and_an_autoscaler(controllers, bound):
    controllers.kubectl("wait", "apiservice/v1beta1.metrics.k8s.io", "--for=condition=Available", "--timeout=60s")
    controllers.kubectl("autoscale", "-n", NAMESPACE, "deployment/web", "--cpu=70%", "--min=1", "--max=3")
    active = "--for=condition=ScalingActive"
    controllers.kubectl("wait", "-n", NAMESPACE, "horizontalpodautoscaler/web", active, "--timeout=90s")
    eventually(lambda: "<unknown>" not in run(controllers, "kubectl", "top", "nodes"))


def test_a_controller_whose_process_is_killed_is_restarted_and_its_pod_says_so(controllers):
    selector = ("-n", "kube-system", "-l", "app.kubernetes.io/name=metrics-server")
    pod = json.loads(controllers.kubectl("get", "pods", *selector, "-o", "json").stdout)["items"][0]["metadata"]["name"]
    status = run(controllers, "sandbox/sandbox", "status", "--name", controllers.name)
    pid = next(line.split()[2] for line in status.splitlines() if line.startswith("metrics-server"))
    run(controllers, "kill", "-9", pid)
    restarted = "jsonpath={.status.containerStatuses[0].restartCount}=1"
    controllers.kubectl("wait", "-n", "kube-system", f"pod/{pod}", f"--for={restarted}", "--timeout=60s")
    controllers.kubectl("wait", "-n", "kube-system", f"pod/{pod}", "--for=condition=Ready", "--timeout=90s")


def test_the_process_ends_with_its_pods(controllers):
    run(controllers, "helm", "uninstall", "external-secrets", "-n", "external-secrets-system", "--wait")
    eventually(lambda: "external-secrets" not in run_status(controllers))


def run_status(sandbox):
    status = subprocess.run(
        ["sandbox/sandbox", "status", "--name", sandbox.name], capture_output=True, text=True, timeout=60, check=False
    )
    return status.stdout
