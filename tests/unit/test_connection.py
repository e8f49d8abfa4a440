"""Connections that lead nowhere say so, in seconds; credentials that expire are renewed."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.erp.platform.plugins.module_utils import connection
from ansible_collections.erp.platform.plugins.module_utils.api import ApiError, ConnectionFailed, ResourceType
from ansible_collections.erp.platform.plugins.module_utils.connection import connect
from ansible_collections.erp.platform.plugins.module_utils.errors import PlatformError


def kubeconfig(server: str, **user: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "erp-dev", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "erp-dev",
    }


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBECONFIG", "K8S_AUTH_KUBECONFIG", "K8S_AUTH_CONTEXT"):
        monkeypatch.delenv(name, raising=False)


@contextmanager
def serving(status: int, body: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """An API server that always gives this answer; the second value collects the Authorization headers."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization", ""))
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    server.server_close()


def test_a_context_that_does_not_exist_lists_those_that_do(tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(kubeconfig("http://127.0.0.1:1")))
    for given in (str(path), kubeconfig("http://127.0.0.1:1")):
        with pytest.raises(PlatformError, match="no context prod") as refused:
            connect({"kubeconfig": given, "context": "prod"})
        assert refused.value.evidence == "contexts that exist: erp-dev"


def test_a_kubeconfig_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(PlatformError) as refused:
        connect({"kubeconfig": str(tmp_path / "missing")})
    assert str(tmp_path / "missing") in str(refused.value)


def test_a_dead_server_is_noticed_in_seconds() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{unused.getsockname()[1]}"
    start = time.monotonic()
    with pytest.raises(PlatformError, match="cannot be reached") as refused:
        connect({"kubeconfig": kubeconfig(host)}).check()
    assert time.monotonic() - start < 3
    assert host in refused.value.object


def test_a_server_that_accepts_and_never_answers_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible_collections.erp.platform.plugins.module_utils.api.CHECK_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        api = connect({"kubeconfig": kubeconfig(f"http://127.0.0.1:{silent.getsockname()[1]}")})
        start = time.monotonic()
        with pytest.raises(PlatformError, match="cannot be reached"):
            api.check()
    assert time.monotonic() - start < 3


def test_an_expired_token_is_said_to_be_expired() -> None:
    with serving(401, {"kind": "Status", "message": "Unauthorized"}) as (host, _seen):
        api = connect({"kubeconfig": kubeconfig(host, token="expired")})
        with pytest.raises(PlatformError, match="expired"):
            api.check()


def test_options_win_over_the_environment_and_the_environment_over_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(200, {}) as (host, seen):
        monkeypatch.setenv("K8S_AUTH_HOST", host)
        monkeypatch.setenv("K8S_AUTH_API_KEY", "from-environment")
        connect({}).check()
        connect({"api_key": "from-option"}).check()
    assert seen == ["Bearer from-environment", "Bearer from-option"]


def test_the_kubeconfig_of_the_environment_is_the_one_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("first", "second"):
        path = tmp_path / name
        path.write_text(json.dumps(kubeconfig(f"http://{name}.example")))
        monkeypatch.setenv("KUBECONFIG", str(path))
        assert connect({}).host == f"http://{name}.example"


def test_two_connections_in_one_process_do_not_mix() -> None:
    with serving(200, {}) as (one, seen_by_one), serving(200, {}) as (other, seen_by_other):
        apis = [connect({"kubeconfig": kubeconfig(host, token=host)}) for host in (one, other)]
        for api in apis:
            api.check()
    assert seen_by_one == [f"Bearer {one}"]
    assert seen_by_other == [f"Bearer {other}"]


PODS = ResourceType("v1", "Pod", "pods", True)


