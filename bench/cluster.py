"""The bench's own sandbox: room for many pods, an account whose requests are counted, fresh namespaces."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sandbox import environment, lifecycle, nodes
from sandbox.layout import CLONE, Layout
from sandbox.record import Instance, Record, load_record

from .errors import BenchError

SANDBOX = "bench"
# Of what ServiceAccounts of this namespace ask, the sandbox keeps an audit log.
_AUDITED = "audited"
_PODS_PER_NODE = 110


@dataclass(frozen=True)
class Cluster:
    """A running sandbox; `administrator` and `tool` are environments of commands."""

    layout: Layout
    record: Record
    administrator: Mapping[str, str]
    tool: Mapping[str, str]

    @property
    def audit_log(self) -> Path:
        return self.layout.cluster / "logs" / "audit.log"

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        ended = subprocess.run(
            ["kubectl", *arguments],
            env=self.administrator,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            check=False,
        )
        if ended.returncode != 0:
            raise BenchError(f"kubectl {' '.join(arguments)}: {ended.stderr.strip()}")
        return ended.stdout

    @contextmanager
    def namespace(self, name: str) -> Iterator[None]:
        """Exists inside the block; afterwards it and all in it is gone. After an error the whole sandbox goes."""
        self.kubectl("create", "namespace", name)
        yield
        self.kubectl("delete", "namespace", name, "--wait", "--timeout=15m")


@contextmanager
def running_cluster(pods: int, peers: Mapping[str, Path], folder: Path) -> Iterator[Cluster]:
    """A fresh sandbox with room for `pods` pods; ended and deleted with the block."""
    layout = Layout(SANDBOX)
    lifecycle.down(layout)
    try:
        lifecycle.up(layout)
        record = load_record(layout)
        assert record is not None
        for name, path in peers.items():
            (layout.bin / name).symlink_to(path)
        inherited = {name: value for name, value in os.environ.items() if name not in environment.OUTRANKING}
        administrator = {**inherited, **environment.exports(layout, record)}
        kubeconfig = folder / "kubeconfig"
        tool = {
            **administrator,
            "KUBECONFIG": str(kubeconfig),
            "K8S_AUTH_KUBECONFIG": str(kubeconfig),
            "ANSIBLE_CONFIG": str(CLONE / "ansible.cfg"),
        }
        cluster = Cluster(layout, record, administrator, tool)
        _add_nodes(cluster, pods)
        _add_account(cluster, kubeconfig)
        yield cluster
    finally:
        lifecycle.down(layout)


def _add_nodes(cluster: Cluster, pods: int) -> None:
    count = -(-pods // _PODS_PER_NODE) + 1
    instances = [
        Instance(f"i-{number:017x}", f"bench-{number}", "ap-northeast-2a", "bench", f"10.43.{number}.0/24")
        for number in range(count)
    ]
    manifests = [nodes.node_manifest(instance, cluster.record.address) for instance in instances]
    for manifest in manifests:
        del manifest["metadata"]["labels"]["eks.amazonaws.com/nodegroup"]  # the sandbox counts those as its own
    _apply(cluster, manifests)
    cluster.kubectl("wait", "node", "--all", "--for=condition=Ready", "--timeout=60s")


def _add_account(cluster: Cluster, kubeconfig: Path) -> None:
    _apply(
        cluster,
        [
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": _AUDITED}},
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "tool", "namespace": _AUDITED}},
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": "tool"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
                "subjects": [{"kind": "ServiceAccount", "name": "tool", "namespace": _AUDITED}],
            },
        ],
    )
    document = json.loads(cluster.layout.kubeconfig.read_text())
    token = cluster.kubectl("create", "token", "tool", "--namespace", _AUDITED, "--duration=24h").strip()
    document["users"][0]["user"] = {"token": token}
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text(json.dumps(document))


def _apply(cluster: Cluster, manifests: Sequence[Mapping[str, object]]) -> None:
    cluster.kubectl("apply", "--filename=-", stdin="\n---\n".join(json.dumps(manifest) for manifest in manifests))
