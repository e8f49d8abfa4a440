"""Waiting outlives a connection that breaks, stalls or crawls, and asks no more of the server than it has to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
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
from .manifests import Manifest, config_map, deployment
from .requests_made import recorded
from .tcp_proxy import Proxy, every

START_SECONDS = 2.0


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


@pytest.fixture
def short_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes half a minute otherwise takes a second or two."""
    monkeypatch.setattr(watch, "SERVER_SECONDS", 1)
    monkeypatch.setattr(watch, "SILENCE_SECONDS", 1.0)


def slow_start(namespace: str, seconds: float = START_SECONDS) -> Manifest:
    web = deployment(namespace)
    web["spec"]["template"]["metadata"]["annotations"]["sandbox.erp.platform/start-seconds"] = str(seconds)
    return web


def gate(namespace: str, timeout_seconds: float) -> GateOptions:
    web = {"api_version": "apps/v1", "kind": "Deployment", "namespace": namespace, "name": "web"}
    return GateOptions(objects=[web], timeout_seconds=timeout_seconds)


@pytest.fixture
def starting(sandbox: Sandbox, namespace: str) -> str:
    """A namespace whose Deployment web becomes ready after START_SECONDS."""
    sandbox.kubectl("apply", "-f", "-", stdin=json.dumps(slow_start(namespace)))
    return namespace


def after(seconds: float, act: Any) -> threading.Timer:
    timer = threading.Timer(seconds, act)
    timer.start()
    return timer


# It goes on


def test_it_goes_on_when_the_connection_is_cut_while_it_waits(
    kubeconfig: dict[str, Any], proxy: Proxy, namespace: str
) -> None:
    after(1.0, proxy.cut)
    after(2.5, proxy.mend)
    nodes = [
        {"name": "web", "manifests": [slow_start(namespace)]},
        {"name": "after", "manifests": [config_map(namespace, "after")], "depends_on": ["web"]},
    ]
    result = roll_out(connect({"kubeconfig": kubeconfig}), Options(nodes, timeout_seconds=40.0), silent)
    assert [node["status"] for node in result["nodes"]] == ["ready", "ready"]


def test_it_goes_on_at_once_after_resets_and_says_that_they_happened(
    kubeconfig: dict[str, Any], proxy: Proxy, starting: str
) -> None:
    said: list[tuple[str, Level]] = []
    api = connect({"kubeconfig": kubeconfig})
    requests = recorded(api)
    start = time.monotonic()
    after(0.8, proxy.reset)
    result = wait_until_ready(api, gate(starting, 20.0), lambda text, level: said.append((text, level)))
    assert result["ready"]
    assert time.monotonic() - start < START_SECONDS + 2
    interruptions = [(text, level) for text, level in said if "interrupted" in text]
    assert 1 <= len(interruptions) <= len(requests.watches())
    assert {level for _text, level in interruptions} == {Level.DETAIL}


def test_a_broken_stream_is_continued_where_it_broke_and_not_listed_again(
    kubeconfig: dict[str, Any], proxy: Proxy, starting: str
) -> None:
    api = connect({"kubeconfig": kubeconfig})
    requests = recorded(api)
    after(0.5, proxy.reset)
    after(1.2, proxy.reset)
    wait_until_ready(api, gate(starting, 20.0), silent)
    deployments = f"/apis/apps/v1/namespaces/{starting}/deployments"
    assert requests.watches()[deployments] == 3
    assert requests.lists()[deployments] == 2, "one to begin with and one before success"
    assert max(count for path, count in requests.lists().items() if path != deployments) == 1
    versions = [int(version) for path, version in requests.watched_from if path == deployments]
    assert versions == sorted(versions)


@pytest.mark.usefixtures("short_watches")
@pytest.mark.parametrize("fault", ["swallow", "lose_server"])
def test_it_notices_connections_that_stay_open_in_silence(
    kubeconfig: dict[str, Any], proxy: Proxy, starting: str, fault: str
) -> None:
    start = time.monotonic()
    after(0.8, getattr(proxy, fault))
    assert wait_until_ready(connect({"kubeconfig": kubeconfig}), gate(starting, 30.0), silent)["ready"]
    assert time.monotonic() - start < START_SECONDS + 3


@pytest.mark.usefixtures("short_watches")
def test_it_goes_on_when_a_proxy_that_swallowed_everything_works_again(
    kubeconfig: dict[str, Any], proxy: Proxy, starting: str
) -> None:
    after(0.8, proxy.stall)
    after(3.0, proxy.mend)
    assert wait_until_ready(connect({"kubeconfig": kubeconfig}), gate(starting, 30.0), silent)["ready"]


