"""What `up` decided and learnt, written down for the other commands and for the processes of the sandbox."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .layout import Layout

PORTS = (
    "etcd",
    "etcd_peer",
    "apiserver",
    "controller_manager",
    "scheduler",
    "kwok",
    "cloud",
    "charts",
    "lbc_webhook",
    "lbc_metrics",
    "lbc_health",
    "eso_metrics",
    "eso_health",
    "eso_webhook",
    "eso_webhook_metrics",
    "eso_webhook_health",
    "eso_certs_metrics",
    "eso_certs_health",
    "metrics_server",
)


@dataclass(frozen=True)
class Instance:
    """An EC2 instance in the fake cloud and thereby a node."""

    instance_id: str
    node_name: str
    zone: str
    group: str
    pod_cidr: str


@dataclass(frozen=True)
class Record:
    """`ready` turns true when `up` has seen everything work."""

    ports: Mapping[str, int]
    address: str
    vpc_id: str = ""
    ready: bool = False
    instances: tuple[Instance, ...] = ()

    @property
    def api_url(self) -> str:
        return f"https://127.0.0.1:{self.ports['apiserver']}"

    @property
    def cloud_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['cloud']}"

    @property
    def charts_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['charts']}"

    def save(self, layout: Layout) -> None:
        partial = layout.record.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(self), indent=2) + "\n")
        partial.rename(layout.record)


def load_record(layout: Layout) -> Record | None:
    """The record, or None if there is none or an `up` was killed while writing it."""
    try:
        raw: dict[str, Any] = json.loads(layout.record.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    if set(raw["ports"]) != set(PORTS):
        return None  # left behind by another version of the sandbox
    return Record(
        raw["ports"],
        raw["address"],
        raw.get("vpc_id", ""),
        raw["ready"],
        tuple(Instance(**instance) for instance in raw["instances"]),
    )
