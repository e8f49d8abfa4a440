"""The apply set's parent, and what a second run writes to it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.erp.platform.plugins.module_utils.api import ResourceType
from ansible_collections.erp.platform.plugins.module_utils.apply_set import (
    APPLY_SET_LABEL,
    CONTAINS,
    ID_LABEL,
    NAMESPACES,
    TOOLING,
    ApplySet,
    apply_set_id,
)
from ansible_collections.erp.platform.plugins.module_utils.errors import PlatformError
from ansible_collections.erp.platform.plugins.module_utils.objects import Ref
from ansible_collections.erp.platform.plugins.module_utils.version import VERSION

CONFIG_MAP = Ref("v1", "ConfigMap", "erp", "settings")
DEPLOYMENT = Ref("apps/v1", "Deployment", "other", "web")


@dataclass
class FakeApi:
    """Keeps the parent as it was written, and every write; ``objects`` is what else there is."""

    parent: dict[str, Any] | None = None
    writes: list[dict[str, Any]] = field(default_factory=list)
    objects: list[dict[str, Any]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)

    def get(self, ref: Ref) -> dict[str, Any] | None:
        return self.parent

    def type_of(self, api_version: str, kind: str) -> ResourceType:
        return ResourceType(api_version, kind, f"{kind.lower()}s", True)

    def apply(self, manifest: dict[str, Any], type_: ResourceType, **options: Any) -> dict[str, Any]:
        self.parent = manifest
        self.writes.append(manifest["metadata"]["annotations"])
        return manifest

    def group_kinds(self) -> dict[str, str]:
        return {"": "v1", "apps": "apps/v1"}

    def list(self, type_: ResourceType, namespace: str, label_selector: str) -> dict[str, Any]:
        key, _equals, value = label_selector.partition("=")
        return {
            "items": [
                obj
                for obj in self.objects
                if obj["kind"] == type_.kind
                and obj["metadata"]["namespace"] == namespace
                and obj["metadata"]["labels"].get(key) == value
            ]
        }

    def delete(self, ref: Ref, *, uid: str, dry_run: bool) -> bool:
        self.deleted.append(ref.name)
        return True


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


def member(name: str, set_id: str, **metadata: Any) -> dict[str, Any]:
    labels = {APPLY_SET_LABEL: set_id}
    return {"kind": "ConfigMap", "metadata": {"name": name, "namespace": "erp", "labels": labels, **metadata}}


def parent(name: str, tooling: str, set_id: str) -> dict[str, Any]:
    annotations = {TOOLING: tooling}
    metadata = {"name": name, "namespace": "erp", "labels": {ID_LABEL: set_id}, "annotations": annotations}
    return {"kind": "ConfigMap", "metadata": metadata}


def test_what_a_controller_made_from_a_member_and_labelled_like_it_is_not_pruned() -> None:
    api = FakeApi()
    members = apply_set(api, CONFIG_MAP)
    owner = {"kind": "ExternalSecret", "name": "mysql", "uid": "1"}
    api.objects = [
        member("copied-by-a-controller", members.id, ownerReferences=[{**owner, "controller": True}]),
        member("owned-without-a-controller", members.id, ownerReferences=[owner]),
        member("applied-earlier", members.id),
    ]
    pruned = members.prune(dry_run=False)
    assert api.deleted == ["owned-without-a-controller", "applied-earlier"]
    assert [entry.ref.name for entry in pruned] == api.deleted


BASE_ID = apply_set_id(Ref("v1", "ConfigMap", "erp", "erp.platform-base"))


def test_a_member_of_another_set_of_ours_may_move_here() -> None:
    api = FakeApi(objects=[parent("erp.platform-base", f"erp.platform/{VERSION}", BASE_ID)])
    apply_set(api, CONFIG_MAP).refuse_foreign(CONFIG_MAP, member("settings", BASE_ID))


@pytest.mark.parametrize(
    "parents",
    [
        [],
        [parent("erp.platform-base", "kubectl/v1.34.4", BASE_ID)],
        [parent("another-name", f"erp.platform/{VERSION}", BASE_ID)],
    ],
    ids=["whose parent is nowhere", "of another tool", "whose id is another parent's"],
)
def test_a_member_of_a_set_is_refused(parents: list[dict[str, Any]]) -> None:
    with pytest.raises(PlatformError, match="belongs to another apply set"):
        apply_set(FakeApi(objects=parents), CONFIG_MAP).refuse_foreign(CONFIG_MAP, member("settings", BASE_ID))


def test_what_is_in_no_set_or_in_this_one_is_not_foreign() -> None:
    members = apply_set(FakeApi(), CONFIG_MAP)
    for before in (None, {"metadata": {"name": "settings"}}, member("settings", members.id)):
        members.refuse_foreign(CONFIG_MAP, before)


def test_the_version_written_into_the_cluster_is_the_collections() -> None:
    galaxy = yaml.safe_load((Path(__file__).parents[2] / "galaxy.yml").read_text())
    assert galaxy["version"] == VERSION
