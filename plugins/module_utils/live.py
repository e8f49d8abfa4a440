"""The newest known state of everything that is watched, indexed by what the rules ask for, and what a change touches.

With a thousand workloads a rule must not read through all pods, and a change of one pod must not have everything
judged again: objects are found by their owner, events by what they are about, and each change names the objects whose
judgement it may alter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .objects import Identity, Manifest, identity_of, labels_of, metadata_of, ref_of, uid_of
from .watch import Changed, Deleted, Listed, Notice, Refused, Scope

STORAGE_CLASSES = Scope("storage.k8s.io/v1", "StorageClass", "")
SERVICE_OF_SLICE = "kubernetes.io/service-name"
# Pods have an owner, which has an owner; nothing that is judged lies deeper.
_MAX_OWNERS = 4
# Nobody reads what field managers own of these, and it is half of what they weigh.
_WITHOUT_FIELD_MANAGERS = frozenset({"Pod", "ReplicaSet", "ControllerRevision", "Event", "EndpointSlice"})


@dataclass
class LiveState:
    """Fed with notices of watches and with objects just applied; read by one thread."""

    refused: dict[Scope, Refused] = field(default_factory=dict)
    _objects: dict[Scope, dict[tuple[str, str], Manifest]] = field(default_factory=dict)
    _synced: set[Scope] = field(default_factory=set)
    _owned: dict[str, dict[str, Manifest]] = field(default_factory=dict)
    _slices: dict[tuple[str, str], dict[str, Manifest]] = field(default_factory=dict)
    _events: dict[str, dict[str, Manifest]] = field(default_factory=dict)
    _events_by_name: dict[tuple[str, str, str], dict[str, Manifest]] = field(default_factory=dict)
    _baseline_events: dict[str, str] = field(default_factory=dict)
    _touched: set[Identity | Scope] = field(default_factory=set)

    def take(self, notice: Notice) -> None:
        if isinstance(notice, Listed):
            self._relist(notice)
        elif isinstance(notice, Changed):
            self.offer(notice.scope, notice.obj)
        elif isinstance(notice, Deleted):
            self._delete(notice)
        else:
            self.refused[notice.scope] = notice

    def offer(self, scope: Scope, obj: Manifest) -> None:
        """Keep this state of an object unless a newer one is known."""
        known = self._objects.setdefault(scope, {}).get(_key(obj))
        if known is None or _version(obj) >= _version(known):
            self._store(scope, obj)

    def touched(self) -> set[Identity | Scope]:
        """What the notices taken since the last call may have altered: the objects that changed, those that own them or
        that an event is about, and the scopes in which something changed.
        """
        touched, self._touched = self._touched, set()
        return touched

    # What is known

    def is_synced(self, scope: Scope) -> bool:
        return scope in self._synced

    def get(self, scope: Scope, namespace: str, name: str) -> Manifest | None:
        return self._objects.get(scope, {}).get((namespace, name))

    def all(self, scope: Scope) -> list[Manifest]:
        return list(self._objects.get(scope, {}).values())

    def slices_of(self, namespace: str, service: str) -> list[Manifest]:
        """The EndpointSlices of a Service."""
        return list(self._slices.get((namespace, service), {}).values())

    def owned(self, uid: str, kind: str) -> list[Manifest]:
        return [obj for obj in self._owned.get(uid, {}).values() if obj.get("kind") == kind]

    def warnings_about(self, uid: str) -> list[Manifest]:
        """Warning events about the object with this uid."""
        return list(self._events.get(uid, {}).values())

    def fresh_warnings_about(self, uid: str) -> list[Manifest]:
        """Those that happened since the watch began: what failed in an earlier run may be repaired by now."""
        return [event for event in self.warnings_about(uid) if self._baseline_events.get(uid_of(event)) != _mark(event)]

    def warnings_about_named(self, kind: str, namespace: str, name: str) -> list[Manifest]:
        return list(self._events_by_name.get((kind, namespace, name), {}).values())

    def storage_classes(self) -> list[Manifest] | None:
        """None as long as they are not known."""
        return self.all(STORAGE_CLASSES) if self.is_synced(STORAGE_CLASSES) else None

    # What happens

    def _relist(self, notice: Listed) -> None:
        known = self._objects.setdefault(notice.scope, {})
        listed = {_key(item): item for item in notice.items}
        list_version = _number(notice.resource_version)
        for key, obj in list(known.items()):
            # What was applied after this list was made is in neither; keep it.
            if key not in listed and _version(obj) <= list_version:
                self._remove(notice.scope, obj)
        if notice.scope.kind == "Event" and notice.scope not in self._synced:
            self._baseline_events.update({uid_of(event): _mark(event) for event in notice.items})
        for key, obj in listed.items():
            before = known.get(key)
            if before is None or _version(obj) > _version(before):
                self._store(notice.scope, obj)
        if notice.scope not in self._synced:
            self._synced.add(notice.scope)
            self._touched.add(notice.scope)

    def _delete(self, notice: Deleted) -> None:
        known = self._objects.get(notice.scope, {}).get(_key(notice.obj))
        if known is not None and _version(notice.obj) >= _version(known):
            self._remove(notice.scope, known)

    def _store(self, scope: Scope, obj: Manifest) -> None:
        if scope.kind in _WITHOUT_FIELD_MANAGERS:
            obj.get("metadata", {}).pop("managedFields", None)
        before = self._objects.setdefault(scope, {}).get(_key(obj))
        if before is not None:
            self._unindex(before)
        self._objects[scope][_key(obj)] = obj
        for index, key in self._indexes(obj):
            index.setdefault(key, {})[uid_of(obj)] = obj
        self._touch(scope, obj)

    def _remove(self, scope: Scope, obj: Manifest) -> None:
        self._touch(scope, obj)
        self._unindex(obj)
        del self._objects[scope][_key(obj)]

    def _unindex(self, obj: Manifest) -> None:
        for index, key in self._indexes(obj):
            entries = index.get(key)
            if entries is not None:
                entries.pop(uid_of(obj), None)
                if not entries:
                    del index[key]

    def _indexes(self, obj: Manifest) -> Iterator[tuple[dict[Any, dict[str, Manifest]], Any]]:
        """Every index, with the key, that this object belongs into."""
        if obj.get("kind") == "Event":
            about = obj.get("involvedObject") or {}
            yield self._events, str(about.get("uid") or "")
            yield self._events_by_name, _named(about)
            return
        for owner in metadata_of(obj).get("ownerReferences") or []:
            yield self._owned, str(owner.get("uid") or "")
        service = labels_of(obj).get(SERVICE_OF_SLICE)
        if service and obj.get("kind") == "EndpointSlice":
            yield self._slices, (ref_of(obj).namespace, service)

    def _touch(self, scope: Scope, obj: Manifest) -> None:
        self._touched.add(scope)
        if obj.get("kind") == "Event":
            about = obj.get("involvedObject") or {}
            self._touch_chain(about, str(about.get("namespace") or ""))
            return
        self._touch_chain(
            {"apiVersion": obj.get("apiVersion"), "kind": obj.get("kind"), "name": ref_of(obj).name},
            ref_of(obj).namespace,
            obj,
        )
        service = labels_of(obj).get(SERVICE_OF_SLICE)
        if service:
            self._touched.add(("Service", ref_of(obj).namespace, service))

    def _touch_chain(self, named: Mapping[str, Any], namespace: str, obj: Manifest | None = None) -> None:
        """Touch the object and, one after another, the controllers that own it."""
        for _depth in range(_MAX_OWNERS):
            api_version, kind, name = (str(named.get(key) or "") for key in ("apiVersion", "kind", "name"))
            self._touched.add(identity_of(api_version, kind, namespace, name))
            if obj is None:
                obj = self.get(Scope(api_version, kind, namespace), namespace, name)
            owners = metadata_of(obj or {}).get("ownerReferences") or []
            if not owners:
                return
            named, obj = owners[0], None


def _named(about: Mapping[str, Any]) -> tuple[str, str, str]:
    return str(about.get("kind") or ""), str(about.get("namespace") or ""), str(about.get("name") or "")


def _key(obj: Manifest) -> tuple[str, str]:
    ref = ref_of(obj)
    return ref.namespace, ref.name


def _version(obj: Manifest) -> int:
    return _number(str(metadata_of(obj).get("resourceVersion") or "0"))


def _number(version: str) -> int:
    # Versions of one resource type are ordered decimal numbers (KEP-5504); anything else is taken as it comes.
    return int(version) if version.isdigit() else 0


def _mark(event: Manifest) -> str:
    return str(metadata_of(event).get("resourceVersion"))
