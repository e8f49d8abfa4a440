"""A cluster that is wrong, unreachable or lets us do too little is told by its cause, over a real connection."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.erp.platform.plugins.module_utils import kubernetes_preflight
from ansible_collections.erp.platform.plugins.module_utils.errors import PlatformError
from ansible_collections.erp.platform.plugins.module_utils.kubernetes_preflight import (
    Found,
    Permission,
    Wanted,
    check,
)
from kubernetes.client import Configuration


class ApiServer(ThreadingHTTPServer):
    """As much of an API server as preflight asks: version, who am I, may I."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.version = {"major": "1", "minor": "34+", "gitVersion": "v1.34.4-eks-1"}
        self.user = "deployer"
        self.status = 200
        self.denied: set[tuple[str, str]] = set()
        self.asked: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: ApiServer

    def do_GET(self) -> None:
        self.answer(self.server.version)

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if review["kind"] == "SelfSubjectReview":
            self.answer({"status": {"userInfo": {"username": self.server.user}}})
            return
        attributes = review["spec"]["resourceAttributes"]
        self.server.asked.append(attributes)
        allowed = (attributes["verb"], attributes["resource"]) not in self.server.denied
        self.answer({"status": {"allowed": allowed}})

    def answer(self, body: dict[str, Any]) -> None:
        if self.server.status != 200:
            body = {"kind": "Status", "message": "Unauthorized", "code": self.server.status}
        data = json.dumps(body).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(autouse=True)
def _first_connection_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    # The client keeps the last kubeconfig as the process' default; a module makes one connection and ends.
    monkeypatch.setattr(Configuration, "_default", None)


@pytest.fixture
def server() -> Iterator[ApiServer]:
    started = ApiServer()
    threading.Thread(target=started.serve_forever, kwargs={"poll_interval": 0.01}).start()
    yield started
    started.shutdown()
    started.server_close()