@contextmanager
def accepting(tokens: set[str]) -> Iterator[tuple[str, list[str]]]:
    """An API server that accepts these tokens, as they are at the time; the second value collects those it refused."""
    refused: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        def do_PATCH(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._answer()

        def _answer(self) -> None:
            token = self.headers.get("Authorization", " ").split(" ")[1]
            status = 200 if token in tokens else 401
            if status == 401:
                refused.append(token)
            content = json.dumps({"message": "Unauthorized", "query": self.path}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", refused
    server.shutdown()
    server.server_close()


class Plugin:
    """An exec credential plugin: gives what is in a file, and counts how often it runs."""

    def __init__(self, folder: Path) -> None:
        self._credential, self._runs, self._script = folder / "credential", folder / "runs", folder / "plugin"
        self._script.write_text(
            f"""#!/bin/sh
echo run >> '{self._runs}'
test -s '{self._credential}' || {{ echo 'the session has expired: log in' >&2; exit 3; }}
cat '{self._credential}'
"""
        )
        self._script.chmod(0o700)

    def gives(self, token: str) -> None:
        # The client would run it before each request if it believed this time.
        status = {"token": token, "expirationTimestamp": "2020-01-01T00:00:00Z"}
        credential = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
        self._credential.write_text(json.dumps(credential))

    def fails(self) -> None:
        self._credential.unlink()

    @property
    def runs(self) -> int:
        return len(self._runs.read_text().splitlines())

    @property
    def user(self) -> dict[str, Any]:
        version = "client.authentication.k8s.io/v1"
        return {"exec": {"apiVersion": version, "command": str(self._script), "interactiveMode": "Never"}}


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    return Plugin(tmp_path)


def test_a_plugin_runs_again_when_its_credentials_are_refused_and_not_before(plugin: Plugin) -> None:
    tokens = {"old"}
    plugin.gives("old")
    with accepting(tokens) as (host, refused):
        api = connect({"kubeconfig": kubeconfig(host, **plugin.user)})
        api.list(PODS)
        api.list(PODS)
        assert plugin.runs == 1
        tokens.clear()
        tokens.add("new")
        plugin.gives("new")
        api.list(PODS)
        api.list(PODS)
    assert plugin.runs == 2
    assert refused == ["old"]


def test_many_requests_that_are_refused_together_renew_the_credentials_once(plugin: Plugin) -> None:
    plugin.gives("old")
    with accepting({"new"}) as (host, refused), ThreadPoolExecutor(8) as threads:
        api = connect({"kubeconfig": kubeconfig(host, **plugin.user)})
        plugin.gives("new")
        assert len(list(threads.map(lambda _number: api.list(PODS), range(20)))) == 20
    assert plugin.runs == 2
    assert set(refused) == {"old"}


def test_a_write_that_is_refused_is_sent_again_as_it_was(plugin: Plugin) -> None:
    plugin.gives("old")
    with accepting({"new"}) as (host, _refused):
        api = connect({"kubeconfig": kubeconfig(host, **plugin.user)})
        plugin.gives("new")
        manifest = {"metadata": {"name": "a", "namespace": "erp"}}
        answer = api.apply(manifest, PODS, field_manager="me", force=False, dry_run=False)
    assert answer["query"].count("fieldManager=me") == 1
    assert answer["query"].count("fieldValidation=Strict") == 1


def test_credentials_that_stay_refused_are_said_to_be_refused_with_what_the_plugin_said(
    plugin: Plugin, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin.gives("old")
    with accepting(set()) as (host, _refused):
        api = connect({"kubeconfig": kubeconfig(host, **plugin.user)})
        plugin.fails()
        for _again in range(3):
            with pytest.raises(ApiError) as refused:
                api.list(PODS)
        assert plugin.runs == 2, "a plugin that failed a moment ago is not run again at once"
        said = str(api.explained(refused.value))
        assert "does not accept the credentials" in said
        assert "the session has expired: log in" in said
        monkeypatch.setattr(connection, "RENEWAL_PAUSE_SECONDS", 0.0)
        api = connect({"kubeconfig": kubeconfig(host, token="static")})
        with pytest.raises(ApiError, match="Unauthorized"):
            api.list(PODS)


def test_a_plugin_that_fails_from_the_start_says_why(plugin: Plugin, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PlatformError, match="gave no credentials") as refused:
        connect({"kubeconfig": kubeconfig("http://127.0.0.1:1", **plugin.user)})
    assert "the session has expired: log in" in refused.value.evidence
    assert capfd.readouterr().err == ""


def test_a_token_file_that_was_rotated_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("old")
    with accepting({"new"}) as (host, _refused):
        api = connect({"kubeconfig": kubeconfig(host, tokenFile=str(path))})
        path.write_text("new")
        api.list(PODS)


def test_the_account_of_a_pod_reads_its_rotated_token_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kubernetes.config import incluster_config

    token, authority = tmp_path / "token", tmp_path / "ca.crt"
    token.write_text("old")
    authority.write_text("not used without TLS")
    monkeypatch.setattr(incluster_config, "SERVICE_TOKEN_FILENAME", str(token))
    monkeypatch.setattr(incluster_config, "SERVICE_CERT_FILENAME", str(authority))
    with accepting({"new"}) as (host, _refused):
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", host.rpartition(":")[2])
        api = connect({"host": host, "validate_certs": False})
        token.write_text("new")
        api.list(PODS)


def test_the_options_host_and_token_win_over_the_kubeconfigs_at_every_request() -> None:
    with serving(200, {}) as (host, seen):
        given = kubeconfig("http://127.0.0.1:1", token="of the kubeconfig")
        api = connect({"kubeconfig": given, "host": host, "api_key": "of the option"})
        api.list(PODS)
        api.list(PODS)
    assert seen == ["Bearer of the option"] * 2


@contextmanager
def trickling() -> Iterator[str]:
    """An API server that answers with a byte each tenth of a second and never comes to an end."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            client, _address = listener.accept()
            with client:
                client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
                while not over.wait(0.1):
                    client.sendall(b"{")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        over.set()
        thread.join()


def test_a_bounded_request_ends_in_time_even_if_its_answer_trickles() -> None:
    with trickling() as host:
        start = time.monotonic()
        with pytest.raises(ConnectionFailed, match=r"within 0\.5 s"):
            connect({"kubeconfig": kubeconfig(host)}).list(PODS, timeout_seconds=0.5)
        assert 0.4 < time.monotonic() - start < 1.0


def test_a_vanished_peer_is_noticed_by_the_kernel_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[socket.socket] = []
    original = socket.socket.connect

    def connecting(self: socket.socket, address: Any) -> None:
        opened.append(self)
        original(self, address)

    monkeypatch.setattr(socket.socket, "connect", connecting)
    with accepting({"token"}) as (host, _refused):
        api = connect({"kubeconfig": kubeconfig(host, token="token")})
        api.list(PODS)
        (client,) = opened
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_KEEPIDLE"):
            idle, interval, probes = (
                client.getsockopt(socket.IPPROTO_TCP, option)
                for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
            )
            assert idle + interval * probes <= 30
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            assert 0 < client.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 30_000


def test_more_requests_than_the_pool_holds_do_not_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "POOL_SIZE", 2)
    with socket.create_server(("127.0.0.1", 0), backlog=20) as silent:
        api = connect({"kubeconfig": kubeconfig(f"http://127.0.0.1:{silent.getsockname()[1]}")})

        def ask(_number: int) -> None:
            with suppress(ConnectionFailed):
                api.list(PODS)

        hanging = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(9)]
        for thread in hanging:
            thread.start()
        silent.settimeout(5)
        for client in [silent.accept()[0] for _thread in hanging]:
            client.close()
        for thread in hanging:
            thread.join()
