"""A rollout outlives a connection that breaks while it waits."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from ansible_collections.erp.platform.plugins.module_utils.connection import connect
from ansible_collections.erp.platform.plugins.module_utils.errors import PlatformError
from ansible_collections.erp.platform.plugins.module_utils.rollout import Options, roll_out

from .conftest import Sandbox
from .manifests import config_map, deployment


class Proxy:
    """Forwards TCP to the API server until it is told not to."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._open: list[socket.socket] = []
        self._broken = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End every connection, and every new one, until ``mend``."""
        self._broken.set()
        for connection in self._open:
            _shut(connection)
        self._open.clear()

    def mend(self) -> None:
        self._broken.clear()

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            if self._broken.is_set():
                client.close()
                continue
            server = socket.create_connection(self._target)
            self._open += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    @staticmethod
    def _forward(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        _shut(source)
        _shut(sink)


def _shut(end: socket.socket) -> None:
    # Not close: that would leave a thread that is reading from it waiting, and the peer in the dark.
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def kubeconfig(sandbox: Sandbox) -> dict[str, object]:
    found: dict[str, object] = yaml.safe_load(Path(sandbox.env["KUBECONFIG"]).read_text())
    return found


@pytest.fixture
def proxy(kubeconfig: dict[str, object]) -> Iterator[Proxy]:
    """A proxy that the kubeconfig then leads through."""
    cluster = kubeconfig["clusters"][0]["cluster"]  # type: ignore[index]
    server = urlsplit(cluster["server"])
    found = Proxy(str(server.hostname), int(server.port or 443))
    cluster["server"] = f"https://127.0.0.1:{found.port}"
    cluster["tls-server-name"] = server.hostname
    yield found
    found.close()


def test_it_goes_on_when_the_connection_is_cut_while_it_waits(
    kubeconfig: dict[str, object], proxy: Proxy, namespace: str
) -> None:
    web = deployment(namespace)
    web["spec"]["template"]["metadata"]["annotations"]["sandbox.erp.platform/start-seconds"] = "3"
    threading.Timer(1.5, proxy.cut).start()
    threading.Timer(3.0, proxy.mend).start()
    nodes = [
        {"name": "web", "manifests": [web]},
        {"name": "after", "manifests": [config_map(namespace, "after")], "depends_on": ["web"]},
    ]
    result = roll_out(connect({"kubeconfig": kubeconfig}), Options(nodes, timeout_seconds=40.0), lambda line: None)
    assert [node["status"] for node in result["nodes"]] == ["ready", "ready"]


def test_a_connection_that_stays_cut_ends_at_the_deadline_and_not_later(
    kubeconfig: dict[str, object], proxy: Proxy, namespace: str
) -> None:
    threading.Timer(1.5, proxy.cut).start()
    nodes = [{"name": "web", "manifests": [deployment(namespace, failure="never-ready")]}]
    start = time.monotonic()
    with pytest.raises(PlatformError, match="not ready after 5 s"):
        roll_out(connect({"kubeconfig": kubeconfig}), Options(nodes, timeout_seconds=5.0), lambda line: None)
    assert time.monotonic() - start < 10
