"""The manifests of the namespace and what is shared in it, as the role renders them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import yaml

from tests.unit.render import nulls, one, render

ROLE_ARN = "arn:aws:iam::806332783810:role/erp-dev-external-secrets"
DEV = {
    "namespace_base_namespace": "erp-dev",
    "namespace_base_config": {
        "erp-config": {"KAFKA_BOOTSTRAP_SERVERS": "kafka-service:9092", "NO": 8081, "DEBUG": False}
    },
    "namespace_base_service_accounts": {"external-secrets-reader": {"role_arn": ROLE_ARN}},
}
SECRETS = {
    "namespace_base_secret_stores": {
        "aws-secretsmanager": {"aws": {"region": "ap-northeast-2", "service_account": "external-secrets-reader"}}
    },
    "namespace_base_external_secrets": {
        "mysql-secret": {
            "store": "aws-secretsmanager",
            "data": {key: {"key": "erp/dev/mysql", "property": key} for key in ("username", "password")},
        }
    },
}
ROLES = {
    "namespace_base_roles": {
        "viewer": {
            "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
            "subjects": [
                {"kind": "ServiceAccount", "name": "external-secrets-reader"},
                {"kind": "Group", "name": "devs"},
            ],
        }
    }
}
MISTAKES = {
    "namespace_base_config": {"erp-config": "KAFKA"},
    "namespace_base_service_accounts": {"reader": {"role": ROLE_ARN}},
    "namespace_base_roles": {"viewer": {"rules": []}},
    "namespace_base_secret_stores": {
        "aws": {"aws": {"region": "ap-northeast-2", "service_account": "raeder"}},
        "vault": {},
    },
    "namespace_base_external_secrets": {
        "mysql-secret": {"store": "asw", "data": {"username": {"name": "erp/dev/mysql"}}, "refresh": "1h"},
        "empty": {"store": "aws"},
    },
}


@contextmanager
def api_server(*versions: str) -> Iterator[str]:
    """An API server that serves these versions of external-secrets.io and no object of it; yields its address."""
    group_versions = [{"groupVersion": f"external-secrets.io/{version}", "version": version} for version in versions]
    group = {
        "name": "external-secrets.io",
        "versions": group_versions,
        "preferredVersion": (group_versions or [None])[0],
    }
    kinds = [
        {"name": f"{kind.lower()}s", "singularName": "", "namespaced": True, "kind": kind, "verbs": ["get", "list"]}
        for kind in ("ExternalSecret", "SecretStore")
    ]
    answers = {
        "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.4"},
        "/api": {"kind": "APIVersions", "versions": ["v1"]},
        "/api/v1": {"kind": "APIResourceList", "groupVersion": "v1", "resources": []},
        "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group] if versions else []},
    }
    for served in group_versions:
        answers[f"/apis/{served['groupVersion']}"] = {"kind": "APIResourceList", **served, "resources": kinds}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path.split("?")[0])
            self.send_response(200 if answer else 404)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(answer or {"kind": "Status", "status": "Failure", "code": 404}).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def kubeconfig_of(address: str) -> dict[str, object]:
    return {
        "clusters": [{"name": "fake", "cluster": {"server": address}}],
        "users": [{"name": "fake", "user": {}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
        "current-context": "fake",
    }


@pytest.fixture(scope="module")
def rendered_against(tmp_path_factory):
    """What the role renders against clusters, by the versions of the External Secrets API that each serves."""
    folder = tmp_path_factory.mktemp("clusters")
    scenarios = {}
    with ExitStack() as servers:
        for number, versions in enumerate(("v1", "v1,v1beta1", "v1beta1", "")):
            kubeconfig = folder / f"kubeconfig-{number}"
            address = servers.enter_context(api_server(*filter(None, versions.split(","))))
            kubeconfig.write_text(yaml.safe_dump(kubeconfig_of(address)))
            scenarios[f"cluster{number}"] = {**DEV, **SECRETS, "kubeconfig": str(kubeconfig), "versions": versions}
        rendered = render(
            "namespace_base", scenarios, {"group/kubernetes.core.k8s": {"kubeconfig": "{{ kubeconfig }}"}}
        )
    return {variables["versions"]: rendered[name] for name, variables in scenarios.items()}


@pytest.fixture(scope="module")
def rendered():
    return render(
        "namespace_base",
        {
            "dev": {**DEV, **ROLES},
            "baseline": {
                **DEV,
                "namespace_base_pod_security": "baseline",
                "namespace_base_pod_readiness_gate": False,
                "namespace_base_labels": {"team": "erp"},
            },
            "mistakes": {"namespace_base_namespace": "erp-dev", **MISTAKES},
        },
    )


def test_the_namespace_enforces_the_restricted_standard_and_has_readiness_gates_injected(rendered):
    (namespace,) = rendered["dev"]["namespace_manifests"]
    labels = namespace["metadata"]["labels"]
    assert {labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "warn", "audit")} == {"restricted"}
    assert labels["elbv2.k8s.aws/pod-readiness-gate-inject"] == "enabled"


def test_pod_security_readiness_gate_and_labels_are_settings(rendered):
    (namespace,) = rendered["baseline"]["namespace_manifests"]
    labels = namespace["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "baseline"
    assert labels["team"] == "erp"
    assert "elbv2.k8s.aws/pod-readiness-gate-inject" not in labels


def test_configuration_keeps_its_keys_and_has_text_values(rendered):
    assert one(rendered["dev"]["manifests"], "ConfigMap", "erp-config")["data"] == {
        "KAFKA_BOOTSTRAP_SERVERS": "kafka-service:9092",
        "NO": "8081",
        "DEBUG": "false",
    }


def test_everything_is_denied_but_dns(rendered):
    manifests = rendered["dev"]["manifests"]
    deny = one(manifests, "NetworkPolicy", "default-deny")["spec"]
    dns = one(manifests, "NetworkPolicy", "allow-dns")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    (rule,) = dns["egress"]
    assert rule["to"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}]
    assert rule["ports"] == [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]


def test_a_service_account_has_its_role_and_no_token(rendered):
    account = one(rendered["dev"]["manifests"], "ServiceAccount", "external-secrets-reader")
    assert account["metadata"]["annotations"] == {"eks.amazonaws.com/role-arn": ROLE_ARN}
    assert account["automountServiceAccountToken"] is False


def test_a_role_is_bound_to_its_subjects(rendered):
    manifests = rendered["dev"]["manifests"]
    assert one(manifests, "Role", "viewer")["rules"] == ROLES["namespace_base_roles"]["viewer"]["rules"]
    assert one(manifests, "RoleBinding", "viewer")["subjects"] == [
        {"kind": "ServiceAccount", "name": "external-secrets-reader", "namespace": "erp-dev"},
        {"kind": "Group", "name": "devs", "apiGroup": "rbac.authorization.k8s.io"},
    ]


@pytest.mark.parametrize(("served", "used"), [("v1", "v1"), ("v1,v1beta1", "v1"), ("v1beta1", "v1beta1"), ("", "v1")])
def test_secrets_use_the_served_version_and_v1_where_none_is_served_yet(rendered_against, served, used):
    manifests = rendered_against[served]["manifests"]
    store = one(manifests, "SecretStore", "aws-secretsmanager")
    secret = one(manifests, "ExternalSecret", "mysql-secret")
    assert {store["apiVersion"], secret["apiVersion"]} == {f"external-secrets.io/{used}"}
    assert store["spec"]["provider"]["aws"] == {
        "service": "SecretsManager",
        "region": "ap-northeast-2",
        "auth": {"jwt": {"serviceAccountRef": {"name": "external-secrets-reader"}}},
    }
    assert secret["spec"]["secretStoreRef"] == {"kind": "SecretStore", "name": "aws-secretsmanager"}
    assert secret["spec"]["target"]["name"] == "mysql-secret"
    assert secret["spec"]["refreshInterval"] == "1h"
    assert secret["spec"]["data"] == [
        {"secretKey": key, "remoteRef": {"key": "erp/dev/mysql", "property": key}} for key in ("username", "password")
    ]
    assert list(nulls(manifests)) == []


@pytest.mark.parametrize(
    "problem",
    [
        "namespace_base_config.erp-config:",
        "namespace_base_service_accounts.reader: role is unknown",
        "namespace_base_roles.viewer: has rules",
        "namespace_base_secret_stores.aws.aws.service_account: raeder is unknown",
        "namespace_base_secret_stores.vault:",
        "namespace_base_external_secrets.mysql-secret: refresh is unknown",
        "namespace_base_external_secrets.mysql-secret.store: asw is unknown; allowed are the names in",
        "namespace_base_secret_stores: aws, vault",
        "namespace_base_external_secrets.mysql-secret.data.username:",
        "namespace_base_external_secrets.empty.data: is empty",
    ],
)
def test_every_mistake_is_told_in_one_message(rendered, problem):
    assert problem in rendered["mistakes"]["refused"]


def test_no_field_is_null(rendered):
    assert list(nulls(rendered["dev"])) == []
