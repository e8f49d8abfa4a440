"""Waiting outlives a connection that breaks, stalls or crawls, and asks no more of the server than it has to.

What is waited for is made by the test, once the fault has happened: how long the machine takes for anything decides
nothing here.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from ansible_collections.erp.platform.plugins.module_utils import watch
from ansible_collections.erp.platform.plugins.module_utils.connection import connect
from ansible_collections.erp.platform.plugins.module_utils.errors import PlatformError
from ansible_collections.erp.platform.plugins.module_utils.progress import Level, silent
from ansible_collections.erp.platform.plugins.module_utils.readiness import NotReady, wait_until_ready
from ansible_collections.erp.platform.plugins.module_utils.readiness import Options as GateOptions
from ansible_collections.erp.platform.plugins.module_utils.rollout import Options, roll_out

from .conftest import REPOSITORY, Sandbox
from .manifests import config_map, deployment
from .requests_made import pause, recorded
from .tcp_proxy import Proxy, every


@pytest.fixture
def kubeconfig(sandbox: Sandbox) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(Path(sandbox.env["KUBECONFIG"]).read_text())
    return found


@pytest.fixture
def proxy(kubeconfig: dict[str, Any]) -> Iterator[Proxy]:
    """A proxy that the kubeconfig then leads through."""
    cluster = kubeconfig["clusters"][0]["cluster"]
    server = urlsplit(cluster["server"])
    found = Proxy(str(server.hostname), int(server.port or 443))
    cluster["server"] = f"https://127.0.0.1:{found.port}"
    cluster["tls-server-name"] = server.hostname
    yield found
    found.close()


@dataclass
class Gate:
    """Waits, through the kubeconfig, for a ConfigMap that ``make`` makes beside it."""

    sandbox: Sandbox
    namespace: str
    kubeconfig: dict[str, Any]
    said: list[tuple[str, Level]] = field(default_factory=list)
    made_at: float = 0.0

    def __post_init__(self) -> None:
        self.api = connect({"kubeconfig": self.kubeconfig})
        self.requests = recorded(self.api)
        self._beside = connect({"kubeconfig": self.sandbox.env["KUBECONFIG"]})

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/configmaps"

    def make(self) -> None:
        manifest, type_ = config_map(self.namespace, "later"), self._beside.type_of("v1", "ConfigMap")
        self._beside.apply(manifest, type_, field_manager="test", force=False, dry_run=False)
        self.made_at = time.monotonic()

    def wait(self, timeout_seconds: float = 40.0) -> float:
        """Returns how many seconds after it was made the ConfigMap was found to be there."""
        objects = [{"kind": "ConfigMap", "namespace": self.namespace, "name": "later"}]
        options = GateOptions(objects=objects, timeout_seconds=timeout_seconds)
        result = wait_until_ready(self.api, options, lambda text, level: self.said.append((text, level)))
        assert result["ready"]
        assert self.made_at, "it was ready before it existed"
        return time.monotonic() - self.made_at


@pytest.fixture
def gate(sandbox: Sandbox, namespace: str, proxy: Proxy, kubeconfig: dict[str, Any]) -> Gate:
    del proxy  # the kubeconfig leads through it
    return Gate(sandbox, namespace, kubeconfig)


@pytest.fixture
def short_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes half a minute otherwise takes a second or two."""
    monkeypatch.setattr(watch, "SERVER_SECONDS", 1)
    monkeypatch.setattr(watch, "SILENCE_SECONDS", 1.0)


# It goes on


def test_a_rollout_goes_on_when_the_connection_is_cut_while_it_waits(
    kubeconfig: dict[str, Any], proxy: Proxy, namespace: str
) -> None:
    web = deployment(namespace)
    web["spec"]["template"]["metadata"]["annotations"]["sandbox.erp.platform/start-seconds"] = "3"
    api = connect({"kubeconfig": kubeconfig})
    recorded(api).once_watching(pause(0.5), proxy.cut, pause(1.5), proxy.mend)
    nodes = [
        {"name": "web", "manifests": [web]},
        {"name": "after", "manifests": [config_map(namespace, "after")], "depends_on": ["web"]},
    ]
    result = roll_out(api, Options(nodes, timeout_seconds=50.0), silent)
    assert [node["status"] for node in result["nodes"]] == ["ready", "ready"]


def test_it_goes_on_after_resets_and_says_in_detail_that_they_happened(gate: Gate, proxy: Proxy) -> None:
    gate.requests.once_watching(proxy.reset, pause(0.5), gate.make)
    assert gate.wait() < 3
    interruptions = [(text, level) for text, level in gate.said if "interrupted" in text]
    assert 1 <= len(interruptions) <= len(gate.requests.watches())
    assert {level for _text, level in interruptions} == {Level.DETAIL}


def test_a_broken_stream_is_continued_where_it_broke_and_not_listed_again(gate: Gate, proxy: Proxy) -> None:
    gate.requests.once_watching(proxy.reset, pause(1.5), proxy.reset, gate.make)
    gate.wait()
    assert gate.requests.watches()[gate.path] >= 3
    assert gate.requests.lists()[gate.path] == 2, "one to begin with and one before success"
    versions = [int(version) for path, version in gate.requests.watched_from if path == gate.path]
    assert versions == sorted(versions)


