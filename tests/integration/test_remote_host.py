"""rollout and readiness_gate on a host other than the controller: a bastion that is reached by SSH."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from .conftest import Sandbox
from .manifests import config_map, deployment, secret
from .plays import NO_CONNECTION, Task, gate, rollout, written_play
from .ssh_host import SshHost, ssh_host

PASSWORD = "do-not-print-me"
MISSING_IMAGE = "the image does not exist in the registry"
# A tilde is the home of whoever runs the module, on the bastion and on the controller.
REPORT = {"junit_path": "~/report.xml", "json_path": "~/report.json"}

# Each task has a connection of its own, and those in the background several.
pytestmark = pytest.mark.timeout(180)

Play = Callable[..., str]

IN_BACKGROUND = {"async": 60, "poll": 1}
# What Ansible adds to the result of any module.
OF_A_MODULE = {"invocation", "warnings", "deprecations"}


@pytest.fixture(scope="module")
def bastion(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshHost]:
    with ssh_host(tmp_path_factory.mktemp("bastion")) as host:
        yield host


@pytest.fixture
def play(sandbox: Sandbox, bastion: SshHost, tmp_path: Path) -> Play:
    """Run tasks on the bastion; returns what was printed."""
    inventory = tmp_path / "inventory.json"
    inventory.write_text(json.dumps({"all": {"hosts": {"bastion": dict(bastion.variables)}}}))

    def run(*tasks: Task, arguments: tuple[str, ...] = (), succeeds: bool = True) -> str:
        playbook = written_play(tmp_path / "play.yml", sandbox.env["KUBECONFIG"], *tasks)
        ended = sandbox.ansible_playbook(playbook, *arguments, inventory=inventory, environment=NO_CONNECTION)
        assert (ended.returncode == 0) is succeeds, ended.stdout + ended.stderr
        return ended.stdout

    return run


@pytest.fixture(autouse=True)
def no_earlier_reports(bastion: SshHost) -> None:
    for path in bastion.home.glob("report.*"):
        path.unlink()


def result_on(bastion: SshHost) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((bastion.home / "report.json").read_text())
    return result


def cases_on(bastion: SshHost) -> list[list[str]]:
    (suite,) = ElementTree.parse(bastion.home / "report.xml").getroot()
    return [[element.tag for element in case] for case in suite]


def test_the_modules_return_there_what_the_action_plugins_return_here(
    play: Play, bastion: SshHost, namespace: str, tmp_path: Path
) -> None:
    rolled_out, gated = rollout(config_map(namespace), deployment(namespace)), gate(namespace, "web")
    here = {"delegate_to": "localhost", "vars": {"ansible_connection": "local"}}
    kept = {"content": "{{ [rollout_there, gate_there, rollout_here, gate_here] | to_json }}"}
    printed = play(
        {**rolled_out, "register": "rollout_there"},
        {**gated, "register": "gate_there"},
        {**rolled_out, **here, "register": "rollout_here"},
        {**gated, **here, "register": "gate_here"},
        {"ansible.builtin.copy": {**kept, "dest": str(tmp_path / "results.json")}, **here},
    )
    rollout_there, gate_there, rollout_here, gate_here = json.loads((tmp_path / "results.json").read_text())
    assert rollout_there.keys() - OF_A_MODULE == rollout_here.keys()
    assert gate_there.keys() - OF_A_MODULE == gate_here.keys()
    assert rollout_there["changed"]
    assert not rollout_here["changed"]
    assert gate_there["ready"]
    assert gate_there["objects"][0]["message"] == gate_here["objects"][0]["message"] == "1/1 ready"
    assert "s all ready (1 created" not in printed, "nobody can see lines of a host that isn't the controller"
    assert "s all ready (2 unchanged)" in printed


def test_it_works_there_in_the_background_too(play: Play, bastion: SshHost, namespace: str) -> None:
    task = rollout(config_map(namespace), deployment(namespace), report=REPORT)
    assert "changed=1" in play({**task, **IN_BACKGROUND})
    assert {entry["status"] for entry in result_on(bastion)["objects"]} == {"Current"}
    assert cases_on(bastion) == [[], []]


@pytest.mark.parametrize("keywords", [{}, IN_BACKGROUND], ids=["awaited", "in the background"])
def test_it_fails_there_with_the_same_message_and_leaves_the_reports_there(
    play: Play, bastion: SshHost, namespace: str, keywords: dict[str, Any]
) -> None:
    broken = deployment(namespace, failure="ErrImagePull-not-found")
    task = rollout(secret(namespace, password=PASSWORD), broken, report=REPORT)
    printed = play({**task, **keywords}, arguments=("--diff", "-vvv"), succeeds=False)
    assert f"Deployment {namespace}/web: {MISSING_IMAGE}" in printed
    assert result_on(bastion)["failures"][0]["cause"].startswith(MISSING_IMAGE)
    assert sorted(cases_on(bastion)) == [[], ["failure"]]
    left = (bastion.home / "report.json").read_text() + (bastion.home / "report.xml").read_text()
    for hidden in (PASSWORD, base64.b64encode(PASSWORD.encode()).decode()):
        assert hidden not in printed
        assert hidden not in left


def test_a_report_that_cannot_be_written_there_is_refused_before_anything_is_applied(
    play: Play, sandbox: Sandbox, bastion: SshHost, namespace: str
) -> None:
    printed = play(rollout(config_map(namespace), report={"json_path": "~/missing/report.json"}), succeeds=False)
    assert f"{bastion.home}/missing/report.json: the folder of the report does not exist" in printed
    assert sandbox.kubectl("-n", namespace, "get", "configmap", "settings", "--ignore-not-found").stdout == ""


def test_check_mode_there_plans_and_leaves_no_report(play: Play, bastion: SshHost, namespace: str) -> None:
    printed = play(rollout(config_map(namespace, color="blue"), report=REPORT), arguments=("--check", "--diff"))
    assert "+  color: blue" in printed
    assert not list(bastion.home.glob("report.*"))
