"""What the readiness gate waits for on a real API server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.erp.platform.plugins.module_utils.connection import connect
from ansible_collections.erp.platform.plugins.module_utils.readiness import NotReady, Options, wait_until_ready

from .conftest import Sandbox
from .manifests import Manifest, config_map, deployment

Wait = Callable[..., dict[str, Any]]


@pytest.fixture
def wait(sandbox: Sandbox) -> Wait:
    api = connect({"kubeconfig": sandbox.env["KUBECONFIG"]})

    def run(*objects: dict[str, Any], **options: Any) -> dict[str, Any]:
        return wait_until_ready(
            api, Options(objects=objects, **{"timeout_seconds": 20.0, **options}), lambda line: None
        )

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


def test_it_ends_early_with_the_cause(sandbox: Sandbox, wait: Wait, namespace: str) -> None:
    create(sandbox, deployment(namespace, failure="ErrImagePull-not-found"))
    start = time.monotonic()
    with pytest.raises(NotReady) as not_ready:
        wait({"api_version": "apps/v1", "kind": "Deployment", "namespace": namespace, "name": "web"})
    assert time.monotonic() - start < 10
    assert not_ready.value.failures()[0].cause == "the image does not exist in the registry"
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
        wait_until_ready(api, Options(objects=objects, timeout_seconds=10.0), lambda line: None)
    assert f"mallory may not list configmaps in namespace {namespace}" in str(refused.value)
