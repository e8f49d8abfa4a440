"""Waiting outlives an API server that is killed, and a history that etcd no longer has."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.erp.platform.plugins.module_utils import watch
from ansible_collections.erp.platform.plugins.module_utils.api import Api
from ansible_collections.erp.platform.plugins.module_utils.connection import connect
from ansible_collections.erp.platform.plugins.module_utils.errors import PlatformError
from ansible_collections.erp.platform.plugins.module_utils.progress import silent
from ansible_collections.erp.platform.plugins.module_utils.readiness import NotReady, wait_until_ready
from ansible_collections.erp.platform.plugins.module_utils.readiness import Options as GateOptions
from ansible_collections.erp.platform.plugins.module_utils.rollout import Options, roll_out

from .conftest import REPOSITORY, Sandbox
from .manifests import Manifest, config_map, deployment
from .requests_made import Requests, recorded

START_SECONDS = 5.0

# Where other programs need the machine as well, an API server takes long to start.
pytestmark = pytest.mark.timeout(150)


class ApiServer:
    """The kube-apiserver of a sandbox, as kwokctl started it."""

    def __init__(self, sandbox: Sandbox) -> None:
        state = REPOSITORY / ".sandbox" / sandbox.name
        cluster = state / "kwok/clusters" / sandbox.name
        self.etcd_port = json.loads((state / "sandbox.json").read_text())["ports"]["etcd"]
        self._pid_file, self._log = cluster / "pids/kube-apiserver.pid", cluster / "logs/kube-apiserver.log"
        process = Path("/proc") / self._pid_file.read_text().strip()
        self._command = (process / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        lines = (process / "environ").read_bytes().rstrip(b"\0").split(b"\0")
        self._environment = dict(line.split(b"=", 1) for line in lines)
        self._directory = (process / "cwd").readlink()

    def kill(self) -> None:
        """When this returns, its port is free."""
        pid = int(self._pid_file.read_text())
        os.kill(pid, signal.SIGKILL)
        stat = Path("/proc") / str(pid) / "stat"
        with suppress(FileNotFoundError, ProcessLookupError):
            while ") Z " not in stat.read_text():
                time.sleep(0.02)

    def start(self) -> None:
        """With everything that the first one was started with, so that the sandbox knows it as its own."""
        process = self._spawn()
        threading.Thread(target=self._keep_running, args=(process,), daemon=True).start()

    def _keep_running(self, process: subprocess.Popen[bytes]) -> None:
        """As the kubelet of its node would: it ends by itself where its own checks take too long."""
        for _restart in range(5):
            if process.wait() in (-signal.SIGKILL, -signal.SIGTERM):
                return
            time.sleep(0.5)
            process = self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                self._command,
                env=self._environment,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._pid_file.write_text(str(process.pid))
        return process

    @staticmethod
    def wait_until_it_answers(administrator: Api) -> None:
        while True:
            try:
                administrator.check()
            except PlatformError:
                time.sleep(0.1)
            else:
                return

    def etcd(self, path: str, **body: Any) -> Any:
        """A call of etcd's API, in JSON."""
        url = f"http://127.0.0.1:{self.etcd_port}/v3/{path}"
        with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=5) as answer:
            return json.load(answer)


@pytest.fixture(scope="module")
def api_server(empty_sandbox: Sandbox) -> ApiServer:
    return ApiServer(empty_sandbox)


