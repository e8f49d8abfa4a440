"""Which permissions preflight asks for: those of the platform, of what it installs, and of the X-Ray daemon."""

from __future__ import annotations

import pytest

from tests.unit.render import evaluate


@pytest.fixture(scope="module")
def permissions():
    def of(**variables):
        return {"preflight_namespace": "erp-dev", **variables}

    every = ["metrics_server", "external_secrets", "aws_load_balancer_controller"]
    rendered = evaluate(
        "preflight",
        "__preflight_permissions",
        {
            "platform": of(),
            "prerequisites": of(preflight_prerequisites=every),
            "elsewhere": of(preflight_prerequisites=["metrics_server"], metrics_server_namespace="metrics"),
            "xray": of(preflight_xray_namespace="aws-xray"),
        },
    )
    return {
        name: {
            (each.get("namespace", ""), f"{each['resource']}.{each.get('group', '')}".rstrip(".")): set(each["verbs"])
            for each in asked
        }
        for name, asked in rendered.items()
    }


def test_a_platform_alone_asks_for_its_namespace_only(permissions):
    assert {namespace for namespace, _resource in permissions["platform"]} == {"", "erp-dev"}
    assert [resource for namespace, resource in permissions["platform"] if not namespace] == ["namespaces"]


def test_the_charts_need_the_cluster_wide_objects_that_they_contain(permissions):
    added = {
        key: permissions["prerequisites"][key] for key in permissions["prerequisites"].keys() - permissions["platform"]
    }
    assert {resource for namespace, resource in added if not namespace} == {
        "apiservices.apiregistration.k8s.io",
        "clusterrolebindings.rbac.authorization.k8s.io",
        "clusterroles.rbac.authorization.k8s.io",
        "customresourcedefinitions.apiextensions.k8s.io",
        "ingressclasses.networking.k8s.io",
        "ingressclassparams.elbv2.k8s.aws",
        "mutatingwebhookconfigurations.admissionregistration.k8s.io",
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
    }
    for (namespace, _resource), verbs in added.items():
        assert namespace or {"create", "patch"} <= verbs


@pytest.mark.parametrize("namespace", ["kube-system", "external-secrets-system"])
def test_the_charts_need_the_objects_in_their_own_namespaces(permissions, namespace):
    asked = {resource: verbs for (place, resource), verbs in permissions["prerequisites"].items() if place == namespace}
    roles = {"roles.rbac.authorization.k8s.io", "rolebindings.rbac.authorization.k8s.io"}
    for resource in {"deployments.apps", "services", "serviceaccounts", "secrets"} | roles:
        assert {"get", "create", "patch"} <= asked[resource]


def test_a_prerequisite_in_another_namespace_is_asked_for_there(permissions):
    assert {namespace for namespace, _resource in permissions["elsewhere"]} == {"", "erp-dev", "metrics"}


def test_the_xray_daemon_is_asked_for_in_its_own_namespace(permissions):
    assert "create" in permissions["xray"]["aws-xray", "daemonsets.apps"]
    assert ("erp-dev", "daemonsets.apps") not in permissions["xray"]
