"""Whether each part of a sandbox works."""

from __future__ import annotations

from dataclasses import dataclass

from . import agent_link, cloud, processes
from .cluster import component_health
from .layout import Layout
from .nodes import ready_nodes
from .record import Record, load_record

NOT_RUNNING = "not running"


@dataclass(frozen=True)
class Part:
    """`problem` is None for a healthy part; a part without a process of its own has no pid."""

    name: str
    where: str
    problem: str | None = None
    pid: int | None = None

    def line(self) -> str:
        process = f"pid {self.pid}" if self.pid else "-"
        return f"{self.name:<33}{process:<12}{self.where:<36} {self.problem or 'healthy'}"


def print_status(layout: Layout) -> int:
    """Prints a line per part; 0 if all are healthy."""
    record = load_record(layout)
    if record is None:
        print(f"sandbox {layout.name} does not exist")
        return 1
    found = [*parts(layout, record), *controllers(record)]
    for part in found:
        print(part.line())
    return 1 if not record.ready or any(part.problem for part in found) else 0


def parts(layout: Layout, record: Record) -> list[Part]:
    """Every part that `up` starts."""
    commands = processes.running(layout.state)
    problems = component_health(layout, record)
    problems["cloud"] = None if cloud.cloud_answers(record) else "does not answer"
    problems["agent"] = None if agent_link.agent_answer(record) else "does not answer"
    found = []
    for name, (address, port, program) in _PARTS.items():
        pid = next((pid for pid, command in commands.items() if program in command), None)
        host = record.address if address == "own" else address
        problem = NOT_RUNNING if pid is None else problems[name]
        found.append(Part(name, f"{host}:{record.ports[port]}", problem, pid))
    return [*found, _nodes(layout, record)]


def controllers(record: Record) -> list[Part]:
    """The controllers whose charts are installed, as the agent sees them; their health is their users' business."""
    answer = agent_link.agent_answer(record) or {"controllers": []}
    return [
        Part(
            controller["name"],
            f"namespace {controller['namespace']}",
            None if controller["healthy"] else "not ready",
            controller["pid"],
        )
        for controller in answer["controllers"]
    ]


# Part: address and port it listens on, and what its command line contains.
_PARTS = {
    "etcd": ("127.0.0.1", "etcd", "/bin/etcd "),
    "kube-apiserver": ("127.0.0.1", "apiserver", "/bin/kube-apiserver "),
    "kube-controller-manager": ("127.0.0.1", "controller_manager", "/bin/kube-controller-manager "),
    "kube-scheduler": ("127.0.0.1", "scheduler", "/bin/kube-scheduler "),
    "kwok-controller": ("own", "kwok", "/bin/kwok-controller "),
    "cloud": ("127.0.0.1", "cloud", "sandbox.cloud_server"),
    "agent": ("127.0.0.1", "charts", "sandbox.agent"),
}


def _nodes(layout: Layout, record: Record) -> Part:
    try:
        count = ready_nodes(layout, record)
    except OSError as error:
        return Part("nodes", "-", f"unknown: {error}")
    expected = len(record.instances)
    return Part("nodes", f"{count} of {expected} ready", None if 0 < count == expected else "not all ready")