@pytest.fixture
def place(empty_sandbox: Sandbox) -> Iterator[str]:
    """A namespace of the sandbox that is of this module alone."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    empty_sandbox.kubectl("create", "namespace", name)
    yield name
    empty_sandbox.kubectl("delete", "namespace", name, "--wait=false")


def gate(namespace: str, timeout_seconds: float) -> GateOptions:
    web = {"api_version": "apps/v1", "kind": "Deployment", "namespace": namespace, "name": "web"}
    return GateOptions(objects=[web], timeout_seconds=timeout_seconds)


def slow_start(namespace: str) -> Manifest:
    web = deployment(namespace)
    web["spec"]["template"]["metadata"]["annotations"]["sandbox.erp.platform/start-seconds"] = str(START_SECONDS)
    return web


def lists(requests: Requests, plural: str) -> int:
    return sum(count for path, count in requests.lists().items() if path.endswith(plural))


# The server is killed


def test_a_rollout_goes_on_after_the_api_server_was_killed_and_started_again(
    empty_sandbox: Sandbox, api_server: ApiServer, place: str
) -> None:
    threading.Timer(2.0, api_server.kill).start()
    threading.Timer(3.5, api_server.start).start()
    said: list[str] = []
    nodes = [
        {"name": "web", "manifests": [slow_start(place)]},
        {"name": "after", "manifests": [config_map(place, "after")], "depends_on": ["web"]},
    ]
    api = connect({"kubeconfig": empty_sandbox.env["KUBECONFIG"]})
    result = roll_out(api, Options(nodes, timeout_seconds=100.0), lambda text, level: said.append(text))
    assert [node["status"] for node in result["nodes"]] == ["ready", "ready"]
    assert [text for text in said if "interrupted" in text]


def test_an_account_that_roles_let_in_is_not_refused_by_a_server_that_has_just_started(
    empty_sandbox: Sandbox, api_server: ApiServer, place: str
) -> None:
    kubectl = empty_sandbox.kubectl
    kubectl("-n", place, "create", "serviceaccount", "waiter")
    kubectl("-n", place, "create", "rolebinding", "waiter", "--clusterrole=view", f"--serviceaccount={place}:waiter")
    token = kubectl("-n", place, "create", "token", "waiter").stdout.strip()
    kubeconfig = yaml.safe_load(Path(empty_sandbox.env["KUBECONFIG"]).read_text())
    kubeconfig["users"][0]["user"] = {"token": token}
    # Administrators need no role: this one writes before the server has read any.
    administrator = connect({"kubeconfig": empty_sandbox.env["KUBECONFIG"]})

    def restart() -> None:
        api_server.kill()
        api_server.start()
        api_server.wait_until_it_answers(administrator)
        kubectl("apply", "-f", "-", stdin=json.dumps(config_map(place, "later")))

    threading.Timer(1.5, restart).start()
    objects = [{"kind": "ConfigMap", "namespace": place, "name": "later"}]
    options = GateOptions(objects=objects, timeout_seconds=100.0)
    assert wait_until_ready(connect({"kubeconfig": kubeconfig}), options, silent)["ready"]


# The history is gone


def test_where_etcd_has_compacted_what_a_watch_would_continue_from_it_lists_again(
    empty_sandbox: Sandbox, api_server: ApiServer, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Events are not in the API server's cache: a watch of them is one of etcd, and a new one begins each second here.
    monkeypatch.setattr(watch, "SERVER_SECONDS", 1)
    empty_sandbox.kubectl("apply", "-f", "-", stdin=json.dumps(deployment(place, failure="never-ready")))
    # The controllers come back some time after the API server that an earlier test has killed.
    pod = {"kind": "Pod", "namespace": place, "label_selector": "app=web", "condition": {"type": "PodScheduled"}}
    administrator = connect({"kubeconfig": empty_sandbox.env["KUBECONFIG"]})
    wait_until_ready(administrator, GateOptions(objects=[pod], timeout_seconds=90.0), silent)

    def compact_and_warn() -> None:
        key = base64.b64encode(b"/elsewhere").decode()
        # Revisions that no event has: what is compacted is then newer than all that the watch has seen.
        revision = [api_server.etcd("kv/put", key=key, value=key) for _write in range(5)][-1]["header"]["revision"]
        api_server.etcd("kv/compaction", revision=revision, physical=True)
        time.sleep(1.5)
        empty_sandbox.kubectl("create", "-f", "-", stdin=json.dumps(warning(empty_sandbox, place)))

    said: list[str] = []
    api = connect({"kubeconfig": empty_sandbox.env["KUBECONFIG"]})
    requests = recorded(api)
    threading.Timer(2.0, compact_and_warn).start()
    with pytest.raises(NotReady) as not_ready:
        wait_until_ready(api, gate(place, 7.0), lambda text, level: said.append(text))
    gone = [text for text in said if "Event" in text and "interrupted: 410" in text]
    assert len(gone) == 1, "the server never said that the version is gone"
    assert lists(requests, "/events") == 2
    assert "the probe was answered by a teapot" in str(not_ready.value), "what happened after it was not heard of"


def warning(sandbox: Sandbox, namespace: str) -> Manifest:
    pod = json.loads(sandbox.kubectl("-n", namespace, "get", "pods", "-o", "json").stdout)["items"][0]
    about = {"apiVersion": "v1", "kind": "Pod", "namespace": namespace}
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "teapot", "namespace": namespace},
        "involvedObject": {**about, "name": pod["metadata"]["name"], "uid": pod["metadata"]["uid"]},
        "type": "Warning",
        "reason": "Unhealthy",
        "message": "the probe was answered by a teapot",
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
