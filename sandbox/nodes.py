"""Nodes and storage as the documents have them (B7): two for services, two tainted ones for Kafka, in two zones."""

from __future__ import annotations

import time
from typing import Any

from . import names
from .cluster import read_api
from .errors import SandboxError
from .layout import SOURCES, Layout
from .record import Instance, Record

_CAPACITY = {"cpu": "8", "memory": "32Gi", "pods": "110", "ephemeral-storage": "100Gi"}


def core_api(layout: Layout) -> Any:
    """A CoreV1Api that uses the sandbox's own kubeconfig, whatever the caller's environment says."""
    from kubernetes import client, config

    return client.CoreV1Api(config.new_client_from_config(config_file=str(layout.administrator)))


def create_nodes(layout: Layout, record: Record) -> None:
    api = core_api(layout)
    for instance in record.instances:
        api.create_node(node_manifest(instance, record.address))


def create_storage(layout: Layout) -> None:
    from kubernetes import config, utils

    utils.create_from_yaml(
        config.new_client_from_config(config_file=str(layout.administrator)),
        str(SOURCES / "manifests" / "storage.yaml"),
    )


def wait_for_nodes(layout: Layout, record: Record, timeout_seconds: float = 60) -> None:
    """Until every node is Ready and has shed the taint it was born with."""
    deadline = time.monotonic() + timeout_seconds
    while missing := len(record.instances) - ready_nodes(layout, record):
        if time.monotonic() > deadline:
            raise SandboxError(f"{missing} nodes are not ready; see {layout.cluster / 'logs' / 'kwok-controller.log'}")
        time.sleep(0.2)


def ready_nodes(layout: Layout, record: Record) -> int:
    """How many of the sandbox's nodes are Ready and schedulable."""
    nodes = read_api(layout, record, "/api/v1/nodes?labelSelector=eks.amazonaws.com/nodegroup")["items"]
    return sum(
        any(
            condition["type"] == "Ready" and condition["status"] == "True" for condition in node["status"]["conditions"]
        )
        and not any(taint["key"].startswith("node.kubernetes.io/") for taint in node["spec"].get("taints", []))
        for node in nodes
        if "conditions" in node["status"]
    )


def node_manifest(instance: Instance, address: str) -> dict[str, Any]:
    """A Node labelled as EKS does; `address` leads to the fake kubelet, the instance's own one leads nowhere."""
    kafka = instance.group == "kafka"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": instance.node_name,
            "labels": {
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/os": "linux",
                "kubernetes.io/hostname": instance.node_name,
                "node.kubernetes.io/instance-type": "m5.2xlarge",
                "topology.kubernetes.io/region": names.REGION,
                "topology.kubernetes.io/zone": instance.zone,
                "topology.ebs.csi.aws.com/zone": instance.zone,
                "eks.amazonaws.com/nodegroup": instance.group,
                "eks.amazonaws.com/capacityType": "ON_DEMAND",
                **({"workload": "kafka"} if kafka else {}),
            },
            "annotations": {
                "kwok.x-k8s.io/node": "fake",
                # Where metrics-server finds the figures of this node on the one port that KWOK serves for all.
                "metrics.k8s.io/resource-metrics-path": f"/metrics/nodes/{instance.node_name}/metrics/resource",
            },
        },
        "spec": {
            "providerID": f"aws:///{instance.zone}/{instance.instance_id}",
            "podCIDR": instance.pod_cidr,
            "podCIDRs": [instance.pod_cidr],
            **({"taints": [{"key": "workload", "value": "kafka", "effect": "NoSchedule"}]} if kafka else {}),
        },
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": address},
                {"type": "Hostname", "address": instance.node_name},
            ],
            "capacity": _CAPACITY,
            "allocatable": _CAPACITY,
            "nodeInfo": {
                "architecture": "amd64",
                "bootID": "",
                "containerRuntimeVersion": "containerd://2.1.5",
                "kernelVersion": "6.12.0",
                "kubeProxyVersion": f"v{names.KUBERNETES_VERSION}.0",
                "kubeletVersion": f"v{names.KUBERNETES_VERSION}.0-eks-sandbox",
                "machineID": "",
                "operatingSystem": "linux",
                "osImage": "Amazon Linux 2023",
                "systemUUID": instance.instance_id,
            },
        },
    }
