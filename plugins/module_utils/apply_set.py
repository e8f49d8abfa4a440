"""What an earlier run applied and this one no longer contains: Kubernetes' ApplySet.

https://github.com/kubernetes/enhancements/tree/master/keps/sig-cli/3659-kubectl-apply-prune. The parent is a ConfigMap
named ``erp.platform-<name>``. It lists the kinds and namespaces that may contain members; the members carry its id as
a label. The list grows before anything is applied and shrinks after everything was pruned, so that a run that is cut
off loses track of nothing. An object moves between sets of ours by its label alone, and is then no member of the old
one.
"""

from __future__ import annotations

import base64
import copy
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from .api import Api, ApiError, NotServed
from .apply import FIELD_MANAGER, refusal
from .errors import PlatformError
from .objects import Manifest, Ref, annotations_of, is_being_deleted, labels_of, metadata_of, uid_of
from .version import VERSION

ID_LABEL = "applyset.kubernetes.io/id"
APPLY_SET_LABEL = "applyset.kubernetes.io/part-of"
TOOLING = "applyset.kubernetes.io/tooling"
CONTAINS = "applyset.kubernetes.io/contains-group-kinds"
NAMESPACES = "applyset.kubernetes.io/additional-namespaces"

# Deleting one of these deletes data, or everything in it.
KEPT_GROUP_KINDS = frozenset(
    {
        "Namespace",
        "PersistentVolumeClaim",
        "PersistentVolume",
        "StatefulSet.apps",
        "CustomResourceDefinition.apiextensions.k8s.io",
    }
)


@dataclass(frozen=True)
class Pruned:
    ref: Ref
    change: str  # deleted or kept
    before: Manifest


