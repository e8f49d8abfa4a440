"""Connections that lead nowhere say so, in seconds."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.erp.platform.plugins.module_utils.connection import connect
from ansible_collections.erp.platform.plugins.module_utils.errors import PlatformError


def kubeconfig(server: str, **user: str) -> dict[str, Any]:
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
    threading.Thread(target=server.serve_forever, daemon=True).start()
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
    assert seen == ["Bearer from-environment"] * 2 + ["Bearer from-option"] * 2


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
    assert seen_by_one == [f"Bearer {one}"] * 2
    assert seen_by_other == [f"Bearer {other}"] * 2
