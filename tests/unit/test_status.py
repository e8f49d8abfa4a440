"""The status of every kind, one fixture for each rule; a fixture's name says what it shows."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.erp.platform.plugins.module_utils.status import RULES, State, settles_when_applied, status_of
from hypothesis import given
from hypothesis import strategies as st

FIXTURES = {
    path.stem: yaml.safe_load(path.read_text()) for path in sorted(Path(__file__).parent.glob("fixtures/status/*.yml"))
}


@pytest.mark.parametrize("name", FIXTURES)
def test_the_status_is_what_the_fixture_says(name: str) -> None:
    expected = FIXTURES[name]["expected"]
    status = status_of(FIXTURES[name]["object"])
    assert (status.state.value, status.reason) == (expected["state"], expected["reason"])
    assert status.message == expected.get("message", status.message)


@given(name=st.sampled_from(sorted(FIXTURES)), data=st.data())
def test_the_order_of_conditions_does_not_matter(name: str, data: st.DataObject) -> None:
    obj = copy.deepcopy(FIXTURES[name]["object"])
    conditions = (obj.get("status") or {}).get("conditions") or []
    if conditions:
        obj["status"]["conditions"] = data.draw(st.permutations(conditions))
    assert status_of(obj) == status_of(FIXTURES[name]["object"])


@given(name=st.sampled_from(sorted(FIXTURES)))
def test_an_object_being_deleted_is_never_anything_else(name: str) -> None:
    obj = copy.deepcopy(FIXTURES[name]["object"])
    obj["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert status_of(obj).state is State.TERMINATING


@given(name=st.sampled_from(sorted(FIXTURES)), generation=st.integers(min_value=1), observed=st.integers(min_value=1))
def test_a_status_of_another_generation_is_never_current(name: str, generation: int, observed: int) -> None:
    obj = copy.deepcopy(FIXTURES[name]["object"])
    obj["metadata"]["generation"] = generation
    obj["status"] = {**(obj.get("status") or {}), "observedGeneration": observed}
    if generation != observed:
        assert not status_of(obj).is_current


@pytest.mark.parametrize(("group", "kind"), sorted(RULES))
def test_an_object_without_status_has_one_nevertheless(group: str, kind: str) -> None:
    bare: dict[str, Any] = {"apiVersion": f"{group}/v1" if group else "v1", "kind": kind, "metadata": {"name": "x"}}
    assert status_of(bare).state in {State.CURRENT, State.IN_PROGRESS}
    if settles_when_applied(bare):
        assert status_of(bare).is_current
