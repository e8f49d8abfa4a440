"""The caller's own condition: what it reads, what it says, and what it cannot overrule."""

from __future__ import annotations

import builtins
from typing import Any

import pytest
from ansible_collections.erp.platform.plugins.module_utils.custom_condition import CustomCondition, parse
from ansible_collections.erp.platform.plugins.module_utils.errors import PlatformError
from ansible_collections.erp.platform.plugins.module_utils.status import State, Status

SUBJECT = "Widget erp/example"


def test_an_entry_without_either_option_has_no_condition() -> None:
    assert parse({"kind": "Widget", "condition": None, "ready_when": None}, SUBJECT) is None


def test_both_options_are_refused() -> None:
    with pytest.raises(PlatformError, match="exclude each other") as raised:
        parse({"condition": {"type": "Synced"}, "ready_when": "`true`"}, SUBJECT)
    assert raised.value.object == SUBJECT


@pytest.mark.parametrize(
    ("wanted", "present", "expected"),
    [
        ({}, ("True", ""), Status(State.CURRENT, "ConditionMet", "condition Synced is True")),
        (
            {},
            ("False", "ReconcileError"),
            Status(State.IN_PROGRESS, "ReconcileError", "condition Synced is False (ReconcileError: no access)"),
        ),
        ({}, ("Unknown", ""), Status(State.IN_PROGRESS, "ConditionNotMet", "condition Synced is Unknown")),
        ({"status": "False"}, ("False", ""), Status(State.CURRENT, "ConditionMet", "condition Synced is False")),
        ({"status": "False"}, ("True", ""), Status(State.IN_PROGRESS, "ConditionNotMet", "condition Synced is True")),
        ({"status": "Unknown"}, ("Unknown", ""), Status(State.CURRENT, "ConditionMet", "condition Synced is Unknown")),
        (
            {"reason": "Done"},
            ("True", "Started"),
            Status(State.IN_PROGRESS, "Started", "condition Synced is True (Started: no access), not for reason Done"),
        ),
        (
            {"reason": "Done"},
            ("True", "Done"),
            Status(State.CURRENT, "ConditionMet", "condition Synced is True (Done: no access)"),
        ),
    ],
)
def test_a_condition_is_met_when_status_and_reason_are_as_wanted(
    wanted: dict[str, str], present: tuple[str, str], expected: Status
) -> None:
    status, reason = present
    entry = {"type": "Synced", "status": status, **({"reason": reason, "message": "no access"} if reason else {})}
    assert _by_condition(wanted).status(_widget(conditions=[entry])) == expected


def test_a_condition_that_is_not_there_is_waited_for() -> None:
    status = _by_condition({}).status(_widget(conditions=[{"type": "Ready", "status": "True"}]))
    assert status == Status(State.IN_PROGRESS, "NoCondition", "condition Synced is not there yet")


def test_a_condition_about_an_older_generation_does_not_count() -> None:
    entry = {"type": "Synced", "status": "True", "observedGeneration": 1}
    assert _by_condition({}).status(_widget(generation=2, conditions=[entry])).reason == "GenerationNotObserved"
    assert _by_condition({}).status(_widget(generation=1, conditions=[entry])).is_current


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        (
            "status.phase == 'Active'",
            Status(
                State.IN_PROGRESS,
                "ReadyWhenNotMet",
                """ready_when status.phase == 'Active' is false: status.phase \
is "Pending\"""",
            ),
        ),
        (
            "status.phase == 'Pending'",
            Status(State.CURRENT, "ReadyWhenMet", "ready_when status.phase == 'Pending' is true"),
        ),
        (
            "status.nodes >= spec.nodes && status.phase == 'Active'",
            Status(
                State.IN_PROGRESS,
                "ReadyWhenNotMet",
                "ready_when status.nodes >= spec.nodes && status.phase == 'Active' is false: "
                'status.nodes is 1, spec.nodes is 3, status.phase is "Pending"',
            ),
        ),
        (
            "length(status.members[?state=='up']) == spec.nodes",
            Status(
                State.IN_PROGRESS,
                "ReadyWhenNotMet",
                "ready_when length(status.members[?state=='up']) == spec.nodes is false: "
                'status.members is [{"state": "up"}, {"state": "down"}], spec.nodes is 3',
            ),
        ),
        ("length(status.members[?state=='up']) == `1`", None),
        ("status.conditions[?type=='Up'] | [0].status == 'True'", None),
        ("!(status.error)", None),
    ],
)
def test_an_expression_is_met_when_it_yields_true(expression: str, expected: Status | None) -> None:
    widget = _widget(
        spec={"nodes": 3},
        phase="Pending",
        nodes=1,
        members=[{"state": "up"}, {"state": "down"}],
        conditions=[{"type": "Up", "status": "True"}],
    )
    status = _by_expression(expression).status(widget)
    assert status == expected if expected is not None else status.is_current


