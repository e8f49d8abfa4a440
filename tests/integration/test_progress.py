"""What rollout and readiness_gate show while they wait, and what they leave behind in files."""

from __future__ import annotations

import base64
import json
import os
import pty
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import ansible_runner
import pytest

from .conftest import REPOSITORY, Sandbox
from .manifests import config_map, deployment, secret
from .plays import NO_CONNECTION, Task, gate, rollout, starting, written_play

# Long enough to tell "while it waits" from "at its end", however slow the machine.
START_SECONDS = 3.0
AHEAD_SECONDS = 1.5
# Above that for which a state must last to be shown.
LASTING_SECONDS = 2.0
PASSWORD = "do-not-print-me"
MISSING_IMAGE = "the image does not exist in the registry"

Play = Callable[..., str]


@pytest.fixture
def play(sandbox: Sandbox, tmp_path: Path) -> Play:
    """Run tasks on the controller; returns what was printed."""

    def run(
        *tasks: Task,
        arguments: tuple[str, ...] = (),
        inventory: str = "localhost,",
        succeeds: bool = True,
        **keywords: Any,
    ) -> str:
        playbook = written_play(
            tmp_path / "play.yml", sandbox.env["KUBECONFIG"], *tasks, **{"connection": "local", **keywords}
        )
        ended = sandbox.ansible_playbook(playbook, *arguments, inventory=inventory, environment=NO_CONNECTION)
        assert (ended.returncode == 0) is succeeds, ended.stdout + ended.stderr
        return ended.stdout

    return run


def create(sandbox: Sandbox, *manifests: dict[str, Any]) -> None:
    sandbox.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": manifests}))


# While it waits


