"""One run of one tool in a fresh namespace, seen by the independent watch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sandbox.layout import CLONE

from . import process
from .audit import AuditLog, reads_by_kind
from .cluster import Cluster
from .contenders import TOOLS, Job, empty_play
from .errors import BenchError
from .process import Ended
from .results import FailureRun, Run
from .workload import Workload, failing

# How long after its own deadline a tool may take to say so, and how late a watch may hear what a tool has heard.
_OVERTIME_SECONDS = 15
_WATCH_NOISE_SECONDS = 0.1


def roll_out(cluster: Cluster, work: Path, tool: str, load: Workload, number: int) -> Run:
    """Rolls the workload out."""
    job = _job(work, tool, load)
    with cluster.namespace(job.namespace), _watch(cluster, job.namespace, f"--ready={len(load.names)}") as watch:
        log = AuditLog(cluster.audit_log)
        ended = _run(cluster, job)
        requests = log.requests()
        # A tool that returns too early is found out by waiting on.
        moment = watch.moment(load.timeout_seconds if ended.exit_code == 0 else 1)
    after_ready = ended.ended_at_seconds - moment if moment is not None else None
    return Run(
        tool=tool,
        size=load.size,
        round=number,
        start_seconds=load.start_seconds,
        wall_seconds=ended.wall_seconds,
        after_ready_seconds=after_ready,
        api_requests=requests.total(),
        requests={f"{request.verb} {request.resource}": times for request, times in sorted(requests.items())},
        reads_by_kind=reads_by_kind(requests),
        cpu_seconds=ended.cpu_seconds,
        rss_mb=ended.rss_mb,
        problem=_problem(ended, after_ready),
    )


def fail(cluster: Cluster, work: Path, tool: str, number: int) -> FailureRun:
    """Rolls out what cannot become ready."""
    load = failing()
    job = _job(work, tool, load)
    with cluster.namespace(job.namespace), _watch(cluster, job.namespace, "--fatal") as watch:
        ended = _run(cluster, job)
        moment = watch.moment(1)
    problem = ""
    if ended.exit_code == 0:
        problem = "it reported success"
    elif ended.exit_code is None:
        problem = f"it did not end within {load.timeout_seconds + _OVERTIME_SECONDS} s"
    elif moment is None or moment > ended.ended_at_seconds:
        problem = f"it ended before a pod showed a failure; its last lines:\n{ended.last_lines}"
    seconds = ended.ended_at_seconds - moment if moment is not None and not problem else None
    return FailureRun(tool, number, seconds, load.timeout_seconds, problem)


def empty_play_seconds(cluster: Cluster, work: Path) -> float:
    """What ansible-playbook takes to do nothing; part of every figure of a tool that runs in it."""
    job = Job(failing(), "default", work)
    (work / "run.sh").write_text(empty_play(job))
    return _run(cluster, job).wall_seconds


def _problem(ended: Ended, after_ready: float | None) -> str:
    if ended.exit_code is None:
        return f"ended by the bench after {ended.wall_seconds:.0f} s; its last lines:\n{ended.last_lines}"
    if ended.exit_code != 0:
        return f"exit status {ended.exit_code}; its last lines:\n{ended.last_lines}"
    if after_ready is None:
        return "it returned, but not everything became ready"
    if after_ready < -_WATCH_NOISE_SECONDS:
        return f"it returned {-after_ready:.2f} s before everything was ready"
    return ""


def _job(work: Path, tool: str, load: Workload) -> Job:
    folder = work / f"{load.size}-{tool}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    job = Job(load, f"bench-{load.size}-{tool.replace('.', '-')}", folder)
    (folder / "run.sh").write_text(TOOLS[tool](job))
    return job


def _run(cluster: Cluster, job: Job) -> Ended:
    return process.run(["bash", "run.sh"], cluster.tool, job.folder, job.workload.timeout_seconds + _OVERTIME_SECONDS)


@dataclass(frozen=True)
class _Watch:
    child: subprocess.Popen[str]

    def moment(self, patience_seconds: float) -> float | None:
        """When it saw what it looks for, by the monotonic clock; None if it does not within `patience_seconds`."""
        try:
            output, _ = self.child.communicate(timeout=patience_seconds)
        except subprocess.TimeoutExpired:
            return None
        if not output:
            raise BenchError("the independent watch ended without a result; what it said stands above")
        return float(json.loads(output)["at_seconds"])


@contextmanager
def _watch(cluster: Cluster, namespace: str, goal: str) -> Iterator[_Watch]:
    pki = cluster.layout.cluster / "pki"
    child = subprocess.Popen(
        [
            sys.executable, "-m", "bench.watch", goal, "--namespace", namespace, "--server", cluster.record.api_url,
            "--authority", pki / "ca.crt", "--certificate", pki / "admin.crt", "--key", pki / "admin.key",
        ],
        cwd=CLONE,
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert child.stdout is not None
    try:
        if not child.stdout.readline():
            raise BenchError("the independent watch did not start; what it said stands above")
        yield _Watch(child)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
