"""Names and common fields of Kubernetes objects, which are plain dicts as the API returns them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Manifest = dict[str, Any]
# Group and kind, namespace, name: the same object whatever version of its API is used.
Identity = tuple[str, str, str]


@dataclass(frozen=True, order=True)
class Ref:
    """What names an object: its type, its namespace ("" if cluster-scoped) and its name."""

    api_version: str
    kind: str
    namespace: str
    name: str

    @property
    def group(self) -> str:
        return self.api_version.rpartition("/")[0]

    @property
    def group_kind(self) -> str:
        """As kubectl writes it: Deployment.apps, ConfigMap."""
        return f"{self.kind}.{self.group}" if self.group else self.kind

    @property
    def place(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @property
    def identity(self) -> Identity:
        return identity_of(self.api_version, self.kind, self.namespace, self.name)

    def __str__(self) -> str:
        return f"{self.kind} {self.place}"

    def kubectl(self, verb: str) -> str:
        """A kubectl command about this object, e.g. ``kubectl -n erp-dev describe pod x``."""
        namespace = f"-n {self.namespace} " if self.namespace else ""
        kind = self.kind.lower() if "." not in self.group else f"{self.kind}.{self.group}".lower()
        return f"kubectl {namespace}{verb} {kind} {self.name}"


def identity_of(api_version: str, kind: str, namespace: str, name: str) -> Identity:
    group = api_version.rpartition("/")[0]
    return (f"{kind}.{group}" if group else kind, namespace, name)


def ref_of(manifest: Mapping[str, Any]) -> Ref:
    metadata = manifest.get("metadata") or {}
    return Ref(
        str(manifest.get("apiVersion") or ""),
        str(manifest.get("kind") or ""),
        str(metadata.get("namespace") or ""),
        str(metadata.get("name") or ""),
    )


def metadata_of(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    return manifest.get("metadata") or {}


def uid_of(manifest: Mapping[str, Any]) -> str:
    return str(metadata_of(manifest).get("uid") or "")


def labels_of(manifest: Mapping[str, Any]) -> Mapping[str, str]:
    return metadata_of(manifest).get("labels") or {}


def annotations_of(manifest: Mapping[str, Any]) -> Mapping[str, str]:
    return metadata_of(manifest).get("annotations") or {}


def mapping(value: object) -> Mapping[str, Any]:
    """The value if it is a mapping, else an empty one: a custom resource may hold anything anywhere."""
    return value if isinstance(value, Mapping) else {}


def mappings(value: object) -> list[Mapping[str, Any]]:
    """The mappings in a list; none if it is no list."""
    return [entry for entry in value if isinstance(entry, Mapping)] if isinstance(value, list) else []


def condition(manifest: Mapping[str, Any], type_: str) -> Mapping[str, Any] | None:
    """The condition of this type in the object's status."""
    return condition_in(mapping(manifest.get("status")).get("conditions"), type_)


def condition_in(conditions: object, type_: str) -> Mapping[str, Any] | None:
    """The newest condition of this type, wherever it stands: some operators append theirs as a history."""
    found = [entry for entry in mappings(conditions) if entry.get("type") == type_]
    return max(found, key=_age) if len(found) > 1 else next(iter(found), None)


def _age(entry: Mapping[str, Any]) -> tuple[str, str]:
    # The content breaks a tie, so that the order of the list never matters.
    return str(entry.get("lastTransitionTime") or ""), repr(sorted(entry.items(), key=str))


def is_being_deleted(manifest: Mapping[str, Any]) -> bool:
    return bool(metadata_of(manifest).get("deletionTimestamp"))


def pod_template(manifest: Mapping[str, Any]) -> dict[str, Any] | None:
    """The pod template of a workload that keeps pods running, or None for any other kind."""
    if manifest.get("kind") not in {"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job"}:
        return None
    template: dict[str, Any] | None = (manifest.get("spec") or {}).get("template")
    return template


def counted(number: int, singular: str) -> str:
    return f"{number} {singular}" if number == 1 else f"{number} {singular}s"
