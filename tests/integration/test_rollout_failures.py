"""What a rollout says, and when, about objects that will not become ready."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.erp.platform.plugins.module_utils.connection import connect
from ansible_collections.erp.platform.plugins.module_utils.errors import PlatformError
from ansible_collections.erp.platform.plugins.module_utils.findings import FailFast
from ansible_collections.erp.platform.plugins.module_utils.progress import silent
from ansible_collections.erp.platform.plugins.module_utils.rollout import Options, RolloutFailed, roll_out

from .conftest import Sandbox
from .manifests import Manifest, config_map, deployment, from_config_map

Fail = Callable[..., RolloutFailed]


@pytest.fixture
def failing(sandbox: Sandbox) -> Fail:
    """Roll out what must fail; returns the failure."""

    def run(*manifests: Manifest, nodes: list[dict[str, Any]] | None = None, **options: Any) -> RolloutFailed:
        api = connect({"kubeconfig": sandbox.env["KUBECONFIG"]})
        described = nodes if nodes is not None else [{"name": "all", "manifests": list(manifests)}]
        with pytest.raises(RolloutFailed) as failed:
            roll_out(api, Options(nodes=described, **{"timeout_seconds": 30.0, **options}), silent)
        return failed.value

    return run


@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        ("ErrImagePull-not-found", "the image does not exist in the registry"),
        ("CrashLoopBackOff", "the container crashes again and again"),
        ("CreateContainerConfigError", "a ConfigMap or Secret that the container uses, or a key of it, does not exist"),
        ("OOMKilled", "the container is killed for using more memory than its limit"),
    ],
)
def test_pods_that_cannot_run_end_it_long_before_the_deadline(
    failing: Fail, namespace: str, failure: str, cause: str
) -> None:
    start = time.monotonic()
    error = failing(deployment(namespace, failure=failure), timeout_seconds=50.0)
    assert time.monotonic() - start < 40
    (only,) = error.failures()
    assert only.object == f"Deployment {namespace}/web"
    assert cause in only.cause
    assert "pod web-" in only.evidence
    assert only.next_command


def test_an_image_that_may_still_be_pulled_gets_its_grace(failing: Fail, namespace: str) -> None:
    start = time.monotonic()
    error = failing(deployment(namespace, failure="ImagePullBackOff"), fail_fast=FailFast(image_pull_seconds=4.0))
    assert 4 <= time.monotonic() - start < 15
    assert "the image cannot be pulled" in str(error)


def test_at_the_deadline_it_says_what_the_pods_are_doing(failing: Fail, namespace: str) -> None:
    error = failing(deployment(namespace, failure="never-ready"), timeout_seconds=3.0)
    (only,) = error.failures()
    assert only.cause.startswith("not ready after 3 s")
    assert "0/1 ready" in only.evidence
    assert "containers with unready status: [web]" in only.evidence
    assert f"kubectl -n {namespace} logs web-" in only.next_command


def test_a_pod_that_no_node_can_take_is_told_from_one_that_waits_for_an_autoscaler(
    failing: Fail, namespace: str
) -> None:
    wants_too_much = deployment(namespace)
    container = wants_too_much["spec"]["template"]["spec"]["containers"][0]
    container["resources"] = {"requests": {"cpu": "1000"}}
    hopeless = failing(wants_too_much, fail_fast=FailFast(unschedulable_seconds=1.0))
    waiting = failing(wants_too_much, fail_fast=FailFast(unschedulable_seconds=None), timeout_seconds=3.0)
    assert hopeless.failures()[0].cause.startswith("no node can take the pod")
    assert "Insufficient cpu" in hopeless.failures()[0].evidence
    assert waiting.failures()[0].cause.startswith("not ready after 3 s: no node can take the pod")


def test_a_quota_that_is_used_up_is_found_at_once(failing: Fail, namespace: str) -> None:
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none", "namespace": namespace},
        "spec": {"hard": {"pods": "0"}},
    }
    error = failing(quota, deployment(namespace))
    assert "quota is used up" in error.failures()[0].cause
    assert "exceeded quota: none" in error.failures()[0].evidence


def test_a_job_that_failed_is_a_failure(failing: Fail, namespace: str) -> None:
    metadata = {"annotations": {"sandbox.erp.platform/failure": "error", "sandbox.erp.platform/start-seconds": "0.1"}}
    containers = [{"name": "migrate", "image": "registry.example/migrate:1"}]
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "migrate", "namespace": namespace},
        "spec": {
            "backoffLimit": 0,
            "template": {"metadata": metadata, "spec": {"restartPolicy": "Never", "containers": containers}},
        },
    }
    error = failing(job)
    assert error.failures()[0].cause.startswith("the Job failed: its pods failed too often")


def test_all_failures_come_in_one_message_and_dependents_are_not_started(failing: Fail, namespace: str) -> None:
    error = failing(
        nodes=[
            {"name": "a", "manifests": [deployment(namespace, "a", failure="ErrImagePull-not-found")]},
            {"name": "b", "manifests": [deployment(namespace, "b", failure="ErrImagePull-not-found")]},
            {"name": "c", "manifests": [config_map(namespace, "c")], "depends_on": ["a"]},
        ]
    )
    assert [failure.object for failure in error.failures()[:2]] == [
        f"Deployment {namespace}/a",
        f"Deployment {namespace}/b",
    ]
    assert "node c: not started" in str(error)
    result = error.as_result()
    assert result["msg"] == str(error)
    assert {node["name"]: node["status"] for node in result["nodes"]} == {
        "a": "failed",
        "b": "failed",
        "c": "not started",
    }


def test_a_failed_rollout_goes_on_when_it_is_run_again(failing: Fail, sandbox: Sandbox, namespace: str) -> None:
    failing(deployment(namespace, failure="ErrImagePull-not-found"))
    api = connect({"kubeconfig": sandbox.env["KUBECONFIG"]})
    repaired = [{"name": "all", "manifests": [deployment(namespace)]}]
    result = roll_out(api, Options(nodes=repaired, timeout_seconds=30.0), silent)
    assert result["objects"][0]["status"] == "Current"


def test_a_node_has_a_deadline_of_its_own(failing: Fail, namespace: str) -> None:
    start = time.monotonic()
    failing(
        nodes=[
            {"name": "slow", "manifests": [deployment(namespace, failure="never-ready")], "timeout_seconds": 2},
        ]
    )
    assert time.monotonic() - start < 10


def test_a_namespace_that_does_not_exist_is_said_to_be_missing(failing: Fail) -> None:
    error = failing(config_map("no-such-namespace"))
    assert error.failures()[0].cause == "namespace no-such-namespace does not exist"


def test_a_user_who_may_not_is_told_what_is_missing(sandbox: Sandbox, namespace: str) -> None:
    api = connect({"kubeconfig": sandbox.env["KUBECONFIG"], "impersonate_user": "mallory"})
    nodes = [{"name": "all", "manifests": [config_map(namespace)]}]
    with pytest.raises(PlatformError) as refused:
        roll_out(api, Options(nodes=nodes, timeout_seconds=10.0), silent)
    assert f"mallory may not get configmaps in namespace {namespace}" in str(refused.value)


def test_secret_values_are_in_no_message(failing: Fail, namespace: str) -> None:
    wrong = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "namespace": namespace},
        "stringData": {"password": "do-not-print-me"},
        "type": "kubernetes.io/tls",
    }
    error = failing(wrong, deployment(namespace, env=[from_config_map("x", "y")]))
    assert "do-not-print-me" not in json.dumps(error.as_result())


def test_nodes_in_progress_are_finished_when_asked_for_and_nothing_new_is_started(
    failing: Fail, namespace: str
) -> None:
    slow = deployment(namespace, "slow")
    slow["spec"]["template"]["metadata"]["annotations"]["sandbox.erp.platform/start-seconds"] = "3"
    nodes = [
        {"name": "broken", "manifests": [deployment(namespace, "broken", failure="ErrImagePull-not-found")]},
        {"name": "slow", "manifests": [slow]},
        {"name": "after-slow", "manifests": [config_map(namespace, "after-slow")], "depends_on": ["slow"]},
        {"name": "after-broken", "manifests": [config_map(namespace, "after-broken")], "depends_on": ["broken"]},
    ]
    finished = failing(nodes=nodes, on_failure="finish").as_result()
    assert {node["name"]: node["status"] for node in finished["nodes"]} == {
        "broken": "failed",
        "slow": "ready",
        "after-slow": "not started",
        "after-broken": "not started",
    }


def test_nodes_in_progress_are_abandoned_by_default(failing: Fail, namespace: str) -> None:
    nodes = [
        {"name": "broken", "manifests": [deployment(namespace, "broken", failure="ErrImagePull-not-found")]},
        {"name": "slow", "manifests": [deployment(namespace, "slow", failure="never-ready")]},
    ]
    start = time.monotonic()
    abandoned = failing(nodes=nodes).as_result()
    assert time.monotonic() - start < 15
    assert {node["name"]: node["status"] for node in abandoned["nodes"]} == {"broken": "failed", "slow": "interrupted"}
