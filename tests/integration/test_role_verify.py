"""The role verify against one service behind the real AWS Load Balancer Controller."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

TARGET_GROUP = "erp-dev-approval-req-nlb-tg"
SERVICE = "approval-request-service"
PLAY = """
- hosts: clusters
  gather_facts: false
  module_defaults:
    group/kubernetes.core.k8s: "{{ erp_kubernetes }}"
    group/kubernetes.core.helm: "{{ erp_kubernetes }}"
    group/erp.platform.kubernetes: "{{ erp_kubernetes }}"
    group/amazon.aws.aws: "{{ erp_aws }}"
    group/community.aws.aws: "{{ erp_aws }}"
  tasks:
    - ansible.builtin.import_role: {name: erp.platform.verify}
      vars:
        verify_namespace: erp-verify
        verify_manifests: "{{ lookup('ansible.builtin.file', 'manifests.yml') | from_yaml_all }}"
        verify_helm_releases: [{name: aws-load-balancer-controller, namespace: kube-system}]
        verify_timeout_seconds: 60
"""

pytestmark = pytest.mark.timeout(600)


def manifests(target_group_arn: str) -> str:
    labels = {"app": SERVICE}
    container = {
        "name": SERVICE,
        "image": "example.com/erp/approval-request-service:v1",
        "ports": [{"containerPort": 8082}],
    }
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    metadata = {"name": SERVICE, "namespace": "erp-verify"}
    # With this label the controller injects its pod readiness gates: a pod is ready only when its target is healthy.
    namespace = {"name": "erp-verify", "labels": {"elbv2.k8s.aws/pod-readiness-gate-inject": "enabled"}}
    binding = {"serviceRef": {"name": SERVICE, "port": 8082}, "targetGroupARN": target_group_arn, "targetType": "ip"}
    return yaml.safe_dump_all(
        [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": namespace},
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": metadata,
                "spec": {"selector": labels, "ports": [{"port": 8082}]},
            },
            {
                "apiVersion": "elbv2.k8s.aws/v1beta1",
                "kind": "TargetGroupBinding",
                "metadata": {**metadata, "name": "approval-request-tgb"},
                "spec": binding,
            },
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": metadata,
                "spec": {"replicas": 2, "selector": {"matchLabels": labels}, "template": template},
            },
        ]
    )


class Platform:
    """A sandbox with one service, its target group, and the play that verifies them."""

    def __init__(self, sandbox, folder: Path) -> None:
        self.sandbox = sandbox
        self.play = folder / "verify.yml"
        self.play.write_text(PLAY)
        group = sandbox.aws("elbv2", "describe-target-groups", "--names", TARGET_GROUP, "--output", "json").stdout
        self.arn = json.loads(group)["TargetGroups"][0]["TargetGroupArn"]
        (folder / "manifests.yml").write_text(manifests(self.arn))

    def verify(self, *arguments: str):
        return self.sandbox.ansible_playbook(self.play, *arguments)

    def pod_addresses(self) -> list[str]:
        pods = self.sandbox.kubectl("-n", "erp-verify", "get", "pods", "-l", f"app={SERVICE}", "-o", "json").stdout
        return [pod["status"]["podIP"] for pod in json.loads(pods)["items"]]

    def set_health(self, address: str, state: str) -> None:
        tag = f"Key=sandbox.erp.platform/health/{address},Value={state}"
        self.sandbox.aws("elbv2", "add-tags", "--resource-arns", self.arn, "--tags", tag)


def flat(run) -> str:
    return " ".join(run.stdout.split())


@pytest.fixture(scope="module")
def controller(empty_sandbox):
    prerequisites = {"erp_prerequisites": ["aws_load_balancer_controller"]}
    run = empty_sandbox.ansible_playbook("prerequisites.yml", extra_vars=prerequisites)
    assert run.returncode == 0, run.stdout[-6000:]
    return empty_sandbox


@pytest.fixture(scope="module")
def before(controller, tmp_path_factory: pytest.TempPathFactory):
    """What --check says while nothing is deployed yet."""
    return Platform(controller, tmp_path_factory.mktemp("before")).verify("--check")


@pytest.fixture(scope="module")
def platform(controller, before, tmp_path_factory: pytest.TempPathFactory) -> Platform:
    platform = Platform(controller, tmp_path_factory.mktemp("verify"))
    controller.kubectl("apply", "-f", str(platform.play.with_name("manifests.yml")))
    controller.kubectl("-n", "erp-verify", "rollout", "status", f"deployment/{SERVICE}", "--timeout=90s")
    return platform


def test_check_mode_reports_and_does_not_fail_while_nothing_is_there(before):
    assert before.returncode == 0, before.stdout[-6000:]
    assert re.search(rf"{SERVICE}\s+kubernetes\s+0/0", before.stdout)


def test_a_healthy_platform_passes_unchanged_with_one_row_per_service(platform):
    run = platform.verify()
    assert run.returncode == 0, run.stdout[-6000:]
    assert "changed=0" in run.stdout
    assert re.search(rf"{SERVICE}\s+kubernetes\s+2/2\s+none\s+2/2", run.stdout)


def test_a_target_that_is_no_pod_of_the_service_is_named(platform):
    platform.sandbox.aws("elbv2", "register-targets", "--target-group-arn", platform.arn, "--targets", "Id=10.99.99.99")
    run = platform.verify()
    platform.sandbox.aws(
        "elbv2", "deregister-targets", "--target-group-arn", platform.arn, "--targets", "Id=10.99.99.99"
    )
    assert run.returncode != 0
    stale = f"service {SERVICE}, target group {TARGET_GROUP}, target 10.99.99.99"
    assert f"{stale}: is registered, but is no pod of the service" in flat(run)


def test_a_target_that_is_not_healthy_is_named_with_state_and_reason(platform):
    address = platform.pod_addresses()[0]
    platform.set_health(address, "unhealthy:Target.Timeout")
    run = platform.verify()
    platform.set_health(address, "healthy")
    assert run.returncode != 0
    assert f"service {SERVICE}, target group {TARGET_GROUP}, target {address}: is unhealthy (Target.Timeout" in flat(
        run
    )
