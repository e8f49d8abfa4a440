"""The apply set's parent, and what a second run writes to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.erp.platform.plugins.module_utils.api import ResourceType
from ansible_collections.erp.platform.plugins.module_utils.apply_set import CONTAINS, NAMESPACES, TOOLING, ApplySet
from ansible_collections.erp.platform.plugins.module_utils.errors import PlatformError
from ansible_collections.erp.platform.plugins.module_utils.objects import Ref
from ansible_collections.erp.platform.plugins.module_utils.version import VERSION

CONFIG_MAP = Ref("v1", "ConfigMap", "erp", "settings")
DEPLOYMENT = Ref("apps/v1", "Deployment", "other", "web")


@dataclass
class FakeApi:
    """Keeps the parent as it was written, and every write."""

    parent: dict[str, Any] | None = None
    writes: list[dict[str, Any]] = field(default_factory=list)

    def get(self, ref: Ref) -> dict[str, Any] | None:
        return self.parent

    def type_of(self, api_version: str, kind: str) -> ResourceType:
        return ResourceType(api_version, kind, f"{kind.lower()}s", True)

    def apply(self, manifest: dict[str, Any], type_: ResourceType, **options: Any) -> dict[str, Any]:
        self.parent = manifest
        self.writes.append(manifest["metadata"]["annotations"])
        return manifest


def apply_set(api: FakeApi, *refs: Ref) -> ApplySet:
    found = ApplySet(api, "infra", "erp", refs)  # type: ignore[arg-type]
    found.load()
    return found


def test_it_grows_before_the_rollout_and_shrinks_after_pruning() -> None:
    api = FakeApi()
    apply_set(api, CONFIG_MAP, DEPLOYMENT).grow()
    second = apply_set(api, CONFIG_MAP)
    second.grow()
    second.shrink([])
    assert [(written[CONTAINS], written[NAMESPACES]) for written in api.writes] == [
        ("ConfigMap,Deployment.apps", "other"),
        ("ConfigMap", ""),
    ]


def test_a_second_run_of_the_same_writes_nothing() -> None:
    api = FakeApi()
    apply_set(api, CONFIG_MAP).grow()
    again = apply_set(api, CONFIG_MAP)
    again.grow()
    again.shrink([])
    assert len(api.writes) == 1


def test_a_config_map_that_somebody_else_made_is_not_taken_for_a_parent() -> None:
    parent = {"metadata": {"name": "erp.platform-infra", "annotations": {TOOLING: "kubectl/v1.34.4"}}}
    with pytest.raises(PlatformError, match="is no apply set"):
        apply_set(FakeApi(parent), CONFIG_MAP)


def test_members_carry_its_id_beside_their_own_labels() -> None:
    members = apply_set(FakeApi(), CONFIG_MAP)
    labelled = members.labelled({"metadata": {"name": "settings", "labels": {"app": "x"}}})
    assert labelled["metadata"]["labels"] == {"app": "x", "applyset.kubernetes.io/part-of": members.id}


def test_the_version_written_into_the_cluster_is_the_collections() -> None:
    galaxy = yaml.safe_load((Path(__file__).parents[2] / "galaxy.yml").read_text())
    assert galaxy["version"] == VERSION
