"""What the readiness gate waits for on a real API server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.erp.platform.plugins.module_utils.connection import connect
from ansible_collections.erp.platform.plugins.module_utils.errors import PlatformError
from ansible_collections.erp.platform.plugins.module_utils.progress import silent
from ansible_collections.erp.platform.plugins.module_utils.readiness import NotReady, Options, wait_until_ready

from .conftest import Sandbox
from .manifests import Manifest, config_map, deployment

Wait = Callable[..., dict[str, Any]]


@pytest.fixture
def wait(sandbox: Sandbox) -> Wait:
    api = connect({"kubeconfig": sandbox.env["KUBECONFIG"]})

    def run(*objects: dict[str, Any], **options: Any) -> dict[str, Any]:
        return wait_until_ready(api, Options(objects=objects, **{"timeout_seconds": 20.0, **options}), silent)

    return run


def create(sandbox: Sandbox, manifest: Manifest) -> None:
    sandbox.kubectl("apply", "-f", "-", stdin=json.dumps(manifest))


def test_it_returns_when_the_deployment_is_ready(sandbox: Sandbox, wait: Wait, namespace: str) -> None:
    create(sandbox, deployment(namespace, replicas=2))
    result = wait({"api_version": "apps/v1", "kind": "Deployment", "namespace": namespace, "name": "web"})
    assert result["ready"]
    assert result["objects"][0]["message"] == "2/2 ready"


def test_it_waits_for_what_does_not_exist_yet(sandbox: Sandbox, wait: Wait, namespace: str) -> None:
    later = threading.Timer(1.0, create, [sandbox, config_map(namespace, "later")])
    later.start()
    result = wait({"kind": "ConfigMap", "namespace": namespace, "name": "later"})
    later.join()
    assert result["ready"]
    assert result["objects"][0]["ready_after_seconds"] >= 0.9


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"kind": "ConfigMap", "name": "absent"}, "does not exist"),
        ({"kind": "Pod", "label_selector": "app=absent"}, "the selector matches nothing"),
        ({"api_version": "example.com/v1", "kind": "Widget", "name": "w"}, "does not serve Widget"),
        ({"kind": "Service", "name": "kubernetes", "min_ready_endpoints": 7}, "ready endpoints"),
    ],
)
def test_what_is_absent_is_a_failure(wait: Wait, namespace: str, entry: dict[str, Any], said: str) -> None:
    with pytest.raises(NotReady) as not_ready:
        wait({"namespace": namespace, **entry}, timeout_seconds=1.0)
    assert said in str(not_ready.value)


def test_a_selector_waits_for_the_expected_number(sandbox: Sandbox, wait: Wait, namespace: str) -> None:
    create(sandbox, deployment(namespace, replicas=3))
    entry = {"kind": "Pod", "namespace": namespace, "label_selector": "app in (web)", "expected_count": 3}
    assert wait(entry)["objects"][0]["message"] == "3/3 ready"


def test_a_service_is_ready_when_enough_of_its_endpoints_are(sandbox: Sandbox, wait: Wait, namespace: str) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": namespace},
        "spec": {"selector": {"app": "web"}, "ports": [{"port": 80}]},
    }
    create(sandbox, service)
    create(sandbox, deployment(namespace, replicas=2))
    result = wait({"kind": "Service", "namespace": namespace, "name": "web", "min_ready_endpoints": 2})
    assert result["objects"][0]["message"] == "2/2 ready endpoints"


def test_a_named_condition_decides_instead_of_the_kinds_own_rule(sandbox: Sandbox, wait: Wait, namespace: str) -> None:
    create(sandbox, deployment(namespace, failure="never-ready"))
    entry = {"api_version": "apps/v1", "kind": "Deployment", "namespace": namespace, "name": "web"}
    result = wait({**entry, "condition": {"type": "Progressing", "status": "True", "reason": "ReplicaSetUpdated"}})
    assert result["objects"][0]["status"] == "Current"
    with pytest.raises(NotReady) as not_ready:
        wait({**entry, "condition": {"type": "Available"}}, timeout_seconds=1.0)
    assert "condition Available is False" in str(not_ready.value)


def test_an_expression_decides_whether_an_object_is_ready(sandbox: Sandbox, wait: Wait, namespace: str) -> None:
    create(sandbox, config_map(namespace, "flag", state="starting"))
    changed = config_map(namespace, "flag", state="running")
    later = threading.Timer(1.0, create, [sandbox, changed])
    later.start()
    result = wait(
        {"kind": "ConfigMap", "namespace": namespace, "name": "flag", "ready_when": "data.state == 'running'"}
    )
    later.join()
    assert result["objects"][0]["ready_after_seconds"] >= 0.9


def test_each_object_may_have_a_deadline_of_its_own(sandbox: Sandbox, wait: Wait, namespace: str) -> None:
    create(sandbox, config_map(namespace, "there"))
    start = time.monotonic()
    with pytest.raises(NotReady) as not_ready:
        wait(
            {"kind": "ConfigMap", "namespace": namespace, "name": "there"},
            {"kind": "ConfigMap", "namespace": namespace, "name": "absent", "timeout_seconds": 1},
            timeout_seconds=40.0,
        )
    assert time.monotonic() - start < 5
    assert [failure.object for failure in not_ready.value.failures()] == [f"ConfigMap {namespace}/absent"]
    assert [entry["status"] for entry in not_ready.value.as_result()["objects"]] == ["Current", "NotFound"]


def test_a_list_of_manifests_is_waited_for_as_a_whole(sandbox: Sandbox, wait: Wait, namespace: str) -> None:
    manifests = [config_map(namespace), deployment(namespace, replicas=2)]
    for manifest in manifests:
        create(sandbox, manifest)
    result = wait(manifests=manifests)
    assert [(entry["kind"], entry["status"]) for entry in result["objects"]] == [
        ("ConfigMap", "Current"),
        ("Deployment", "Current"),
    ]


def test_the_objects_of_a_helm_release_are_waited_for(
    sandbox: Sandbox, wait: Wait, namespace: str, tmp_path: Path
) -> None:
    chart = tmp_path / "chart"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("{apiVersion: v2, name: web, version: 0.1.0}")
    in_release_namespace = deployment(namespace, replicas=2)
    del in_release_namespace["metadata"]["namespace"]  # as charts do: Helm says where
    (chart / "templates" / "web.yaml").write_text(json.dumps(in_release_namespace))
    sandbox.helm("install", "web", str(chart), "--namespace", namespace)
    result = wait(helm_releases=[{"namespace": namespace, "name": "web"}])
    assert [(entry["kind"], entry["name"], entry["message"]) for entry in result["objects"]] == [
        ("Deployment", "web", "2/2 ready")
    ]
    with pytest.raises(PlatformError, match="the release does not exist"):
        wait(helm_releases=[{"namespace": namespace, "name": "other"}])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"objects": [{"kind": "Pod", "namespace": "x"}]}, "needs either name or label_selector"),
        (
            {"objects": [{"kind": "Pod", "namespace": "x", "name": "a", "expected_count": 2}]},
            "expected_count is for a label_selector",
        ),
        (
            {"objects": [{"kind": "Pod", "namespace": "x", "name": "a", "min_ready_endpoints": 2}]},
            "min_ready_endpoints is for a Service by name",
        ),
        ({"manifests": [{"apiVersion": "v1", "metadata": {"name": "a"}}]}, "manifests[0]: lacks kind"),
        ({"manifests": [{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}]}, "lacks metadata.namespace"),
        ({}, "there is nothing to wait for"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_waiting(wait: Wait, options: dict[str, Any], said: str) -> None:
    with pytest.raises(PlatformError) as refused:
        wait(*options.get("objects", []), manifests=options.get("manifests", []))
    assert said in str(refused.value)


def test_a_ready_object_that_falters_starts_the_stable_time_anew(sandbox: Sandbox, wait: Wait, namespace: str) -> None:
    create(sandbox, config_map(namespace, "flag", up="yes"))
    up_again_at: list[float] = []

    def falter() -> None:
        create(sandbox, config_map(namespace, "flag", up="no"))
        up_again_at.append(time.monotonic())
        create(sandbox, config_map(namespace, "flag", up="yes"))

    later = threading.Timer(1.0, falter)
    later.start()
    entry = {"kind": "ConfigMap", "namespace": namespace, "name": "flag", "ready_when": "data.up == 'yes'"}
    assert wait(entry, stable_seconds=4.0)["ready"]
    ended_at = time.monotonic()
    later.join()
    assert ended_at - up_again_at[0] >= 4.0


def test_it_ends_early_with_the_cause(sandbox: Sandbox, wait: Wait, namespace: str) -> None:
    create(sandbox, deployment(namespace, failure="ErrImagePull-not-found"))
    start = time.monotonic()
    with pytest.raises(NotReady) as not_ready:
        wait({"api_version": "apps/v1", "kind": "Deployment", "namespace": namespace, "name": "web"})
    assert time.monotonic() - start < 10
    assert not_ready.value.failures()[0].cause.startswith("the image does not exist in the registry")
    assert not_ready.value.as_result()["ready"] is False


def test_stable_means_ready_without_a_break(sandbox: Sandbox, wait: Wait, namespace: str) -> None:
    create(sandbox, config_map(namespace, "settings"))
    start = time.monotonic()
    assert wait({"kind": "ConfigMap", "namespace": namespace, "name": "settings"}, stable_seconds=2.0)["ready"]
    assert 2 <= time.monotonic() - start < 4


def test_check_mode_reports_and_neither_waits_nor_fails(wait: Wait, namespace: str) -> None:
    start = time.monotonic()
    result = wait({"kind": "ConfigMap", "namespace": namespace, "name": "absent"}, check_mode=True)
    assert time.monotonic() - start < 3
    assert result["ready"] is False
    assert result["objects"][0]["status"] == "NotFound"


def test_a_watch_that_the_user_is_not_allowed_names_the_missing_right(sandbox: Sandbox, namespace: str) -> None:
    api = connect({"kubeconfig": sandbox.env["KUBECONFIG"], "impersonate_user": "mallory"})
    objects = [{"kind": "ConfigMap", "namespace": namespace, "name": "x"}]
    with pytest.raises(NotReady) as refused:
        wait_until_ready(api, Options(objects=objects, timeout_seconds=10.0), silent)
    assert f"mallory may not list configmaps in namespace {namespace}" in str(refused.value)
