"""The tools to compare with, built and kept like the sandbox's own; only the bench needs them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from sandbox.tools import Tool, build_tools

_MODULES = Path(__file__).parent / "tools"

PEERS = (
    Tool("helm4", {"helm4": "helm.sh/helm/v4/cmd/helm"}, modules=_MODULES),
    Tool("kapp", {"kapp": "carvel.dev/kapp/cmd/kapp"}, modules=_MODULES),
    Tool("kapply", {"kapply": "sigs.k8s.io/cli-utils/cmd"}, modules=_MODULES),
)


def build_peers(wanted: Collection[str]) -> Mapping[str, Path]:
    """The binaries of those peers that are wanted, by name."""
    chosen = [peer for peer in PEERS if peer.name in wanted]
    return build_tools(chosen).binaries if chosen else {}
