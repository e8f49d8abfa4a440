"""When a rollout applies what, with notices that the test hands to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.erp.platform.plugins.module_utils import waiter as waiting
from ansible_collections.erp.platform.plugins.module_utils.api import ResourceType
from ansible_collections.erp.platform.plugins.module_utils.progress import silent
from ansible_collections.erp.platform.plugins.module_utils.rollout import Options, roll_out
from ansible_collections.erp.platform.plugins.module_utils.watch import Changed, Listed, Scope

CLAIMS = Scope("v1", "PersistentVolumeClaim", "erp")
JOBS = Scope("batch/v1", "Job", "erp")


def manifest(scope: Scope, name: str, **fields: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": scope.namespace}
    return {"apiVersion": scope.api_version, "kind": scope.kind, "metadata": metadata, **fields}


def live(scope: Scope, name: str, version: int, **fields: Any) -> dict[str, Any]:
    obj = manifest(scope, name, **fields)
    obj["metadata"] |= {"uid": name, "resourceVersion": str(version)}
    return obj


BOUND = live(CLAIMS, "data", 2, status={"phase": "Bound"})
COMPLETE = live(JOBS, "migrate", 3, status={"conditions": [{"type": "Complete", "status": "True"}]})


class FakeApi:
    """A claim is pending when it is applied, a Job has completed at once."""

    host = "https://api.example"

    def check(self) -> None:
        """It can be reached."""

    def type_of(self, api_version: str, kind: str) -> ResourceType:
        return ResourceType(api_version, kind, f"{kind.lower()}s", True)

    def get(self, ref: object) -> None:
        """Nothing is there before."""

    def list(self, type_: ResourceType, namespace: str, **_options: Any) -> dict[str, Any]:
        return {"metadata": {"resourceVersion": "9"}, "items": [BOUND if type_.kind == CLAIMS.kind else COMPLETE]}

    def apply(self, manifest: dict[str, Any], type_: ResourceType, **_options: Any) -> dict[str, Any]:
        return COMPLETE if type_.kind == JOBS.kind else live(CLAIMS, "data", 1, status={"phase": "Pending"})


class Watches:
    """The first list of the Jobs is heard together with the claim's change, once that is asked about."""

    def __init__(self, api: object, put: Callable[[object], None]) -> None:
        self._put = put
        self._has_spoken = False

    def ensure(self, scope: Scope) -> None:
        if scope == CLAIMS and not self._has_spoken:
            self._has_spoken = True
            self._put(Changed(CLAIMS, BOUND))
            self._put(Listed(JOBS, (), "1"))

    def close(self) -> None:
        """There is nothing to end."""


def test_a_node_that_waits_for_a_first_list_goes_on_even_if_something_else_happens_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(waiting, "Watches", Watches)
    nodes = [
        {"name": "data", "manifests": [manifest(CLAIMS, "data", spec={})]},
        {"name": "migrate", "manifests": [manifest(JOBS, "migrate", spec={})]},
    ]
    result = roll_out(FakeApi(), Options(nodes, timeout_seconds=5.0), silent)  # type: ignore[arg-type]
    assert [node["status"] for node in result["nodes"]] == ["ready", "ready"]
    assert all(node["ready_seconds"] < 0.8 for node in result["nodes"]), "it waited for something else to happen"