@pytest.mark.usefixtures("short_watches")
@pytest.mark.parametrize("fault", ["swallow", "lose_server"])
def test_it_notices_connections_that_stay_open_in_silence(gate: Gate, proxy: Proxy, fault: str) -> None:
    gate.requests.once_watching(getattr(proxy, fault), gate.make)
    assert gate.wait() < 6


@pytest.mark.usefixtures("short_watches")
def test_it_goes_on_when_a_proxy_that_swallowed_everything_works_again(gate: Gate, proxy: Proxy) -> None:
    gate.requests.once_watching(proxy.stall, gate.make, pause(2.5), proxy.mend)
    # A connection that was being made when the proxy was mended is given up after 5 s.
    assert gate.wait() < 15


def test_it_bears_a_connection_on_which_bytes_trickle(gate: Gate, proxy: Proxy) -> None:
    proxy.slow_down(bytes_per_second=20_000)
    gate.requests.once_watching(gate.make)
    assert gate.wait() < 10


# It ends


def test_a_connection_that_stays_cut_ends_a_rollout_at_the_deadline_and_not_later(
    kubeconfig: dict[str, Any], proxy: Proxy, namespace: str
) -> None:
    api = connect({"kubeconfig": kubeconfig})
    recorded(api).once_watching(pause(0.5), proxy.cut)
    nodes = [{"name": "web", "manifests": [deployment(namespace, failure="never-ready")]}]
    start = time.monotonic()
    with pytest.raises(PlatformError, match="could not be asked again"):
        roll_out(api, Options(nodes, timeout_seconds=8.0), silent)
    assert time.monotonic() - start < 16


def test_a_connection_that_stays_silent_ends_at_the_deadline_and_not_much_later(gate: Gate, proxy: Proxy) -> None:
    gate.requests.once_watching(proxy.stall)
    start = time.monotonic()
    with pytest.raises(NotReady, match="could not be asked again"):
        gate.wait(timeout_seconds=4.0)
    assert time.monotonic() - start < 15


def test_what_became_ready_while_events_were_swallowed_is_ready_at_the_deadline(gate: Gate, proxy: Proxy) -> None:
    gate.requests.once_watching(proxy.swallow, gate.make)
    gate.wait(timeout_seconds=5.0)


def test_a_server_that_another_authority_signed_is_not_trusted(kubeconfig: dict[str, Any], namespace: str) -> None:
    del kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"]
    objects = [{"kind": "ConfigMap", "namespace": namespace, "name": "later"}]
    with pytest.raises(PlatformError, match="certificate is not trusted") as untrusted:
        wait_until_ready(connect({"kubeconfig": kubeconfig}), GateOptions(objects=objects), silent)
    assert "certificate verify failed" in untrusted.value.evidence


def test_a_server_that_takes_the_place_of_the_other_while_it_waits_is_not_trusted(gate: Gate, proxy: Proxy) -> None:
    # The controller manager signs its own certificate.
    state = REPOSITORY / ".sandbox" / gate.sandbox.name / "sandbox.json"
    port = json.loads(state.read_text())["ports"]["controller_manager"]
    gate.requests.once_watching(lambda: proxy.lead_to("127.0.0.1", port))
    start = time.monotonic()
    with pytest.raises(NotReady, match="certificate is not trusted"):
        gate.wait(timeout_seconds=40.0)
    assert time.monotonic() - start < 20


# It asks no more than it has to


@pytest.mark.usefixtures("short_watches")
def test_a_server_that_ends_streams_every_second_is_asked_once_for_each(gate: Gate) -> None:
    start = time.monotonic()
    gate.requests.once_watching(pause(4.0), gate.make)
    gate.wait()
    assert 3 <= gate.requests.watches()[gate.path] <= 1 + (time.monotonic() - start) / 0.9
    assert gate.requests.lists()[gate.path] == 2
    assert set(gate.requests.discoveries().values()) == {1}
    assert not [text for text, _level in gate.said if "interrupted" in text]


def test_a_proxy_that_resets_everything_several_times_a_second_is_left_alone_in_between(
    gate: Gate, proxy: Proxy
) -> None:
    over = threading.Event()

    def break_again_and_again() -> None:
        with every(0.2, proxy.reset):
            time.sleep(5.0)
        over.set()

    gate.requests.once_watching(break_again_and_again, gate.make)
    gate.wait()
    # The pauses grow: 0.1 to 0.2 s, 0.2 to 0.4 s, 0.4 to 0.8 s, 0.8 to 1.6 s, 1.6 to 3.2 s.
    assert over.is_set()
    assert 3 <= gate.requests.watches()[gate.path] <= 9


def test_a_server_that_cannot_be_reached_is_tried_with_growing_pauses(gate: Gate, proxy: Proxy) -> None:
    tried: list[int] = []

    def note() -> None:
        tried.append(proxy.accepted)

    gate.requests.once_watching(proxy.cut, note, pause(4.0), note, gate.make, proxy.mend)
    assert gate.wait() < 10
    assert 2 <= (tried[1] - tried[0]) / len(gate.requests.watches()) <= 7
