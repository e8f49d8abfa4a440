"""The command line of the sandbox: side by side, killed, and gone without a trace."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

from sandbox.layout import Layout, cache_directory
from sandbox.processes import running
from sandbox.record import load_record

REPOSITORY = Path(__file__).parents[2]
NAMES = ("test-left", "test-right")

pytestmark = pytest.mark.timeout(600)  # most of a test here is starting control planes


def sandbox_command(*arguments):
    return subprocess.run(
        [REPOSITORY / "sandbox/sandbox", *arguments], capture_output=True, text=True, timeout=2700, check=False
    )


def shell(name, script):
    exports = f'eval "$({shlex.quote(str(REPOSITORY / "sandbox/sandbox"))} env --name {name})"'
    run = subprocess.run(
        ["bash", "-c", f"set -eu; {exports}; {script}"], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def process_ids(name):
    return set(running(Layout(name).state))


@pytest.fixture(scope="module", autouse=True)
def gone_afterwards():
    yield
    for name in NAMES:
        sandbox_command("down", "--name", name)


@pytest.fixture
def left():
    assert sandbox_command("up", "--name", NAMES[0]).returncode == 0
    return NAMES[0]


@pytest.fixture
def right():
    assert sandbox_command("up", "--name", NAMES[1]).returncode == 0
    return NAMES[1]


def test_two_sandboxes_run_side_by_side_and_do_not_see_each_other(left, right):
    shell(
        left,
        "kubectl create namespace only-left && aws secretsmanager create-secret --name only-left --secret-string x",
    )
    assert "only-left" not in shell(right, "kubectl get namespaces && aws secretsmanager list-secrets")
    ports = [set(load_record(Layout(name)).ports.values()) for name in (left, right)]
    assert not ports[0] & ports[1]
    assert max(ports[0] | ports[1]) < 32768


def test_a_second_up_leaves_a_running_sandbox_alone(left):
    before = process_ids(left)
    started = time.monotonic()
    assert sandbox_command("up", "--name", left).returncode == 0
    assert time.monotonic() - started < 5
    assert process_ids(left) == before


def test_status_names_the_part_that_does_not_run(left):
    assert sandbox_command("status", "--name", left).returncode == 0
    victim = next(pid for pid, command in running(Layout(left).state).items() if "sandbox.cloud_server" in command)
    os.kill(victim, signal.SIGKILL)
    status = sandbox_command("status", "--name", left)
    assert status.returncode == 1
    assert re.search(r"^cloud .*not running$", status.stdout, re.MULTILINE)


def test_a_sandbox_that_was_killed_is_started_anew_by_the_next_up(left):
    before = process_ids(left)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    assert sandbox_command("up", "--name", left).returncode == 0
    assert not process_ids(left) & before
    assert sandbox_command("status", "--name", left).returncode == 0


def test_a_sandbox_that_was_half_killed_is_cleaned_up_by_the_next_up(left):
    before = running(Layout(left).state)
    survivors = {pid for pid, command in before.items() if "etcd" not in command and "sandbox.agent" not in command}
    for pid in before.keys() - survivors:
        os.kill(pid, signal.SIGKILL)
    assert sandbox_command("up", "--name", left).returncode == 0
    assert not process_ids(left) & survivors


def test_down_leaves_no_process_and_no_file(left):
    layout = Layout(left)
    assert sandbox_command("down", "--name", left).returncode == 0
    assert running(layout.state) == {}
    assert not layout.state.exists()
    claims = (cache_directory() / "ports").iterdir()
    assert str(layout.state) not in {claim.read_text() for claim in claims}


def test_the_environment_of_a_sandbox_that_is_down_is_refused_with_the_next_command():
    refused = sandbox_command("env", "--name", "test-never-started")
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert "run sandbox/sandbox up --name test-never-started" in refused.stderr
