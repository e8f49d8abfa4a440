"""A sandbox for the tests: its own command line brings it up, and the tests use it as a person would.

ERP_TEST_SANDBOX names a running sandbox to use instead of a fresh one; with ERP_TEST_KEEP, what was started stays up.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SANDBOX = REPOSITORY / "sandbox/sandbox"
UP_TIMEOUT_SECONDS = 2700  # the first one builds Kubernetes
RUN_TIMEOUT_SECONDS = 600


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox, and the environment that `eval "$(sandbox/sandbox env)"` gives a shell."""

    name: str
    env: Mapping[str, str]

    def ansible_playbook(
        self,
        playbook: str | Path,
        *arguments: str,
        inventory: str | Path = "inventories/dev",
        extra_vars: Mapping[str, object] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run the playbook from the clone; the caller judges the result."""
        extra = ("--extra-vars", json.dumps(extra_vars)) if extra_vars else ()
        return self._run(
            "ansible-playbook", str(playbook), "-i", str(inventory), *extra, *arguments, environment=environment
        )

    def molecule(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run("molecule", *arguments)

    def kubectl(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return self._run_well("kubectl", *arguments, stdin=stdin)

    def helm(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run_well("helm", *arguments)

    def aws(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._run_well("aws", *arguments)

    def logs(self) -> str:
        """The last lines of each of its parts."""
        paths = sorted((REPOSITORY / ".sandbox" / self.name).rglob("*.log"))
        return "\n".join(f"--- {path.name}\n" + "\n".join(path.read_text().splitlines()[-20:]) for path in paths)

    def _run_well(self, *command: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        run = self._run(*command, stdin=stdin)
        if run.returncode != 0:
            pytest.fail(f"{shlex.join(command)}: exit status {run.returncode}\n{run.stdout}{run.stderr}")
        return run

    def _run(
        self, *command: str, stdin: str | None = None, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                command,
                cwd=REPOSITORY,
                env={**self.env, **(environment or {})},
                input=stdin,
                stdin=subprocess.DEVNULL if stdin is None else None,
                capture_output=True,
                text=True,
                timeout=RUN_TIMEOUT_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as hung:
            output = (hung.stdout or b"").decode(errors="replace")
            said = f"{shlex.join(command)} did not end within {RUN_TIMEOUT_SECONDS} s"
            pytest.fail(f"{said}\n{output[-4000:]}\n{self.logs()}")


@pytest.fixture(scope="session")
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """The sandbox that tests share: each leaves it as it was, or works in a namespace of its own."""
    running = os.environ.get("ERP_TEST_SANDBOX")
    if running:
        yield Sandbox(running, _environment_of(running))
        return
    with _fresh_sandbox("test", request) as fresh:
        yield fresh


@pytest.fixture(scope="module")
def empty_sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """A sandbox for one test module alone, with nothing in it yet."""
    with _fresh_sandbox("test-empty", request) as fresh:
        yield fresh


@pytest.fixture
def namespace(sandbox: Sandbox) -> Iterator[str]:
    name = f"test-{uuid.uuid4().hex[:8]}"
    sandbox.kubectl("create", "namespace", name)
    yield name
    sandbox.kubectl("delete", "namespace", name, "--wait=false")


@contextmanager
def _fresh_sandbox(name: str, request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    # Uncaptured: the first start builds for many minutes, and its progress has to be seen.
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        _sandbox("down", name)
        _sandbox("up", name)
    try:
        yield Sandbox(name, _environment_of(name))
    finally:
        if not os.environ.get("ERP_TEST_KEEP"):
            _sandbox("down", name)


def _sandbox(command: str, name: str) -> None:
    subprocess.run([SANDBOX, command, "--name", name], check=True, timeout=UP_TIMEOUT_SECONDS)


def _environment_of(name: str) -> dict[str, str]:
    shell = f'set -eu; exports=$({shlex.quote(str(SANDBOX))} env --name {shlex.quote(name)}); eval "$exports"; env -0'
    run = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=60, check=True)
    environment = dict(line.split("=", 1) for line in run.stdout.split("\0") if line)
    own = REPOSITORY / ".ansible"
    # Output that tests can read, and the temporary files of Ansible and molecule inside the clone.
    return environment | {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_HOME": str(own), "ANSIBLE_REMOTE_TMP": str(own / "tmp")}
