"""Results as JUnit XML and JSON: what programs find in the files, and when the files are there."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from ansible_collections.erp.platform.plugins.module_utils.errors import PlatformError
from ansible_collections.erp.platform.plugins.module_utils.report_files import (
    ReportFiles,
    concluded,
    json_of,
    junit_of,
)
from hypothesis import given
from hypothesis import strategies as st

MISSING_IMAGE = {
    "object": "Deployment erp-dev/web",
    "cause": "the image does not exist in the registry",
    "evidence": "pod web-1: not found",
    "next_command": "kubectl -n erp-dev describe pod web-1",
}


def entry(name: str, status: str = "Current", **fields: Any) -> dict[str, Any]:
    return {
        "node": "apps",
        "api_version": "apps/v1",
        "kind": "Deployment",
        "namespace": "erp-dev",
        "name": name,
        "status": status,
        "reason": "",
        "message": "1/2 ready",
        "ready_after_seconds": 2.5 if status == "Current" else None,
        **fields,
    }


def suite_of(result: dict[str, Any]) -> ElementTree.Element:
    suites = ElementTree.fromstring(junit_of("erp.platform.rollout", result, 12.25))
    (suite,) = suites
    assert {name: suite.get(name) for name in suites.attrib} == suites.attrib
    return suite


def cases_of(result: dict[str, Any]) -> dict[str | None, ElementTree.Element]:
    suite = suite_of(result)
    cases = {case.get("name"): case for case in suite}
    assert len(cases) == len(suite), "GitLab shows only the first of several cases with one name"
    assert suite.get("tests") == str(len(cases))
    assert suite.get("failures") == str(len(suite.findall("testcase/failure")))
    assert suite.get("skipped") == str(len(suite.findall("testcase/skipped")))
    return cases


def said_in(case: ElementTree.Element, element: str) -> str:
    found = case.find(element)
    assert found is not None
    return f"{found.get('message')}\n{found.text or ''}"


def test_a_ready_object_is_a_passed_case_of_its_node_with_the_time_it_took() -> None:
    (case,) = cases_of({"objects": [entry("web")], "failures": []}).values()
    assert case.attrib == {"name": "Deployment erp-dev/web", "classname": "apps", "time": "2.500"}
    assert not list(case)


def test_without_a_node_the_class_is_the_kind() -> None:
    gated = {**entry("web")}
    del gated["node"]
    pruned = entry("old", "Terminating", node=None, change="deleted", kind="ConfigMap")
    cases = cases_of({"objects": [gated, pruned], "failures": []})
    assert [case.get("classname") for case in cases.values()] == ["Deployment", "ConfigMap"]
    assert not any(list(case) for case in cases.values())


def test_a_failed_object_says_cause_evidence_and_next_command_and_an_undecided_one_is_skipped() -> None:
    result = {"objects": [entry("web", "InProgress"), entry("api", "InProgress")], "failures": [MISSING_IMAGE]}
    cases = cases_of(result)
    failure = said_in(cases["Deployment erp-dev/web"], "failure")
    assert failure.startswith("the image does not exist in the registry\n")
    assert "evidence: pod web-1: not found" in failure
    assert "next:     kubectl -n erp-dev describe pod web-1" in failure
    skipped = said_in(cases["Deployment erp-dev/api"], "skipped")
    assert skipped.startswith("InProgress when the task ended: 1/2 ready")


def test_a_node_that_was_not_started_is_skipped() -> None:
    waiting = {"object": "node apps", "cause": "not started", "evidence": "it depends on infra", "next_command": ""}
    nodes = [{"name": "infra", "status": "failed"}, {"name": "apps", "status": "not started"}]
    result = {"objects": [entry("web", "Failed")], "nodes": nodes, "failures": [MISSING_IMAGE, waiting]}
    cases = cases_of(result)
    assert "not started: it depends on infra" in said_in(cases["node apps"], "skipped")
    assert suite_of(result).get("failures") == "1"


def test_a_refused_input_is_a_failed_case_though_there_are_no_objects() -> None:
    refused = PlatformError("there is nothing to wait for", object="readiness_gate").as_result()
    assert "there is nothing to wait for" in said_in(cases_of(refused)["readiness_gate"], "failure")


def test_a_failure_about_one_of_two_entries_of_an_object_is_that_of_the_unready_one() -> None:
    failure = {**MISSING_IMAGE, "object": "Service erp-dev/web"}
    ready, short = entry("web", kind="Service"), entry("web", "InProgress", kind="Service")
    failed, passed = cases_of({"objects": [ready, short], "failures": [failure]}).values()
    assert failed.find("failure") is not None
    assert not list(passed)
    assert passed.get("time") == "2.500"


def test_everything_that_is_said_about_an_object_is_in_one_failure() -> None:
    second = {**MISSING_IMAGE, "cause": "the quota is used up"}
    cases = cases_of({"objects": [entry("web", "Failed")], "failures": [MISSING_IMAGE, second]})
    (failure,) = cases["Deployment erp-dev/web"]
    assert failure.get("message") == "the image does not exist in the registry; the quota is used up"


def test_colours_and_control_characters_of_a_log_are_left_out() -> None:
    evidence = "\x1b[31mERROR\x1b[0m <b> & \x00\x08\ud800 접속 거부"
    result = {"objects": [entry("web", "Failed")], "failures": [{**MISSING_IMAGE, "evidence": evidence}]}
    assert "evidence: ERROR <b> &  접속 거부\n" in said_in(cases_of(result)["Deployment erp-dev/web"], "failure")


@given(st.text(st.characters(codec=None, exclude_categories=())))
def test_whatever_a_cluster_says_the_files_can_be_read(text: str) -> None:
    failure = {"object": f"Deployment erp-dev/{text}", "cause": text, "evidence": text, "next_command": text}
    result = {"objects": [entry(text, "Failed", message=text)], "failures": [failure]}
    assert suite_of(result).get("failures") == "1"
    assert json.loads(json_of(result)).keys() == result.keys()


def test_json_is_the_result_with_its_keys_in_order() -> None:
    assert json_of({"b": 1, "a": [2]}).decode() == '{\n  "a": [\n    2\n  ],\n  "b": 1\n}\n'


# When they are written


@pytest.fixture
def files(tmp_path: Path) -> ReportFiles:
    return ReportFiles("suite", tmp_path / "report.xml", tmp_path / "report.json")


def conclude(files: ReportFiles, result: dict[str, Any] | PlatformError, *, with_diff: bool = False) -> dict[str, Any]:
    def work() -> dict[str, Any]:
        if isinstance(result, PlatformError):
            raise result
        return dict(result)

    return concluded(work, files, with_diff=with_diff)


@pytest.mark.parametrize("outcome", [{"objects": [], "failures": []}, PlatformError("broken")])
def test_both_files_are_written_whether_the_work_succeeds_or_fails(
    files: ReportFiles, tmp_path: Path, outcome: dict[str, Any] | PlatformError
) -> None:
    result = conclude(files, outcome)
    assert json.loads((tmp_path / "report.json").read_text()) == result
    ElementTree.parse(tmp_path / "report.xml")
    assert {path.name for path in tmp_path.iterdir()} == {"report.xml", "report.json"}, "a temporary file was left"


@pytest.mark.parametrize("with_diff", [True, False])
def test_a_diff_is_in_the_file_only_if_it_was_asked_for(files: ReportFiles, with_diff: bool) -> None:
    assert files.json_path is not None
    result = conclude(files, {"objects": [], "failures": [], "diff": []}, with_diff=with_diff)
    assert ("diff" in result) is ("diff" in json.loads(files.json_path.read_text())) is with_diff


def test_whoever_reads_meanwhile_sees_the_earlier_file_whole_and_others_keep_being_able_to(files: ReportFiles) -> None:
    assert files.json_path is not None
    files.json_path.write_text("earlier")
    mode = files.json_path.stat().st_mode
    with files.json_path.open() as reader:
        conclude(files, {"failures": []})
        assert reader.read() == "earlier"
    assert json.loads(files.json_path.read_text()) == {"failures": []}
    assert files.json_path.stat().st_mode == mode


def a_missing_folder(tmp_path: Path) -> Path:
    return tmp_path / "absent/report.xml"


def a_file_for_a_folder(tmp_path: Path) -> Path:
    (tmp_path / "file").touch()
    return tmp_path / "file/report.xml"


def a_folder_for_a_file(tmp_path: Path) -> Path:
    return tmp_path


def a_file_system_without_files(tmp_path: Path) -> Path:
    return Path("/proc/report.xml")


@pytest.mark.parametrize(
    ("path_in", "cause"),
    [
        (a_missing_folder, "the folder of the report does not exist"),
        (a_file_for_a_folder, "the folder of the report does not exist"),
        (a_folder_for_a_file, "is to be a report but is a folder"),
        (a_file_system_without_files, "the report cannot be written"),
    ],
)
def test_a_path_that_cannot_be_written_is_refused_before_the_work_begins(
    tmp_path: Path, path_in: Callable[[Path], Path], cause: str
) -> None:
    path = path_in(tmp_path)

    def work() -> dict[str, Any]:
        pytest.fail("the work began")

    result = concluded(work, ReportFiles("suite", junit_path=path), with_diff=False)
    assert result["failed"]
    (failure,) = result["failures"]
    assert failure["object"] == str(path)
    assert failure["cause"] == cause


def test_one_path_for_both_reports_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="is the path of both reports"):
        ReportFiles("suite", tmp_path / "report", tmp_path / "report").check()


@pytest.mark.parametrize("outcome", [{"objects": [], "failures": []}, PlatformError("broken")])
def test_a_file_that_cannot_be_written_any_more_fails_the_task_and_hides_nothing(
    tmp_path: Path, outcome: dict[str, Any] | PlatformError
) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()

    def work() -> dict[str, Any]:
        folder.rmdir()
        if isinstance(outcome, PlatformError):
            raise outcome
        return outcome

    result = concluded(work, ReportFiles("suite", json_path=folder / "report.json"), with_diff=False)
    assert result["failed"]
    assert f"{folder}/report.json: the report cannot be written" in result["msg"]
    causes = [failure["cause"] for failure in result["failures"]]
    assert causes == [*(["broken"] if isinstance(outcome, PlatformError) else []), "the report cannot be written"]


def test_check_mode_writes_nothing_and_a_relative_path_starts_where_the_task_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    params = {"report": {"junit_path": "report.xml", "json_path": None}}
    assert ReportFiles.asked_for("suite", params, check_mode=True) == ReportFiles("suite")
    assert ReportFiles.asked_for("suite", params, check_mode=False) == ReportFiles("suite", tmp_path / "report.xml")
    assert ReportFiles.asked_for("suite", {"report": None}, check_mode=False) == ReportFiles("suite")