class ApplySet:
    """The apply set ``name`` in ``namespace``, for a rollout of the objects ``refs``."""

    def __init__(self, api: Api, name: str, namespace: str, refs: Iterable[Ref]) -> None:
        self._api = api
        self.parent = Ref("v1", "ConfigMap", namespace, f"erp.platform-{name}")
        self.id = apply_set_id(self.parent)
        self._refs = tuple(refs)
        self._known_group_kinds: frozenset[str] = frozenset()
        self._known_namespaces: frozenset[str] = frozenset()

    def labelled(self, manifest: Manifest) -> Manifest:
        member = copy.deepcopy(manifest)
        labels = member["metadata"].get("labels") or {}
        member["metadata"]["labels"] = {**labels, APPLY_SET_LABEL: self.id}
        return member

    def refuse_foreign(self, ref: Ref, before: Manifest | None) -> None:
        """Raise PlatformError if the live object belongs to an apply set that another tool keeps."""
        theirs = labels_of(before or {}).get(APPLY_SET_LABEL)
        if not theirs or theirs == self.id or self._is_ours(theirs, ref.namespace):
            return
        raise PlatformError(
            "belongs to another apply set, which would delete it or fight over it",
            object=str(ref),
            evidence=f"label {APPLY_SET_LABEL}={theirs}, this rollout's is {self.id}; "
            "no parent of that set made by erp.platform was found",
            next_command="set force_conflicts: true once to move it to this apply set",
        )

    def _is_ours(self, set_id: str, namespace: str) -> bool:
        """Whether the set's parent, beside this one's or beside the object, is one that a rollout wrote."""
        type_ = self._api.type_of(self.parent.api_version, self.parent.kind)
        for place in sorted({self.parent.namespace, namespace} - {""}):
            listed = self._api.list(type_, place, label_selector=f"{ID_LABEL}={set_id}")
            for parent in listed.get("items") or []:
                name = str(metadata_of(parent)["name"])
                found = Ref(self.parent.api_version, self.parent.kind, place, name)
                # Anybody can copy the label; the id is a digest of the parent's own name.
                if _tool_of(parent) == FIELD_MANAGER and apply_set_id(found) == set_id:
                    return True
        return False

    def load(self) -> None:
        """Read what earlier runs left; a parent that doesn't exist yet is an empty one."""
        parent = self._api.get(self.parent)
        annotations = annotations_of(parent or {})
        tool = _tool_of(parent or {})
        if parent is not None and tool != FIELD_MANAGER:
            raise PlatformError(
                "is there already and is no apply set of erp.platform",
                object=str(self.parent),
                evidence=f"annotation {TOOLING}: {tool or 'missing'}",
                next_command=f"{self.parent.kubectl('get')} -o yaml; choose another name for the apply set",
            )
        self._known_group_kinds = _split(annotations.get(CONTAINS))
        self._known_namespaces = _split(annotations.get(NAMESPACES))

    def grow(self) -> None:
        """Write the parent with all kinds and namespaces, old and new, before the first member is applied."""
        self._write(
            self._known_group_kinds | self._wanted_group_kinds(), self._known_namespaces | self._wanted_namespaces()
        )

    def shrink(self, kept: Iterable[Pruned]) -> None:
        """Write the parent with what is left after pruning."""
        remaining = [entry.ref for entry in kept if entry.change == "kept"]
        group_kinds = self._wanted_group_kinds() | {ref.group_kind for ref in remaining}
        namespaces = self._wanted_namespaces() | {ref.namespace for ref in remaining if ref.namespace}
        self._write(group_kinds, namespaces - {self.parent.namespace})

    def prune(self, *, dry_run: bool) -> list[Pruned]:
        """Delete the members that this rollout does not contain, except what holds data."""
        wanted = {ref.identity for ref in self._refs}
        pruned: list[Pruned] = []
        for obj, ref in self._members():
            if ref.identity in wanted:
                continue
            if ref.group_kind in KEPT_GROUP_KINDS:
                pruned.append(Pruned(ref, "kept", obj))
            elif self._delete(ref, uid_of(obj), dry_run):
                pruned.append(Pruned(ref, "deleted", obj))
        return pruned

    def _delete(self, ref: Ref, uid: str, dry_run: bool) -> bool:
        try:
            return self._api.delete(ref, uid=uid, dry_run=dry_run)
        except ApiError as error:
            raise refusal(ref, self._api.type_of(ref.api_version, ref.kind), self._api, error) from error

    def _members(self) -> Iterable[tuple[Manifest, Ref]]:
        versions = self._api.group_kinds() if self._known_group_kinds else {}
        applied_as = {ref.group_kind: ref.api_version for ref in self._refs}
        namespaces = sorted({self.parent.namespace} | self._known_namespaces | self._wanted_namespaces())
        for group_kind in sorted(self._known_group_kinds | self._wanted_group_kinds()):
            kind, _dot, group = group_kind.partition(".")
            version = applied_as.get(group_kind) or versions.get(group)
            if version is None:
                continue  # The group is gone, and its objects with it.
            try:
                type_ = self._api.type_of(version, kind)
            except NotServed:
                continue
            for namespace in namespaces if type_.namespaced else [""]:
                listed = self._api.list(type_, namespace, label_selector=f"{APPLY_SET_LABEL}={self.id}")
                for item in listed.get("items") or []:
                    is_member = labels_of(item).get(APPLY_SET_LABEL) == self.id
                    if is_member and not is_being_deleted(item) and not _has_controller(item):
                        metadata = metadata_of(item)
                        ref = Ref(version, kind, str(metadata.get("namespace") or ""), str(metadata["name"]))
                        yield {"apiVersion": version, "kind": kind, **item}, ref

    def _write(self, group_kinds: frozenset[str], namespaces: frozenset[str]) -> None:
        if (group_kinds, namespaces) == (self._known_group_kinds, self._known_namespaces):
            return
        type_ = self._api.type_of(self.parent.api_version, self.parent.kind)
        annotations = {
            TOOLING: f"{FIELD_MANAGER}/{VERSION}",
            CONTAINS: ",".join(sorted(group_kinds)),
            NAMESPACES: ",".join(sorted(namespaces)),
        }
        metadata = {
            "name": self.parent.name,
            "namespace": self.parent.namespace,
            "labels": {ID_LABEL: self.id},
            "annotations": annotations,
        }
        manifest: Manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        self._api.apply(manifest, type_, field_manager=FIELD_MANAGER, force=True, dry_run=False)
        self._known_group_kinds, self._known_namespaces = group_kinds, namespaces

    def _wanted_group_kinds(self) -> frozenset[str]:
        return frozenset(ref.group_kind for ref in self._refs)

    def _wanted_namespaces(self) -> frozenset[str]:
        return frozenset(ref.namespace for ref in self._refs if ref.namespace) - {self.parent.namespace}


def apply_set_id(parent: Ref) -> str:
    """The V1 id that the KEP prescribes: applyset-<base64url(sha256(name.namespace.kind.group))>-v1, unpadded."""
    text = f"{parent.name}.{parent.namespace}.{parent.kind}.{parent.group}"
    encoded = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
    return f"applyset-{encoded}-v1"


def _tool_of(parent: Manifest) -> str:
    return annotations_of(parent).get(TOOLING, "").partition("/")[0]


def _has_controller(obj: Manifest) -> bool:
    """Whether a controller made the object. Some copy the labels of what they make it from: External Secrets does."""
    return any(owner.get("controller") for owner in metadata_of(obj).get("ownerReferences") or [])


def _split(text: str | None) -> frozenset[str]:
    return frozenset(part for part in (text or "").split(",") if part)
