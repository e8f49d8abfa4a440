"""The control plane: kwokctl starts the built binaries; KWOK plays the kubelets of the fake nodes."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import names
from .errors import SandboxError
from .layout import SOURCES, Layout
from .processes import marked
from .record import Record
from .tools import Toolbox

_CONTROLLERS = {
    # With the default (20 a second) a dozen Deployments applied at once already wait for the controllers' own throttle.
    "kube-api-qps": "1000",
    "kube-api-burst": "2000",
    # Whoever cannot renew its lease in time ends. With the default (10 s) a busy machine does that to them, and an API
    # server that starts anew. Without election they would not outlast a slow start.
    "leader-elect-lease-duration": "600s",
    "leader-elect-renew-deadline": "500s",
}


CONTROLLERS_SECONDS = 180.0


def start_cluster(layout: Layout, record: Record, tools: Toolbox, inherited: Mapping[str, str]) -> None:
    """Creates and starts the control plane and writes the kubeconfig; returns when API server and controllers work."""
    layout.kwok_workdir.mkdir(parents=True)
    configuration = layout.kwok_workdir / "sandbox.yaml"
    configuration.write_text(_configuration(layout, record, tools))
    _kubelet_configuration(layout).write_text(_kubelet())
    create: list[str | Path] = ["--config", configuration, "--kubeconfig", layout.state / "kwok.kubeconfig"]
    _kwokctl("create", create, layout, tools, inherited)
    _write_kubeconfig(layout, record)
    end = time.monotonic() + CONTROLLERS_SECONDS
    while not _controllers_work(record, layout):
        if time.monotonic() >= end:
            raise SandboxError(f"the controller manager does not work\nlogs: {layout.cluster / 'logs'}")
        if any(problem is not None for problem in component_health(layout, record).values()):
            # The controller manager ends when the API server is not healthy within its fixed ten seconds, which on a
            # busy machine it isn't. This starts what has ended and leaves alone what runs.
            _kwokctl("start", [], layout, tools, inherited)
        time.sleep(0.2)


def _kwokctl(
    verb: str, options: Sequence[str | Path], layout: Layout, tools: Toolbox, inherited: Mapping[str, str]
) -> None:
    command = [tools["kwokctl"], verb, "cluster", "--name", layout.name, "--wait", "60s", *options]
    environment = {
        **inherited,
        "KWOK_WORKDIR": str(layout.kwok_workdir),
        "PATH": f"{layout.bin}{os.pathsep}{inherited['PATH']}",
    }
    outcome = subprocess.run(
        command,
        env=marked(environment, layout.state),
        cwd=layout.state,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    layout.logs.mkdir(parents=True, exist_ok=True)
    with (layout.logs / "kwokctl.log").open("a") as log:
        log.write(outcome.stdout + outcome.stderr)
    if outcome.returncode != 0:
        raise SandboxError(
            f"kwokctl could not {verb} the cluster:\n{outcome.stderr.strip()[-2000:]}\nlogs: {layout.cluster / 'logs'}"
        )


def _controllers_work(record: Record, layout: Layout) -> bool:
    """Whether the controller manager does what it does first in a new cluster; its health check says less."""
    try:
        read_api(layout, record, "/api/v1/namespaces/default/serviceaccounts/default")
    except OSError:
        return False
    return True


def component_health(layout: Layout, record: Record) -> dict[str, str | None]:
    """Component: None if it answers its health check, else what it said."""
    local = "https://127.0.0.1:"
    urls = {
        "etcd": f"http://127.0.0.1:{record.ports['etcd']}/health",
        "kube-apiserver": f"{record.api_url}/readyz",
        "kube-controller-manager": f"{local}{record.ports['controller_manager']}/healthz",
        "kube-scheduler": f"{local}{record.ports['scheduler']}/healthz",
        "kwok-controller": f"https://{record.address}:{record.ports['kwok']}/healthz",
    }
    return {name: _probe(layout, url) for name, url in urls.items()}


def read_api(layout: Layout, record: Record, path: str) -> Any:
    """GET of an API path as the administrator, without the Kubernetes client: importing that takes most of a second."""
    with urllib.request.urlopen(record.api_url + path, timeout=5, context=_administrator(layout)) as response:
        return json.load(response)


def _probe(layout: Layout, url: str) -> str | None:
    try:
        context = _administrator(layout) if url.startswith("https:") else None
        with urllib.request.urlopen(url, timeout=3, context=context):
            return None
    except OSError as error:
        return str(getattr(error, "reason", error))


def _administrator(layout: Layout) -> ssl.SSLContext:
    # Controller manager and scheduler sign their own certificates; the address and the port are ours.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(layout.cluster / "pki" / "admin.crt", layout.cluster / "pki" / "admin.key")
    return context


def _configuration(layout: Layout, record: Record, tools: Toolbox) -> str:
    import yaml

    pki = layout.cluster / "pki"
    ports = record.ports
    options: dict[str, Any] = {
        "runtime": "binary",
        "bindAddress": "127.0.0.1",
        "etcdBinary": str(tools["etcd"]),
        "kubeApiserverBinary": str(tools["kube-apiserver"]),
        "kubeControllerManagerBinary": str(tools["kube-controller-manager"]),
        "kubeSchedulerBinary": str(tools["kube-scheduler"]),
        "kwokControllerBinary": str(tools["kwok"]),
        "etcdPort": ports["etcd"],
        "etcdPeerPort": ports["etcd_peer"],
        "kubeApiserverPort": ports["apiserver"],
        "kubeControllerManagerPort": ports["controller_manager"],
        "kubeSchedulerPort": ports["scheduler"],
        "kwokControllerPort": ports["kwok"],
        # The same certificate serves the fake kubelets, which metrics-server reaches at the machine's address.
        "kubeApiserverCertSANs": [record.address],
        "kubeAuditPolicy": str(SOURCES / "manifests" / "audit.yaml"),
    }
    extra_arguments = {
        "kube-apiserver": {
            # Webhooks and aggregated APIs are reached at their endpoints' addresses: there is no kube-proxy.
            "enable-aggregator-routing": "true",
            "service-cluster-ip-range": "172.20.0.0/16",
            "advertise-address": record.address,
            # As on EKS; the nodes' names do not resolve here.
            "kubelet-preferred-address-types": "InternalIP",
            # An aggregated API (metrics-server) learns from these who really asks.
            "requestheader-client-ca-file": str(pki / "ca.crt"),
            "requestheader-allowed-names": "kwok-admin",
            "requestheader-username-headers": "X-Remote-User",
            "requestheader-group-headers": "X-Remote-Group",
            "requestheader-extra-headers-prefix": "X-Remote-Extra-",
            # In megabytes: whoever reads the audit log from where it last ended must not lose it to a rotation.
            "audit-log-maxsize": "4096",
        },
        "kube-controller-manager": {
            # An HPA that ignores a pod's first five minutes would make every test wait for them.
            "horizontal-pod-autoscaler-sync-period": "5s",
            "horizontal-pod-autoscaler-cpu-initialization-period": "10s",
            "horizontal-pod-autoscaler-initial-readiness-delay": "5s",
            **_CONTROLLERS,
        },
        "kube-scheduler": _CONTROLLERS,
        "kwok-controller": {
            # Nodes of another kind may join; KWOK must leave them alone.
            "manage-all-nodes": "false",
            "manage-nodes-with-annotation-selector": "kwok.x-k8s.io/node=fake",
            # The fake kubelets listen where the nodes' address leads to.
            "server-address": f"{record.address}:{ports['kwok']}",
            "node-ip": record.address,
            # Of what its own configuration holds, kwokctl hands on the Stages only.
            "config": str(_kubelet_configuration(layout)),
        },
    }
    patches = [
        {"name": component, "extraArgs": [{"key": key, "value": value} for key, value in arguments.items()]}
        for component, arguments in extra_arguments.items()
    ]
    document = {
        "apiVersion": "config.kwok.x-k8s.io/v1alpha1",
        "kind": "KwokctlConfiguration",
        "options": options,
        "componentsPatches": patches,
    }
    stages = [path.read_text() for path in sorted((SOURCES / "stages").glob("*.yaml"))]
    return "\n---\n".join([yaml.safe_dump(document, sort_keys=False), *stages])


def _kubelet_configuration(layout: Layout) -> Path:
    return layout.kwok_workdir / "kubelet.yaml"


def _kubelet() -> str:
    """What KWOK's kubelet API serves: metrics, and logs in a container runtime's format. A container whose name is that
    of a file under manifests/logs has this log, any other the common one.
    """
    common = str(SOURCES / "manifests" / "container.log")
    entries: list[dict[str, Any]] = [
        {"containers": [path.stem], "logsFile": str(path), "previousLogsFile": str(path)}
        for path in sorted((SOURCES / "manifests" / "logs").glob("*.log"))
    ]
    entries.append({"logsFile": common, "previousLogsFile": common})
    logs = {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "ClusterLogs",
        "metadata": {"name": "simulated"},
        "spec": {"logs": entries},
    }
    return "\n---\n".join([(SOURCES / "manifests" / "metrics.yaml").read_text(), json.dumps(logs)])


def _write_kubeconfig(layout: Layout, record: Record) -> None:
    """Named as `aws eks update-kubeconfig` names it; certificates inside, so that the file can be used alone."""
    pki = layout.cluster / "pki"
    name = names.CLUSTER_ARN
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": name,
                "cluster": {"server": record.api_url, "certificate-authority-data": _encoded(pki / "ca.crt")},
            }
        ],
        "users": [
            {
                "name": name,
                "user": {
                    "client-certificate-data": _encoded(pki / "admin.crt"),
                    "client-key-data": _encoded(pki / "admin.key"),
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }
    layout.kubeconfig.touch(mode=0o600)
    layout.kubeconfig.write_text(json.dumps(document, indent=2) + "\n")


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
