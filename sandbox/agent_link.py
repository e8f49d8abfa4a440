"""How the command line starts the agent and hears of it."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.request
from collections.abc import Mapping
from typing import Any

from .errors import SandboxError
from .layout import CLONE, Layout
from .processes import marked, start
from .record import Record


def start_agent(layout: Layout, inherited: Mapping[str, str]) -> None:
    environment = {**inherited, "PYTHONPATH": str(CLONE), "PATH": f"{layout.bin}{os.pathsep}{inherited['PATH']}"}
    command = [sys.executable, "-P", "-m", "sandbox.agent", layout.name]
    start(command, layout.logs / "agent.log", marked(environment, layout.state), layout.state)


def agent_answer(record: Record) -> dict[str, Any] | None:
    """`pid` and `controllers` as the agent last saw them; None if it does not answer or stands still."""
    try:
        with urllib.request.urlopen(f"{record.charts_url}/healthz", timeout=3) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
    except (OSError, json.JSONDecodeError):
        return None


def wait_for_agent(layout: Layout, record: Record, timeout_seconds: float = 30) -> None:
    deadline = time.monotonic() + timeout_seconds
    while agent_answer(record) is None:
        if time.monotonic() > deadline:
            raise SandboxError(f"the agent did not start; see {layout.logs / 'agent.log'}")
        time.sleep(0.1)