def lines_in_a_terminal(command: list[str], environment: Mapping[str, str]) -> Iterator[str]:
    """Run the command in a pseudo-terminal; each line comes the moment it can be read."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL, stdout=its, stderr=its
    )
    os.close(its)
    unfinished = b""
    try:
        while chunk := _read(ours):
            *complete, unfinished = (unfinished + chunk).split(b"\n")
            for line in complete:
                yield line.decode().rstrip("\r")
    finally:
        os.close(ours)
        process.kill()
        process.wait()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # Linux says EIO when the other side has ended
        return b""


@pytest.fixture
def gate_on_web(sandbox: Sandbox, namespace: str, tmp_path: Path) -> Path:
    """A playbook that waits for a Deployment which nobody has created."""
    task = gate(namespace, "web")
    return written_play(tmp_path / "play.yml", sandbox.env["KUBECONFIG"], task, connection="local")


def test_in_a_terminal_lines_appear_while_it_waits(sandbox: Sandbox, namespace: str, gate_on_web: Path) -> None:
    """Only who has read that the Deployment is missing creates it: lines that came at the end would be too late."""
    command = ["ansible-playbook", "-i", "localhost,", str(gate_on_web)]
    seen: dict[str, float] = {}
    for line in lines_in_a_terminal(command, {**sandbox.env, **NO_CONNECTION}):
        seen[line] = time.monotonic()
        if "Deployment/web does not exist" in line:
            create(sandbox, starting(namespace, "web", START_SECONDS))
    (missing,) = (at for line, at in seen.items() if "Deployment/web does not exist" in line)
    (ended,) = (at for line, at in seen.items() if line.startswith("ok: [localhost]"))
    starts = min(at for line, at in seen.items() if "Deployment/web 0/1 ready" in line)
    assert missing < starts < ended - AHEAD_SECONDS, seen


def test_through_ansible_runner_lines_arrive_as_verbose_events_while_it_waits(
    sandbox: Sandbox, namespace: str, gate_on_web: Path, tmp_path: Path
) -> None:
    events: list[dict[str, Any]] = []
    arrivals: list[float] = []

    def take(event: dict[str, Any]) -> None:
        events.append(event)
        arrivals.append(time.monotonic())
        if "Deployment/web does not exist" in event["stdout"]:
            create(sandbox, starting(namespace, "web", START_SECONDS))

    (tmp_path / "runner").mkdir()
    run = ansible_runner.run(
        private_data_dir=str(tmp_path / "runner"),
        project_dir=str(REPOSITORY),
        playbook=str(gate_on_web),
        inventory="localhost,",
        envvars={**sandbox.env, **NO_CONNECTION},
        quiet=True,
        event_handler=take,
    )
    assert run.rc == 0, [event["stdout"] for event in events]
    shown = [index for index, event in enumerate(events) if "Deployment/web 0/1 ready" in event["stdout"]]
    assert {events[index]["event"] for index in shown} == {"verbose"}
    (ended,) = (index for index, event in enumerate(events) if event["event"] == "runner_on_ok")
    assert arrivals[ended] - arrivals[shown[0]] >= AHEAD_SECONDS
    created = [datetime.fromisoformat(events[index]["created"]) for index in (shown[0], ended)]
    assert (created[1] - created[0]).total_seconds() >= AHEAD_SECONDS


# How much is shown


@pytest.mark.parametrize(
    ("quiet", "arguments", "changes", "details"),
    [(True, ("-v",), False, False), (False, (), True, False), (False, ("-v",), True, True)],
    ids=["quiet", "default", "-v"],
)
def test_quiet_shows_outcomes_alone_and_v_shows_details_too(
    play: Play, namespace: str, quiet: bool, arguments: tuple[str, ...], changes: bool, details: bool
) -> None:
    task = rollout(config_map(namespace), starting(namespace, "web", LASTING_SECONDS), quiet=quiet)
    printed = play(task, arguments=arguments)
    assert "s Deployment/web 1/1 ready\n" in printed
    assert "s all ready (2 created)\n" in printed
    assert ("s Deployment/web 0/1 ready" in printed) is changes
    assert ("s ConfigMap/settings created\n" in printed) is details


def test_quiet_shows_what_failed(play: Play, namespace: str) -> None:
    broken = deployment(namespace, failure="ErrImagePull-not-found")
    printed = play(rollout(broken, quiet=True), succeeds=False)
    (line,) = (line for line in printed.splitlines() if f"s Deployment {namespace}/web failed: {MISSING_IMAGE}" in line)
    assert line.index("s Deployment") < 8, "the line of progress, not the task's message"


def test_no_log_hides_progress_too(play: Play, namespace: str) -> None:
    task = rollout(starting(namespace, "the-hidden", 0.5))
    printed = play({**task, "no_log": True}, arguments=("-v",))
    assert "changed: [localhost]" in printed
    assert "the-hidden" not in printed


def test_lines_of_several_hosts_bear_their_names(play: Play, namespace: str) -> None:
    task = rollout(starting(namespace, "web", 0.5))
    together = play(task, inventory="seoul,tokyo,")
    for host in ("seoul", "tokyo"):
        assert any(line.startswith(f"[{host}] ") and "1/1 ready" in line for line in together.splitlines()), together
    alone = play(rollout(starting(namespace, "web", 0.6)), inventory="seoul,tokyo,", arguments=("--limit", "seoul"))
    assert "s Deployment/web 1/1 ready\n" in alone
    assert "[seoul]  " not in alone


def test_as_another_user_it_is_the_module_that_runs(play: Play, namespace: str, tmp_path: Path) -> None:
    """The action plugin can't become anybody: it would work with the wrong user's credentials."""
    sudo = tmp_path / "sudo"
    sudo.write_text('#!/bin/sh\nwhile [ "$1" != /bin/sh ]; do shift; done\ntouch "$0.used"\nexec "$@"\n')
    sudo.chmod(0o755)
    interpreter = "{{ ansible_playbook_python }}"
    variables = {"ansible_become_exe": str(sudo), "ansible_python_interpreter": interpreter}
    printed = play(rollout(starting(namespace, "web", 0.5)), become=True, become_user="nobody", vars=variables)
    assert (tmp_path / "sudo.used").exists()
    assert "changed: [localhost]" in printed
    assert "Deployment/web" not in printed


# Report files


@dataclass(frozen=True)
class Reports:
    folder: Path

    @property
    def option(self) -> dict[str, str]:
        return {"junit_path": str(self.folder / "report.xml"), "json_path": str(self.folder / "report.json")}

    def text(self) -> str:
        return "".join(path.read_text() for path in sorted(self.folder.iterdir()))

    def result(self) -> dict[str, Any]:
        result: dict[str, Any] = json.loads((self.folder / "report.json").read_text())
        return result

    def cases(self) -> dict[str | None, list[str]]:
        """The elements in each case of the JUnit file, by the name of the case."""
        (suite,) = ElementTree.parse(self.folder / "report.xml").getroot()
        assert suite.get("tests") == str(len(suite))
        return {case.get("name"): [element.tag for element in case] for case in suite}


@pytest.fixture
def reports(tmp_path: Path) -> Reports:
    folder = tmp_path / "reports"
    folder.mkdir()
    return Reports(folder)


def test_success_leaves_a_passed_case_per_object_and_the_result(
    play: Play, namespace: str, reports: Reports, tmp_path: Path
) -> None:
    task = rollout(config_map(namespace, color="blue"), deployment(namespace), report=reports.option)
    kept = {"content": "{{ result | to_json }}", "dest": str(tmp_path / "registered.json")}
    play({**task, "register": "result"}, {"ansible.builtin.copy": kept})
    assert reports.cases() == {f"ConfigMap {namespace}/settings": [], f"Deployment {namespace}/web": []}
    assert {entry["change"] for entry in reports.result()["objects"]} == {"created"}
    registered = json.loads((tmp_path / "registered.json").read_text())
    assert {key: registered[key] for key in reports.result()} == reports.result()


def test_failure_leaves_failed_and_skipped_cases_and_the_result(play: Play, namespace: str, reports: Reports) -> None:
    nodes = [
        {
            "name": "infra",
            "manifests": [config_map(namespace), deployment(namespace, failure="ErrImagePull-not-found")],
        },
        {"name": "apps", "manifests": [config_map(namespace, "later")], "depends_on": ["infra"]},
    ]
    task = {"erp.platform.rollout": {"nodes": nodes, "timeout_seconds": 30, "report": reports.option}}
    play(task, succeeds=False)
    cases = reports.cases()
    assert cases[f"ConfigMap {namespace}/settings"] == []
    assert cases[f"Deployment {namespace}/web"] == ["failure"]
    assert sorted(tags for case in cases.values() for tags in case) == ["failure", "skipped"]
    result = reports.result()
    assert result["failed"]
    assert result["failures"][0]["cause"].startswith(MISSING_IMAGE)
    assert f'message="{MISSING_IMAGE}' in reports.text()


def test_what_the_gate_waited_for_in_vain_is_a_failed_case(play: Play, namespace: str, reports: Reports) -> None:
    task = gate(namespace, "absent", timeout_seconds=1, report=reports.option)
    play(task, succeeds=False)
    assert reports.cases() == {f"Deployment {namespace}/absent": ["failure"]}
    assert reports.result()["ready"] is False


def test_no_secret_gets_into_a_report(play: Play, namespace: str, reports: Reports) -> None:
    broken = deployment(namespace, failure="ErrImagePull-not-found")
    task = rollout(secret(namespace, password=PASSWORD), broken, report=reports.option)
    play(task, arguments=("--diff",), succeeds=False)
    assert '"diff"' in reports.text()
    assert f"Secret {namespace}/passwords" in reports.text()
    assert PASSWORD not in reports.text()
    assert base64.b64encode(PASSWORD.encode()).decode() not in reports.text()


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_applied(
    play: Play, sandbox: Sandbox, namespace: str, tmp_path: Path
) -> None:
    missing = tmp_path / "missing"
    task = rollout(config_map(namespace), report={"junit_path": str(missing / "report.xml")})
    printed = play(task, succeeds=False)
    assert f"{missing}/report.xml: the folder of the report does not exist" in printed
    assert f"mkdir -p {missing}" in printed
    assert sandbox.kubectl("-n", namespace, "get", "configmap", "settings", "--ignore-not-found").stdout == ""


def test_check_mode_leaves_no_report(play: Play, namespace: str, reports: Reports) -> None:
    play(rollout(config_map(namespace), report=reports.option), arguments=("--check",))
    assert not list(reports.folder.iterdir())


def test_a_report_without_a_path_is_refused(play: Play, namespace: str) -> None:
    printed = play(rollout(config_map(namespace), report={}), succeeds=False)
    assert "one of the following is required: junit_path, json_path found in report" in printed
