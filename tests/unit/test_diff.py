"""Before and after of an object, without secrets and without what the server keeps for itself."""

from __future__ import annotations

import base64
import json
from typing import Any

from ansible_collections.erp.platform.plugins.module_utils.diff import comparable, difference
from ansible_collections.erp.platform.plugins.module_utils.objects import Ref
from hypothesis import given
from hypothesis import strategies as st

SECRET = Ref("v1", "Secret", "erp", "s")
VALUES = st.dictionaries(st.sampled_from("abcd"), st.text("0123456789", min_size=6, max_size=9), max_size=4)


def secret(values: dict[str, str], **metadata: Any) -> dict[str, Any]:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", **metadata}, "data": encoded}


@given(before=VALUES, after=VALUES)
def test_no_value_of_a_secret_is_ever_shown_but_that_it_changes_is(
    before: dict[str, str], after: dict[str, str]
) -> None:
    applied = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(before)}
    old, new = secret(before, annotations=applied), {**secret(after), "stringData": after}
    shown = difference(SECRET, old, new)
    text = json.dumps(shown)
    for value in [*before.values(), *after.values()]:
        assert value not in text
        assert base64.b64encode(value.encode()).decode() not in text
    only_data = difference(SECRET, secret(before), secret(after))
    assert (only_data["before"] == only_data["after"]) is (before == after)


def test_what_the_server_keeps_for_itself_is_not_shown() -> None:
    obj = {
        "kind": "Deployment",
        "metadata": {
            "name": "web",
            "uid": "u",
            "resourceVersion": "1",
            "generation": 2,
            "managedFields": [],
            "annotations": {"deployment.kubernetes.io/revision": "3"},
        },
        "spec": {"replicas": 1},
        "status": {"replicas": 1},
    }
    shown = difference(Ref("apps/v1", "Deployment", "erp", "web"), None, obj)
    assert shown["before"] == ""
    assert shown["after"] == "kind: Deployment\nmetadata:\n  name: web\nspec:\n  replicas: 1\n"


def test_taking_over_a_field_is_a_change_but_the_time_of_it_is_none() -> None:
    def managed(manager: str, time: str) -> dict[str, Any]:
        return {"metadata": {"managedFields": [{"manager": manager, "time": time, "fieldsV1": {}}]}}

    assert comparable(managed("a", "1")) == comparable(managed("a", "2"))
    assert comparable(managed("a", "1")) != comparable(managed("b", "1"))