def test_it_bears_a_connection_on_which_bytes_trickle(kubeconfig: dict[str, Any], proxy: Proxy, starting: str) -> None:
    proxy.slow_down(bytes_per_second=20_000)
    start = time.monotonic()
    assert wait_until_ready(connect({"kubeconfig": kubeconfig}), gate(starting, 30.0), silent)["ready"]
    assert time.monotonic() - start < 20


# It ends


def test_a_connection_that_stays_cut_ends_at_the_deadline_and_not_later(
    kubeconfig: dict[str, Any], proxy: Proxy, namespace: str
) -> None:
    after(1.5, proxy.cut)
    nodes = [{"name": "web", "manifests": [deployment(namespace, failure="never-ready")]}]
    start = time.monotonic()
    with pytest.raises(PlatformError, match="could not be asked again"):
        roll_out(connect({"kubeconfig": kubeconfig}), Options(nodes, timeout_seconds=5.0), silent)
    assert time.monotonic() - start < 10


def test_a_connection_that_stays_silent_ends_at_the_deadline_and_not_much_later(
    kubeconfig: dict[str, Any], proxy: Proxy, starting: str
) -> None:
    after(1.0, proxy.stall)
    start = time.monotonic()
    with pytest.raises(NotReady, match="could not be asked again"):
        wait_until_ready(connect({"kubeconfig": kubeconfig}), gate(starting, 4.0), silent)
    assert time.monotonic() - start < 9


def test_what_became_ready_while_events_were_swallowed_is_ready_at_the_deadline(
    kubeconfig: dict[str, Any], proxy: Proxy, starting: str
) -> None:
    after(0.8, proxy.swallow)
    start = time.monotonic()
    assert wait_until_ready(connect({"kubeconfig": kubeconfig}), gate(starting, 4.0), silent)["ready"]
    assert time.monotonic() - start < 9


def test_a_server_that_another_authority_signed_is_not_trusted_and_that_is_said(
    kubeconfig: dict[str, Any], starting: str
) -> None:
    del kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"]
    with pytest.raises(PlatformError, match="certificate is not trusted") as untrusted:
        wait_until_ready(connect({"kubeconfig": kubeconfig}), gate(starting, 10.0), silent)
    assert "certificate verify failed" in untrusted.value.evidence


def test_a_server_that_takes_the_place_of_the_other_while_it_waits_is_not_trusted(
    sandbox: Sandbox, kubeconfig: dict[str, Any], proxy: Proxy, starting: str
) -> None:
    # The controller manager signs its own certificate.
    ports = json.loads((REPOSITORY / ".sandbox" / sandbox.name / "sandbox.json").read_text())["ports"]
    after(0.8, lambda: proxy.lead_to("127.0.0.1", ports["controller_manager"]))
    start = time.monotonic()
    with pytest.raises(NotReady, match="certificate is not trusted"):
        wait_until_ready(connect({"kubeconfig": kubeconfig}), gate(starting, 30.0), silent)
    assert time.monotonic() - start < 5


# It asks no more than it has to


@pytest.mark.usefixtures("short_watches")
def test_a_server_that_ends_streams_every_second_is_asked_once_for_each(
    kubeconfig: dict[str, Any], starting: str
) -> None:
    api = connect({"kubeconfig": kubeconfig})
    requests = recorded(api)
    start = time.monotonic()
    wait_until_ready(api, gate(starting, 20.0), silent)
    seconds = time.monotonic() - start
    assert max(requests.watches().values()) <= 1 + seconds / 0.9
    assert max(requests.lists().values()) <= 2
    assert requests.count("GET", "/v1") == 2, "the discovery of v1 and apps/v1"


def test_a_proxy_that_resets_everything_twice_a_second_is_left_alone_in_between(
    kubeconfig: dict[str, Any], proxy: Proxy, starting: str
) -> None:
    api = connect({"kubeconfig": kubeconfig})
    requests = recorded(api)
    with every(0.5, proxy.reset):
        wait_until_ready(api, gate(starting, 30.0), silent)
    # Pauses of 0.1 to 0.2 s and of 0.2 to 0.4 s come first, and then longer ones.
    assert 2 <= max(requests.watches().values()) <= 8


def test_a_server_that_cannot_be_reached_is_tried_with_growing_pauses(
    kubeconfig: dict[str, Any], proxy: Proxy, starting: str
) -> None:
    after(0.8, proxy.cut)
    tried: list[int] = []
    after(1.0, lambda: tried.append(proxy.accepted))
    after(4.0, lambda: tried.append(proxy.accepted))
    after(4.1, proxy.mend)
    api = connect({"kubeconfig": kubeconfig})
    requests = recorded(api)
    assert wait_until_ready(api, gate(starting, 30.0), silent)["ready"]
    assert (tried[1] - tried[0]) / len(requests.watches()) <= 6