@pytest.mark.parametrize(
    ("expression", "yields"),
    [("status.phase", '"Pending"'), ("status.members", "[]"), ("status.nodes", "1"), ("status.other", "null")],
)
def test_only_the_boolean_true_is_ready(expression: str, yields: str) -> None:
    status = _by_expression(expression).status(_widget(phase="Pending", nodes=1, members=[]))
    assert status.state is State.IN_PROGRESS
    assert f"yields {yields}, which is not true" in status.message


def test_a_function_of_a_field_that_is_not_there_yet_is_waited_for() -> None:
    status = _by_expression("length(status.members) == `3`").status(_widget())
    assert status.state is State.IN_PROGRESS
    assert status.message.endswith("cannot be evaluated yet: length() takes string or array or object, not null")
    assert _by_expression("length(status.members) == `1`").status(_widget(members=[1])).is_current


@pytest.mark.parametrize("expression", ["max_by(status.members, &x)", "status.members[::0]"])
def test_what_the_library_stumbles_over_is_no_end_of_the_wait(expression: str) -> None:
    status = _by_expression(expression).status(_widget(members=[{"x": 1}, {"x": "y"}]))
    assert status.state is State.IN_PROGRESS
    assert "cannot be evaluated: " in status.message


def test_a_long_value_is_shown_in_part() -> None:
    message = _by_expression("status.text == 'short'").status(_widget(text="x" * 1000)).message
    assert len(message) < 250
    assert message.endswith("…")


def test_the_content_of_a_secret_is_never_shown() -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "data": {"password": "aHVudGVyMg=="}}
    for expression in ("data.password == 'other'", "data.password", "length(data.password) == `3`"):
        message = _by_expression(expression).status(secret).message
        assert "aHVudGVyMg" not in message
        assert "something that is not shown" in message


def test_a_function_error_does_not_show_the_content_of_a_secret() -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "data": {"password": "aHVudGVyMg=="}}
    assert "aHVudGVyMg" not in _by_expression("keys(data.password) == `3`").status(secret).message


@pytest.mark.parametrize(
    ("expression", "cause", "evidence"),
    [
        ("status.phase ==", "Incomplete expression", "status.phase ==\n               ^ column 16"),
        ("status phase", "Unexpected token: phase", "status phase\n       ^ column 8"),
        ("status.phase == 'Active", "Unclosed ' delimiter", "status.phase == 'Active\n                ^ column 17"),
        ("a &&\n b ? c", "Unknown token ?", " b ? c\n   ^ column 4"),
        ('status.phase == "Active"', "'Active'", 'status.phase == "Active"\n                ^ column 17'),
        ('"Active" != status.phase', "'Active'", '"Active" != status.phase\n^ column 1'),
        ('status.conditions[?type=="Ready"]', "'Ready'", f'status.conditions[?type=="Ready"]\n{" " * 25}^ column 26'),
        ("size(status.members) > `1`", "there is no function size()", "size(status.members) > `1`\n^ column 1"),
        ("a && length(b, c)", "length() takes 1 arguments, not 2", "a && length(b, c)\n     ^ column 6"),
        ("a[?contains(b)]", "contains() takes 2 arguments, not 1", "a[?contains(b)]\n   ^ column 4"),
    ],
)
def test_a_wrong_expression_is_refused_with_its_place(expression: str, cause: str, evidence: str) -> None:
    with pytest.raises(PlatformError) as raised:
        parse({"ready_when": expression}, SUBJECT)
    assert raised.value.object == SUBJECT
    assert raised.value.cause.startswith("ready_when is not a JMESPath expression: ")
    assert cause in raised.value.cause
    assert raised.value.evidence == evidence


