"""rollout and readiness_gate as tasks: where they run, what they show, how they get their connection."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from .conftest import Sandbox
from .manifests import config_map, deployment, secret

Play = Callable[..., str]


@pytest.fixture
def play(sandbox: Sandbox, tmp_path: Path) -> Play:
    """Run tasks as a play of their own; returns what it printed."""

    def run(*tasks: dict[str, Any], arguments: tuple[str, ...] = (), succeeds: bool = True, **keywords: Any) -> str:
        hosts: dict[str, Any] = {"hosts": "localhost", "connection": "local", "gather_facts": False}
        hosts["vars"] = {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        playbook = tmp_path / "play.yml"
        playbook.write_text(json.dumps([{**hosts, **keywords, "tasks": list(tasks)}]))
        # The connection comes from the play, never from what the sandbox exports.
        environment: Mapping[str, str] = {"KUBECONFIG": "/nonexistent", "K8S_AUTH_KUBECONFIG": ""}
        ended = sandbox.ansible_playbook(playbook, *arguments, inventory="localhost,", environment=environment)
        assert (ended.returncode == 0) is succeeds, ended.stdout + ended.stderr
        return ended.stdout

    return run


@pytest.fixture
def defaults(sandbox: Sandbox) -> dict[str, Any]:
    return {"group/erp.platform.kubernetes": {"kubeconfig": sandbox.env["KUBECONFIG"]}}


def rollout(*manifests: dict[str, Any], **options: Any) -> dict[str, Any]:
    nodes = [{"name": "all", "manifests": list(manifests)}]
    return {"erp.platform.rollout": {"nodes": nodes, "timeout_seconds": 30, **options}, "register": "result"}


ASSERT_UNCHANGED = {"ansible.builtin.assert": {"that": ["result is not changed", "result.diff is not defined"]}}


def test_module_defaults_of_the_group_reach_it_and_progress_is_shown_while_it_runs(
    play: Play, defaults: dict[str, Any], namespace: str
) -> None:
    web = deployment(namespace)
    gate = {"kind": "Deployment", "api_version": "apps/v1", "namespace": namespace, "name": "web"}
    printed = play(
        rollout(web),
        rollout(web),
        ASSERT_UNCHANGED,
        {"erp.platform.readiness_gate": {"objects": [gate]}},
        module_defaults=defaults,
    )
    for shown in ("Deployment/web 1/1 ready", "all ready (1 created)", "all ready (1 unchanged)"):
        assert f"s {shown}\n" in printed


def test_environment_of_the_task_is_honoured(play: Play, sandbox: Sandbox, namespace: str) -> None:
    environment = {"K8S_AUTH_KUBECONFIG": sandbox.env["KUBECONFIG"]}
    play({**rollout(config_map(namespace, color="blue")), "environment": environment})


def test_where_the_action_plugin_cannot_show_progress_the_module_does_the_same(
    play: Play, defaults: dict[str, Any], namespace: str
) -> None:
    gate = {"kind": "ConfigMap", "namespace": namespace, "name": "settings"}
    in_background = {"async": 60, "poll": 1}
    printed = play(
        {**rollout(config_map(namespace, color="blue")), **in_background},
        {**rollout(config_map(namespace, color="blue")), **in_background},
        ASSERT_UNCHANGED,
        {"erp.platform.readiness_gate": {"objects": [gate]}, **in_background},
        module_defaults=defaults,
    )
    assert "failed=0" in printed


def test_check_and_diff_show_a_plan_and_no_secret(play: Play, defaults: dict[str, Any], namespace: str) -> None:
    planned = rollout(secret(namespace, password="do-not-print-me"), config_map(namespace, color="blue"))
    printed = play(planned, arguments=("--check", "--diff"), module_defaults=defaults)
    assert "+  color: blue" in printed
    assert "do-not-print-me" not in printed
    assert "ZG8tbm90LXByaW50LW1l" not in printed
    again = play(planned, arguments=("--check",), module_defaults=defaults)
    assert "changed=1" in again


@pytest.mark.parametrize("keywords", [{}, {"async": 60, "poll": 1}], ids=["action plugin", "module"])
def test_even_verbose_output_shows_no_secret(
    play: Play, defaults: dict[str, Any], namespace: str, keywords: dict[str, Any]
) -> None:
    task = {**rollout(secret(namespace, password="do-not-print-me")), **keywords}
    printed = play(task, arguments=("-vvv",), module_defaults=defaults)
    assert "do-not-print-me" not in printed


def test_a_failure_is_one_readable_message(play: Play, defaults: dict[str, Any], namespace: str) -> None:
    broken = deployment(namespace, failure="ErrImagePull-not-found")
    printed = play(rollout(broken), module_defaults=defaults, succeeds=False)
    assert f"Deployment {namespace}/web: the image does not exist in the registry" in printed


def test_an_argument_that_does_not_exist_is_refused(play: Play, defaults: dict[str, Any]) -> None:
    printed = play(rollout(colour="blue"), module_defaults=defaults, succeeds=False)
    assert "Unsupported parameters" in printed


def test_an_unreachable_cluster_fails_in_words(play: Play) -> None:
    printed = play(rollout(config_map("x"), host="http://127.0.0.1:9", api_key="x"), succeeds=False)
    assert "the Kubernetes API server cannot be reached" in printed
    assert "Traceback" not in printed
