"""The status of every kind, one fixture for each rule and each edge; a fixture's name says what it shows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.erp.platform.plugins.module_utils.status import RULES, State, settles_when_applied, status_of

FIXTURES = {
    path.stem: yaml.safe_load(path.read_text()) for path in sorted(Path(__file__).parent.glob("fixtures/status/*.yml"))
}


@pytest.mark.parametrize("name", FIXTURES)
def test_the_status_is_what_the_fixture_says(name: str) -> None:
    expected = FIXTURES[name]["expected"]
    status = status_of(FIXTURES[name]["object"])
    assert (status.state.value, status.reason) == (expected["state"], expected["reason"])
    assert status.message == expected.get("message", status.message)


@pytest.mark.parametrize("rule", sorted({rule.__name__ for rule in RULES.values()}))
def test_every_rule_has_a_fixture_of_what_it_calls_current_and_of_what_not(rule: str) -> None:
    states = {
        entry["expected"]["state"]
        for entry in FIXTURES.values()
        if (found := RULES.get(_kind(entry["object"]))) is not None and found.__name__ == rule
    }
    assert "Current" in states
    assert states - {"Current"} or rule == "_cron_job"


@pytest.mark.parametrize(("group", "kind"), sorted(RULES))
def test_an_object_without_status_has_one_nevertheless(group: str, kind: str) -> None:
    bare: dict[str, Any] = {"apiVersion": f"{group}/v1" if group else "v1", "kind": kind, "metadata": {"name": "x"}}
    assert status_of(bare).state in {State.CURRENT, State.IN_PROGRESS}


@pytest.mark.parametrize("name", FIXTURES)
def test_what_settles_when_applied_is_current(name: str) -> None:
    obj = FIXTURES[name]["object"]
    assert status_of(obj).is_current or not settles_when_applied(obj)


@pytest.mark.parametrize(
    ("name", "settles"),
    [
        ("config-map", True),
        ("secret", True),
        ("cron-job", True),
        ("cron-job-suspended", True),
        ("service-cluster-ip", True),
        ("service-external-name", True),
        ("service-load-balancer-without-address", False),
        ("service-load-balancer-with-address", False),
        ("disruption-budget-without-pods", False),
        ("deployment-ready", False),
        ("custom-resource-without-conditions", False),
    ],
)
def test_only_what_nothing_in_the_cluster_works_on_settles_when_applied(name: str, settles: bool) -> None:
    assert settles_when_applied(FIXTURES[name]["object"]) is settles


def test_a_config_map_that_is_being_deleted_does_not_settle() -> None:
    deleted = {**FIXTURES["config-map"]["object"], "metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}
    assert not settles_when_applied(deleted)


@pytest.mark.parametrize("observed", ["²", "9" * 5000, "", "-1", 1.5, True, [1]])
def test_an_observed_generation_that_is_no_number_says_nothing(observed: object) -> None:
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"generation": 2}}
    assert status_of({**widget, "status": {"observedGeneration": observed}}).is_current


def test_two_conditions_that_contradict_each_other_have_no_order() -> None:
    widget = {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"generation": 2}}
    both = [{"type": "Ready", "status": "True"}, {"type": "Ready", "status": "False"}]
    statuses = {status_of({**widget, "status": {"conditions": given}}) for given in (both, both[::-1])}
    assert len(statuses) == 1


def _kind(obj: Mapping[str, Any]) -> tuple[str, str]:
    return str(obj["apiVersion"]).rpartition("/")[0], str(obj["kind"])
