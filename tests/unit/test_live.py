"""The live state: which of two states is kept, what is found by its owner, and what a change touches."""

from __future__ import annotations

from typing import Any

from ansible_collections.erp.platform.plugins.module_utils.live import LiveState
from ansible_collections.erp.platform.plugins.module_utils.watch import Changed, Deleted, Listed, Scope

PODS = Scope("v1", "Pod", "erp")
REPLICA_SETS = Scope("apps/v1", "ReplicaSet", "erp")
EVENTS = Scope("v1", "Event", "erp")
SLICES = Scope("discovery.k8s.io/v1", "EndpointSlice", "erp")
DEPLOYMENT = ("Deployment.apps", "erp", "web")


def made(scope: Scope, name: str, version: int, owner: tuple[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    """An object whose uid is its name; ``owner`` is kind and name of the controller that made it."""
    metadata: dict[str, Any] = {"name": name, "namespace": "erp", "uid": name, "resourceVersion": str(version)}
    if owner:
        kind, owner_name = owner
        metadata["ownerReferences"] = [
            {"apiVersion": "apps/v1", "kind": kind, "name": owner_name, "uid": owner_name, "controller": True}
        ]
    metadata.update(fields.pop("metadata", {}))
    return {"apiVersion": scope.api_version, "kind": scope.kind, "metadata": metadata, **fields}


def about(name: str, version: int, involved: dict[str, Any]) -> dict[str, Any]:
    return made(EVENTS, name, version, involvedObject={"namespace": "erp", **involved})


def test_an_older_state_never_replaces_a_newer_one() -> None:
    live = LiveState()
    live.offer(PODS, made(PODS, "a", 5))
    live.take(Changed(PODS, made(PODS, "a", 4)))
    live.take(Deleted(PODS, made(PODS, "a", 4)))
    assert live.get(PODS, "erp", "a") == made(PODS, "a", 5)


def test_what_was_applied_after_a_list_was_made_survives_it() -> None:
    live = LiveState()
    live.offer(PODS, made(PODS, "a", 5))
    live.take(Listed(PODS, (), "4"))
    assert live.get(PODS, "erp", "a") is not None
    live.take(Listed(PODS, (), "6"))
    assert live.get(PODS, "erp", "a") is None


def test_events_of_before_are_not_fresh_until_they_happen_again() -> None:
    live = LiveState()
    live.take(Listed(EVENTS, (about("old", 1, {"uid": "x"}),), "1"))
    assert live.fresh_warnings_about("x") == []
    live.take(Changed(EVENTS, about("old", 2, {"uid": "x"})))
    live.take(Changed(EVENTS, about("new", 3, {"uid": "x"})))
    assert {event["metadata"]["name"] for event in live.fresh_warnings_about("x")} == {"old", "new"}


def test_pods_are_found_by_their_owner_in_their_newest_state_until_they_are_gone() -> None:
    live = LiveState()
    live.take(Changed(PODS, made(PODS, "a", 1, ("ReplicaSet", "web-1"))))
    live.take(Changed(PODS, made(PODS, "a", 2, ("ReplicaSet", "web-1"), status={"phase": "Running"})))
    assert [pod["status"]["phase"] for pod in live.owned("web-1", "Pod")] == ["Running"]
    assert live.owned("web-1", "ReplicaSet") == []
    live.take(Deleted(PODS, made(PODS, "a", 3, ("ReplicaSet", "web-1"))))
    assert live.owned("web-1", "Pod") == []


def test_a_pod_that_changes_its_owner_is_found_by_the_new_one_only() -> None:
    live = LiveState()
    live.take(Changed(PODS, made(PODS, "a", 1, ("ReplicaSet", "web-1"))))
    live.take(Changed(PODS, made(PODS, "a", 2, ("ReplicaSet", "web-2"))))
    assert (live.owned("web-1", "Pod"), len(live.owned("web-2", "Pod"))) == ([], 1)


def test_a_pod_touches_the_deployment_that_its_replica_set_belongs_to() -> None:
    live = LiveState()
    live.take(Changed(REPLICA_SETS, made(REPLICA_SETS, "web-1", 1, ("Deployment", "web"))))
    live.touched()
    live.take(Changed(PODS, made(PODS, "a", 2, ("ReplicaSet", "web-1"))))
    assert DEPLOYMENT in live.touched()
    assert live.touched() == set()


def test_an_event_about_a_pod_touches_the_deployment_too() -> None:
    live = LiveState()
    live.take(Changed(REPLICA_SETS, made(REPLICA_SETS, "web-1", 1, ("Deployment", "web"))))
    live.take(Changed(PODS, made(PODS, "a", 2, ("ReplicaSet", "web-1"))))
    live.touched()
    live.take(Changed(EVENTS, about("failed", 3, {"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "a"})))
    assert DEPLOYMENT in live.touched()


def test_an_endpoint_slice_touches_its_service() -> None:
    live = LiveState()
    labels = {"kubernetes.io/service-name": "web"}
    live.take(Changed(SLICES, made(SLICES, "web-x", 1, metadata={"labels": labels})))
    assert ("Service", "erp", "web") in live.touched()
    assert len(live.slices_of("erp", "web")) == 1


def test_a_relist_touches_what_changed_and_what_is_gone_but_not_what_stayed() -> None:
    live = LiveState()
    live.take(Listed(PODS, tuple(made(PODS, name, 1) for name in ("stays", "changes", "goes")), "1"))
    live.touched()
    live.take(Listed(PODS, (made(PODS, "stays", 1), made(PODS, "changes", 2)), "2"))
    assert live.touched() == {PODS, ("Pod", "erp", "changes"), ("Pod", "erp", "goes")}


def test_the_first_list_touches_its_scope_even_if_it_is_empty() -> None:
    live = LiveState()
    live.take(Listed(PODS, (), "1"))
    assert live.touched() == {PODS}
    assert live.is_synced(PODS)


def test_what_field_managers_own_of_a_pod_is_not_kept() -> None:
    live = LiveState()
    live.take(Changed(PODS, made(PODS, "a", 1, metadata={"managedFields": [{"manager": "kubelet"}]})))
    assert "managedFields" not in live.all(PODS)[0]["metadata"]
