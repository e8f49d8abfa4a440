"""Processes of a sandbox: each carries a mark in its environment, so that none is missed when its parent was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import SandboxError

_MARK = "ERP_PLATFORM_SANDBOX_STATE"


def marked(environment: Mapping[str, str], state: Path) -> dict[str, str]:
    """`environment` with the mark of the sandbox whose state lies in `state`; children inherit it."""
    return {**environment, _MARK: str(state)}


def start(
    command: Sequence[str | Path], log: Path, environment: Mapping[str, str], directory: Path
) -> subprocess.Popen[bytes]:
    """Starts a process of its own session, so that a Ctrl-C in the user's terminal does not reach it."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            cwd=directory,
            start_new_session=True,
        )


def running(state: Path) -> dict[int, str]:
    """Process id and command of every living process that carries the mark of `state`."""
    mark = f"{_MARK}={state}".encode()
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if mark not in (entry / "environ").read_bytes().split(b"\0"):
                continue
            if (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
                continue
            found[int(entry.name)] = (
                (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            )
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # ended meanwhile, or another user's
    return found


def stop_all(state: Path, grace_seconds: float = 1.5) -> int:
    """Ends every process of the sandbox, first politely; returns how many there were."""
    count = len(running(state))
    _signal(state, signal.SIGTERM)
    deadline = time.monotonic() + grace_seconds
    while time.monotonic() < deadline:
        if not running(state):
            return count
        time.sleep(0.1)
    _signal(state, signal.SIGKILL)
    deadline = time.monotonic() + grace_seconds
    while remaining := running(state):
        if time.monotonic() > deadline:
            raise SandboxError(f"these processes do not end: {remaining}")
        _signal(state, signal.SIGKILL)  # one may have been started between listing and killing
        time.sleep(0.1)
    return count


def _signal(state: Path, number: signal.Signals) -> None:
    for pid in running(state):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
