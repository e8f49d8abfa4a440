"""Which answers of the API server are worth another try, and how the others read."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.erp.platform.plugins.module_utils.api import (
    ApiError,
    ConnectionFailed,
    ResourceType,
    Untrusted,
    forbidden,
)
from ansible_collections.erp.platform.plugins.module_utils.apply import Conflict, conflicts_of
from ansible_collections.erp.platform.plugins.module_utils.transient import backoff_seconds, is_transient
from hypothesis import given
from hypothesis import strategies as st

WEBHOOK = "Internal error occurred: failed calling webhook: no endpoints available for service"
SCHEMA = "failed to create typed patch object: .spec.x: field not declared in schema"


def error(status: int, message: str = "", **body: Any) -> ApiError:
    return ApiError(status, {"message": message, **body})


@pytest.mark.parametrize(
    ("failure", "transient"),
    [
        (ConnectionFailed("refused"), True),
        (Untrusted("certificate verify failed"), False),
        (error(429), True),
        (error(500, WEBHOOK), True),
        (error(500, "etcdserver: leader changed"), True),
        (error(500, SCHEMA), False),
        (error(503), True),
        (error(504), True),
        (error(409, reason="Conflict"), True),
        (error(409, reason="Conflict", details={"causes": [{"reason": "FieldManagerConflict"}]}), False),
        (error(400), False),
        (error(403), False),
        (error(404), False),
        (error(422), False),
    ],
)
def test_only_what_may_heal_by_itself_is_tried_again(failure: ApiError | ConnectionFailed, transient: bool) -> None:
    assert is_transient(failure) is transient


@given(st.integers(min_value=1, max_value=1000))
def test_the_pause_between_tries_is_bounded(attempt: int) -> None:
    assert 0.05 <= backoff_seconds(attempt) <= 5.0


def test_the_server_decides_the_pause_if_it_says_so() -> None:
    assert 7.0 <= backoff_seconds(1, ApiError(429, {}, retry_after_seconds=7.0)) <= 8.4


def test_a_conflict_names_fields_and_their_owners() -> None:
    causes = [
        {
            "reason": "FieldManagerConflict",
            "field": ".spec.replicas",
            "message": 'conflict with "kube-controller-manager" with subresource "scale" using apps/v1',
        },
        {"reason": "FieldManagerConflict", "field": ".data.a", "message": 'conflict with "kubectl" using v1'},
    ]
    assert conflicts_of(error(409, details={"causes": causes})) == (
        Conflict(".spec.replicas", "kube-controller-manager"),
        Conflict(".data.a", "kubectl"),
    )


def test_a_missing_right_names_user_verb_resource_and_namespace() -> None:
    message = (
        'deployments.apps "web" is forbidden: User "mallory" cannot patch resource "deployments" in API group "apps" '
        'in the namespace "erp"'
    )
    said = forbidden(error(403, message), "Deployment erp/web")
    assert said.cause == "mallory may not patch deployments.apps in namespace erp"
    assert said.next_command.startswith("kubectl auth can-i patch deployments.apps -n erp --as mallory")


def test_a_resource_knows_its_path() -> None:
    deployments = ResourceType("apps/v1", "Deployment", "deployments", True)
    assert deployments.path("web", "erp") == "/apis/apps/v1/namespaces/erp/deployments/web"
    assert deployments.path() == "/apis/apps/v1/deployments"
    assert ResourceType("v1", "Node", "nodes", False).path("n") == "/api/v1/nodes/n"