def test_an_empty_expression_is_refused() -> None:
    with pytest.raises(PlatformError, match="ready_when is empty"):
        parse({"ready_when": ""}, SUBJECT)


@pytest.mark.parametrize(
    "expression", ["status.\"a-b\" == 'x'", '"a".b == `1`', "max_by(a, &b).c == `1`", "merge(a, b) == c"]
)
def test_names_that_need_quotes_and_any_number_of_arguments_are_accepted(expression: str) -> None:
    assert parse({"ready_when": expression}, SUBJECT) is not None


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    actual = builtins.__import__

    def without_jmespath(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == "jmespath":
            raise ImportError(f"No module named {name!r}")
        return actual(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_jmespath)
    with pytest.raises(PlatformError, match="jmespath, which is not installed") as raised:
        parse({"ready_when": "status.ready"}, SUBJECT)
    assert raised.value.next_command == "pip install jmespath"
    assert parse({"condition": {"type": "Synced"}}, SUBJECT) is not None


MET: list[CustomCondition] = [
    CustomCondition(parse({"condition": {"type": "Up"}}, SUBJECT).wanted),  # type: ignore[union-attr]
    CustomCondition(parse({"ready_when": "`true`"}, SUBJECT).wanted),  # type: ignore[union-attr]
]


@pytest.mark.parametrize("met", MET)
@pytest.mark.parametrize(
    ("change", "state", "reason"),
    [
        ({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}, State.TERMINATING, "Terminating"),
        ({"metadata": {"generation": 2}}, State.IN_PROGRESS, "GenerationNotObserved"),
        ({"extra": [{"type": "Stalled", "status": "True", "reason": "Broken"}]}, State.FAILED, "Broken"),
        ({"extra": [{"type": "Reconciling", "status": "True", "reason": "Busy"}]}, State.IN_PROGRESS, "Busy"),
        (
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "extra": [{"type": "Failed", "status": "True", "reason": "Limit"}],
            },
            State.FAILED,
            "Limit",
        ),
        (
            {
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "extra": [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}],
            },
            State.FAILED,
            "ProgressDeadlineExceeded",
        ),
    ],
)
def test_what_the_object_cannot_be_ready_with_comes_before_the_condition(
    met: CustomCondition, change: dict[str, Any], state: State, reason: str
) -> None:
    change = dict(change)
    conditions = [{"type": "Up", "status": "True"}, *change.pop("extra", [])]
    obj = {**_widget(observedGeneration=1, conditions=conditions), **change}
    status = met.status(obj)
    assert (status.state, status.reason) == (state, reason)


@pytest.mark.parametrize("met", MET)
def test_the_condition_takes_the_place_of_what_the_kind_waits_for(met: CustomCondition) -> None:
    up = [{"type": "Up", "status": "True"}, {"type": "Ready", "status": "False"}]
    assert met.status(_widget(conditions=up)).is_current
    ingress = {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {}, "status": {"conditions": up}}
    assert met.status(ingress).is_current


def test_a_ready_object_waits_for_the_condition_all_the_same() -> None:
    ready = _widget(conditions=[{"type": "Ready", "status": "True"}])
    assert _by_condition({}).status(ready).state is State.IN_PROGRESS
    assert _by_expression("status.phase == 'Active'").status(ready).state is State.IN_PROGRESS


def _by_condition(wanted: dict[str, str]) -> CustomCondition:
    found = parse({"condition": {"type": "Synced", **wanted}}, SUBJECT)
    assert found is not None
    return found


def _by_expression(expression: str) -> CustomCondition:
    found = parse({"ready_when": expression}, SUBJECT)
    assert found is not None
    return found


def _widget(*, generation: int = 1, spec: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    return {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": {"name": "example", "generation": generation},
        "spec": spec or {},
        "status": status,
    }
