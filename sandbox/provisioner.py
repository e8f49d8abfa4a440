"""Plays the EBS CSI driver's provisioner: a volume record for each claim whose pod has a node; no disk lies behind it.

The claim is bound by Kubernetes' own volume controller, to this volume, in the zone of the chosen node.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kubernetes import client

PROVISIONER = "ebs.csi.aws.com"
_ZONE = "topology.ebs.csi.aws.com/zone"


def provision(core: Any, storage: Any) -> None:
    """Creates what waiting claims need and deletes what nobody needs any more; safe to call again at any time."""
    for claim in core.list_persistent_volume_claim_for_all_namespaces(resource_version="0").items:
        annotations = claim.metadata.annotations or {}
        node_name = annotations.get("volume.kubernetes.io/selected-node")
        if (
            claim.status.phase == "Pending"
            and node_name
            and annotations.get("volume.kubernetes.io/storage-provisioner") == PROVISIONER
        ):
            storage_class = storage.read_storage_class(claim.spec.storage_class_name)
            node = core.read_node(node_name)
            _create(core, volume_manifest(claim, storage_class, node.metadata.labels[_ZONE]))
    for volume in core.list_persistent_volume(resource_version="0").items:
        if (
            _is_ours(volume)
            and volume.status.phase == "Released"
            and volume.spec.persistent_volume_reclaim_policy == "Delete"
        ):
            _delete(core, volume.metadata.name)


def volume_manifest(claim: Any, storage_class: Any, zone: str) -> dict[str, Any]:
    """The PersistentVolume that the real provisioner would create."""
    uid: str = claim.metadata.uid
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"pvc-{uid}", "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER}},
        "spec": {
            "capacity": {"storage": claim.spec.resources.requests["storage"]},
            "accessModes": claim.spec.access_modes,
            "volumeMode": claim.spec.volume_mode,
            "persistentVolumeReclaimPolicy": storage_class.reclaim_policy,
            "storageClassName": storage_class.metadata.name,
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": claim.metadata.namespace,
                "name": claim.metadata.name,
                "uid": uid,
            },
            "csi": {"driver": PROVISIONER, "volumeHandle": f"vol-{uid.replace('-', '')[:17]}", "fsType": "ext4"},
            "nodeAffinity": {
                "required": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": _ZONE, "operator": "In", "values": [zone]}]}]
                }
            },
        },
    }


def _is_ours(volume: Any) -> bool:
    annotations: Mapping[str, str] = volume.metadata.annotations or {}
    return annotations.get("pv.kubernetes.io/provisioned-by") == PROVISIONER


def _create(core: Any, manifest: Mapping[str, Any]) -> None:
    try:
        core.create_persistent_volume(manifest)
    except client.ApiException as error:
        if error.status != 409:  # created in an earlier round, not yet bound
            raise


def _delete(core: Any, name: str) -> None:
    try:
        core.delete_persistent_volume(name)
    except client.ApiException as error:
        if error.status != 404:
            raise
