"""The chart roles, as the phase prerequisites runs them, in a sandbox of their own."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

PROVE = """
- hosts: clusters
  gather_facts: false
  module_defaults:
    group/kubernetes.core.k8s: "{{ erp_kubernetes }}"
  tasks:
    - ansible.builtin.import_role: {name: erp.platform.aws_load_balancer_controller, tasks_from: prove}
      vars: {aws_load_balancer_controller_region: "{{ erp_aws.region }}"}
"""

pytestmark = pytest.mark.timeout(600)


def changed(run) -> int:
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    return int(re.search(r"changed=(\d+)", run.stdout.rsplit("PLAY RECAP", 1)[1]).group(1))


@pytest.fixture(scope="module")
def checked_before(empty_sandbox):
    return empty_sandbox.ansible_playbook("prerequisites.yml", "--check", "--diff")


@pytest.fixture(scope="module")
def installed(empty_sandbox, checked_before):
    assert changed(empty_sandbox.ansible_playbook("prerequisites.yml")) > 0
    return empty_sandbox


@pytest.fixture
def prove(tmp_path: Path) -> Path:
    play = tmp_path / "prove.yml"
    play.write_text(PROVE)
    return play


def test_check_mode_on_an_empty_cluster_passes_and_says_that_there_is_nothing_to_prove_yet(checked_before):
    assert changed(checked_before) > 0
    assert "the webhooks were not asked" in " ".join(checked_before.stdout.split())


def test_the_releases_come_from_the_mirror_into_the_namespaces_of_the_documents(installed):
    deployments = installed.kubectl("get", "deployments", "-A", "-o", "json").stdout
    placed = {
        (item["metadata"]["namespace"], item["metadata"]["name"])
        for item in json.loads(deployments)["items"]
        if "meta.helm.sh/release-name" in item["metadata"].get("annotations", {})
    }
    assert {
        ("kube-system", "metrics-server"),
        ("kube-system", "aws-load-balancer-controller"),
        ("external-secrets-system", "external-secrets"),
    } <= placed


def test_the_controller_runs_with_the_role_and_the_network_of_the_cluster(installed):
    account = installed.kubectl(
        "-n", "kube-system", "get", "serviceaccount", "aws-load-balancer-controller", "-o", "json"
    )
    annotations = json.loads(account.stdout)["metadata"]["annotations"]
    assert annotations["eks.amazonaws.com/role-arn"].endswith(":role/erp-dev-aws-load-balancer-controller")
    deployment = installed.kubectl(
        "-n", "kube-system", "get", "deployment", "aws-load-balancer-controller", "-o", "json"
    )
    arguments = json.loads(deployment.stdout)["spec"]["template"]["spec"]["containers"][0]["args"]
    vpc = installed.aws(
        "eks",
        "describe-cluster",
        "--name",
        "erp-dev-cluster",
        "--query",
        "cluster.resourcesVpcConfig.vpcId",
        "--output",
        "text",
    ).stdout.strip()
    assert f"--aws-vpc-id={vpc}" in arguments
    assert "--cluster-name=erp-dev-cluster" in arguments


def test_a_cluster_that_is_unknown_to_eks_is_refused_by_name(installed):
    only = {"erp_prerequisites": ["aws_load_balancer_controller"], "erp_cluster_name": "erp-nowhere"}
    refused = installed.ansible_playbook("prerequisites.yml", extra_vars=only)
    assert refused.returncode != 0
    assert "EKS cluster erp-nowhere: does not exist in this account and region" in refused.stdout


def test_a_chart_that_cannot_be_rendered_is_told_with_the_reason_and_no_secret(installed):
    only = {"erp_prerequisites": ["aws_load_balancer_controller"], "aws_load_balancer_controller_chart_ref": "nothing"}
    refused = installed.ansible_playbook("prerequisites.yml", extra_vars=only)
    assert refused.returncode != 0
    assert "Helm chart nothing: can't be rendered" in refused.stdout
    assert 'chart "nothing"' in refused.stdout
    assert "tls.key" not in refused.stdout


def test_a_second_run_and_a_check_change_nothing(installed):
    assert changed(installed.ansible_playbook("prerequisites.yml")) == 0
    assert changed(installed.ansible_playbook("prerequisites.yml", "--check", "--diff")) == 0


def test_the_proof_leaves_nothing_behind(installed):
    for kind in ("service", "targetgroupbinding"):
        found = installed.kubectl("-n", "default", "get", kind, "erp-platform-proof", "--ignore-not-found")
        assert found.stdout == ""


def test_the_proof_fails_while_no_pod_serves_the_webhooks(installed, prove):
    scale = ("-n", "kube-system", "scale", "deployment", "aws-load-balancer-controller")
    installed.kubectl(*scale, "--replicas=0")
    installed.kubectl(
        "-n", "kube-system", "wait", "pod", "-l", "app.kubernetes.io/name=aws-load-balancer-controller", "--for=delete"
    )
    refused = installed.ansible_playbook(prove)
    installed.kubectl(*scale, "--replicas=2")
    installed.kubectl(
        "-n", "kube-system", "rollout", "status", "deployment", "aws-load-balancer-controller", "--timeout=60s"
    )
    assert refused.returncode != 0
    assert "failed calling webhook" in refused.stdout
