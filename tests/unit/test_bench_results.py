"""Runs become medians, tables and verdicts."""

from __future__ import annotations

from typing import Any

import pytest

from bench.results import FailureRun, Run, failure_table, record, records, table, verdicts


def run(tool: str = "ours", size: int | str = 12, **changed: Any) -> Run:
    values: dict[str, Any] = {
        "round": 1,
        "start_seconds": 5.0,
        "wall_seconds": 6.0,
        "after_ready_seconds": 0.2,
        "api_requests": 30,
        "requests": {},
        "reads_by_kind": {"pods in a": 2},
        "cpu_seconds": 1.0,
        "rss_mb": 80.0,
    }
    return Run(tool, size, **{**values, **changed})


def test_a_record_holds_medians() -> None:
    made = record([run(wall_seconds=wall, api_requests=wall) for wall in (9, 6, 7)])
    assert (made.wall_seconds, made.api_requests, made.after_ready_seconds) == (7, 7, 0.2)


def test_a_run_with_a_problem_does_not_count_and_is_shown() -> None:
    made = record([run(wall_seconds=1.0, problem="exit status 1"), run(round=2)])
    assert made.wall_seconds == 6.0
    assert "ours, round 1: exit status 1" in table([made])


def test_a_tool_without_a_good_run_has_no_figures_and_stands_last() -> None:
    made = record([run("helm3", problem="exit status 1")])
    assert (made.wall_seconds, made.after_ready_seconds, made.rss_mb) == (None, None, None)
    rows = table([made, record([run()])]).splitlines()
    assert [row.split()[0] for row in rows] == ["tool", "ours", "helm3", "helm3,"]


def test_there_is_one_record_per_tool_and_size() -> None:
    made = records([run(), run("kapp"), run(round=2), run(size=100)])
    assert [(entry.tool, entry.size, len(entry.runs)) for entry in made] == [
        ("ours", 12, 2),
        ("kapp", 12, 1),
        ("ours", 100, 1),
    ]


def test_the_table_shows_median_and_spread_fastest_first() -> None:
    slow = record([run("kapp", wall_seconds=9.0)])
    ours = record([run(wall_seconds=wall) for wall in (6.0, 7.0, 6.5)])
    lines = table([slow, ours]).splitlines()
    assert "6.50 (6.00 to 7.00)  1.30" in lines[1]
    assert lines[2].startswith("kapp  9.00")


@pytest.mark.parametrize(("size", "seconds", "outcome"), [(12, 0.3, "reached"), (12, 0.31, "NOT reached")])
def test_the_return_after_readiness_is_judged(size: int, seconds: float, outcome: str) -> None:
    verdict = next(verdicts([record([run(size=size, after_ready_seconds=seconds)])], []))
    assert verdict == f"return after readiness at {size} ≤ 0.3 s: {seconds} s, {outcome}"


def test_a_thousand_have_a_second_and_200_mb() -> None:
    found = list(verdicts([record([run(size=1000, after_ready_seconds=0.9, rss_mb=201)])], []))
    assert "return after readiness at 1000 ≤ 1 s: 0.9 s, reached" in found
    assert "memory at 1000 ≤ 200 MB: 201 MB, NOT reached" in found


def test_the_kind_that_was_read_most_is_judged() -> None:
    found = list(verdicts([record([run(reads_by_kind={"pods in a": 3, "events in a": 4})])], []))
    assert "reads per kind and namespace at 12 (most: events in a) ≤ 3 requests: 4 requests, NOT reached" in found


def test_the_wall_time_is_judged_by_the_fastest_peer_of_the_same_size() -> None:
    made = records(
        [run(), run("kapp", wall_seconds=9.0), run("helm4", wall_seconds=5.5), run("kapp", 100, wall_seconds=1)]
    )
    assert "wall time at 12 (fastest peer: helm4) ≤ 5.5 s: 6 s, NOT reached" in list(verdicts(made, []))


def test_our_own_failing_is_judged_by_the_median() -> None:
    runs = [FailureRun("ours", number, seconds, 30) for number, seconds in enumerate((0.5, 3.0, 0.6))]
    assert list(verdicts([], [*runs, FailureRun("kapp", 1, 30.0, 30)])) == [
        "failing after a fatal state is visible ≤ 1 s: 0.6 s, reached"
    ]


def test_a_size_at_which_we_fail_is_not_passed_over() -> None:
    assert list(verdicts([record([run(problem="exit status 2")])], [])) == [
        "everything at 12: no run succeeded, NOT reached"
    ]


def test_a_failure_by_timeout_is_told_from_one_by_insight() -> None:
    lines = failure_table([FailureRun("ours", 1, 0.5, 30), FailureRun("kapp", 1, 29.9, 30)]).splitlines()
    assert lines[1].split() == ["ours", "0.50"]
    assert lines[2].endswith("by its timeout only")


def test_a_success_that_should_have_failed_is_shown() -> None:
    assert "kapp, round 1: it reported success" in failure_table(
        [FailureRun("kapp", 1, None, 30, "it reported success")]
    )