@contextmanager
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def kubeconfig(
    folder: Path, server: str, user: dict[str, Any] | None = None, cluster: dict[str, Any] | None = None
) -> str:
    file = folder / "kubeconfig"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server, **(cluster or {})}}],
        "users": [{"name": "u", "user": user or {"token": "hunter2"}}],
        "contexts": [{"name": "ours", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "ours",
    }
    file.write_text(yaml.safe_dump(content))
    return str(file)


def options(server: ApiServer) -> dict[str, Any]:
    return {"host": server.url, "api_key": "hunter2"}


def only_problem(found: Found) -> str:
    (problem,) = found.problems
    assert "hunter2" not in str(problem)
    return str(problem)


def test_a_cluster_that_lets_us_work_has_no_problems_and_tells_version_and_user(server):
    permissions = [
        Permission(("get", "create"), "deployments", "apps", "erp-dev"),
        Permission(("get",), "pods/log", "", "erp-dev"),
    ]
    found = check(options(server), {}, Wanted("1.30", "1.35", permissions))
    assert found == Found((), "v1.34.4-eks-1", server.url, "deployer")
    assert sorted(server.asked, key=str) == sorted(
        [
            {"verb": "get", "group": "apps", "resource": "deployments", "namespace": "erp-dev"},
            {"verb": "create", "group": "apps", "resource": "deployments", "namespace": "erp-dev"},
            {"verb": "get", "resource": "pods", "subresource": "log", "namespace": "erp-dev"},
        ],
        key=str,
    )


def test_the_api_answers_what_preflight_asks_by_name(server, tmp_path):
    server.denied = {("delete", "pods")}
    timeout_seconds = kubernetes_preflight.TIMEOUT_SECONDS
    authority = tmp_path / "ca.crt"
    authority.write_text("PEM\n")
    api = kubernetes_preflight.connect({**options(server), "ca_cert": str(authority)})
    assert api.version(timeout_seconds)["gitVersion"] == "v1.34.4-eks-1"
    assert api.may({"verb": "get", "resource": "pods"}, timeout_seconds)
    assert not api.may({"verb": "delete", "resource": "pods"}, timeout_seconds)
    assert api.certificate_authority() == b"PEM"


@pytest.mark.parametrize(
    ("minor", "words"), [("29", "too old"), ("30", None), ("34+", None), ("35", None), ("36+", "too new")]
)
def test_a_version_is_accepted_within_the_range_both_ends_included(server, minor, words):
    server.version |= {"minor": minor}
    found = check(options(server), {}, Wanted("1.30", "1.35"))
    if words is None:
        assert found.problems == ()
    else:
        assert f"is {words}: 1.30 to 1.35 are supported" in only_problem(found)


def test_all_missing_permissions_of_a_namespace_are_told_in_one_problem(server):
    server.denied = {("create", "deployments"), ("patch", "deployments"), ("list", "pods"), ("create", "namespaces")}
    permissions = [
        Permission(("create",), "namespaces"),
        Permission(("get", "create", "patch"), "deployments", "apps", "erp-dev"),
        Permission(("list",), "pods", "", "erp-dev"),
    ]
    cluster, namespace = check(options(server), {}, Wanted(permissions=permissions)).problems
    assert str(cluster).startswith("user deployer: lacks permissions in the cluster")
    assert namespace.evidence == "deployments.apps: create, patch\npods: list"
    assert "kubectl auth can-i create deployments.apps -n erp-dev" in namespace.next_command


def test_version_and_permissions_are_told_together(server):
    server.version |= {"minor": "20"}
    server.denied = {("get", "pods")}
    assert len(check(options(server), {}, Wanted("1.30", "1.35", [Permission(("get",), "pods")])).problems) == 2


def test_a_server_that_refuses_connections_is_told_at_once():
    started = time.monotonic()
    said = only_problem(check({"host": "http://127.0.0.1:9", "api_key": "hunter2"}, {}, Wanted()))
    assert "API server http://127.0.0.1:9: cannot be reached" in said
    assert time.monotonic() - started < 3


def test_a_server_that_never_answers_is_told_when_the_time_to_answer_is_over(monkeypatch):
    assert sum(kubernetes_preflight.TIMEOUT_SECONDS) <= 15
    monkeypatch.setattr(kubernetes_preflight, "TIMEOUT_SECONDS", (0.3, 0.3))
    with silent_port() as port:
        started = time.monotonic()
        said = only_problem(check({"host": f"http://127.0.0.1:{port}", "api_key": "hunter2"}, {}, Wanted()))
    assert "cannot be reached" in said
    assert time.monotonic() - started < 3


def test_a_host_that_does_not_resolve_is_told(tmp_path):
    said = only_problem(check({"kubeconfig": kubeconfig(tmp_path, "https://no-such-host.invalid")}, {}, Wanted()))
    assert "cannot be reached" in said


def test_a_certificate_of_another_authority_is_told_as_such(tmp_path, server):
    server.socket = tls_context(tmp_path).wrap_socket(server.socket, server_side=True)
    said = only_problem(check({"host": f"https://127.0.0.1:{server.server_port}", "api_key": "hunter2"}, {}, Wanted()))
    assert "its certificate is not accepted" in said


def tls_context(folder: Path) -> Any:
    files = [str(folder / name) for name in ("key.pem", "cert.pem")]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", files[0], "-out", files[1]]
    subprocess.run(
        [*command, "-subj", "/CN=api", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "1"],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files[1], files[0])
    return context


def test_an_expired_token_is_told_as_such(server):
    server.status = 401
    said = only_problem(check(options(server), {}, Wanted()))
    assert "does not accept the credentials: the token or certificate has expired" in said
    assert "401" in said


def test_a_credential_plugin_that_fails_is_quoted(tmp_path, server):
    server.status = 401
    failing = {
        "apiVersion": "client.authentication.k8s.io/v1beta1",
        "command": sys.executable,
        "args": ["-c", "import sys; sys.exit('the SSO session has expired')"],
    }
    config = kubeconfig(tmp_path, server.url, user={"exec": failing})
    assert "the SSO session has expired" in only_problem(check({"kubeconfig": config}, {}, Wanted()))


def test_an_anonymous_user_is_refused(server):
    server.user = "system:anonymous"
    assert "there are no credentials" in only_problem(check(options(server), {}, Wanted()))


def test_a_context_that_does_not_exist_is_told_with_those_that_do(tmp_path, server):
    config = kubeconfig(tmp_path, server.url)
    said = only_problem(check({"kubeconfig": config, "context": "theirs"}, {}, Wanted()))
    assert "theirs" in said
    assert "ours" in said


def test_a_kubeconfig_that_does_not_exist_is_told(tmp_path):
    assert str(tmp_path) in only_problem(check({"kubeconfig": str(tmp_path / "none")}, {}, Wanted()))


def test_another_cluster_than_eks_names_is_refused_before_anything_is_asked(server):
    said = only_problem(
        check(
            options(server),
            {},
            Wanted(endpoint="https://right.eks.amazonaws.com", permissions=[Permission(("get",), "pods")]),
        )
    )
    assert "is not the cluster that the inventory names" in said
    assert "EKS says https://right.eks.amazonaws.com" in said
    assert server.asked == []


def test_the_same_cluster_behind_a_tunnel_is_known_by_its_certificate_authority(tmp_path, server):
    server.socket = tls_context(tmp_path).wrap_socket(server.socket, server_side=True)
    authority = base64.b64encode((tmp_path / "cert.pem").read_bytes()).decode()
    tunnel = f"https://127.0.0.1:{server.server_port}"
    config = kubeconfig(tmp_path, tunnel, cluster={"certificate-authority-data": authority})
    wanted = Wanted(endpoint="https://right.eks.amazonaws.com", certificate_authority=authority)
    assert check({"kubeconfig": config}, {}, wanted).problems == ()
    other = Wanted(endpoint="https://right.eks.amazonaws.com", certificate_authority=base64.b64encode(b"x").decode())
    assert "is not the cluster" in only_problem(check({"kubeconfig": config}, {}, other))


@pytest.mark.parametrize(
    ("given", "environment", "refused"),
    [
        ({}, {"K8S_AUTH_HOST": "https://api.example.com", "K8S_AUTH_VERIFY_SSL": "False"}, True),
        ({}, {"K8S_AUTH_HOST": "https://127.0.0.1:6443", "K8S_AUTH_VERIFY_SSL": "False"}, False),
        ({}, {"K8S_AUTH_HOST": "https://api.example.com", "K8S_AUTH_VERIFY_SSL": "True"}, False),
        ({}, {"K8S_AUTH_HOST": "https://api.example.com"}, False),
        (
            {"validate_certs": False},
            {"K8S_AUTH_HOST": "https://api.example.com", "K8S_AUTH_VERIFY_SSL": "False"},
            False,
        ),
    ],
    ids=["as AWX sets it", "local server", "verified", "not set", "chosen in the inventory"],
)
def test_a_token_is_not_sent_to_a_server_whose_certificate_the_environment_leaves_unverified(
    given, environment, refused, monkeypatch
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    used: list[object] = []

    def connect(options: object) -> Any:
        used.append(options)
        raise PlatformError("far enough")

    monkeypatch.setattr(kubernetes_preflight, "connect", connect)
    said = only_problem(check(given, environment, Wanted()))
    assert ("its certificate would not be verified" in said) == refused
    assert bool(used) == (not refused)
