"""The gate part: every tool applies and waits, side by side, and fails on what cannot become ready."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import results, runs, workload
from .cluster import Cluster, running_cluster
from .contenders import KUBERNETES_CORE
from .report import Report, machine
from .results import FailureRun, Run
from .tools import build_peers
from .workload import Workload

FAILURE = "failure"
_KUBERNETES_CORE_SIZE = 12
_NOT_RUN = (
    f"{KUBERNETES_CORE} is run at {_KUBERNETES_CORE_SIZE} only: it waits for one object after the other and looks "
    "every 5 seconds, which takes two minutes there, a quarter of an hour at 100 and hours at 1,000."
)


def measure(sizes: Sequence[int | str], tools: Sequence[str], rounds: int, folder: Path) -> None:
    """Prints progress, tables, verdicts, and keeps them in gate.txt; writes gate.json and gate-failure.json."""
    work = folder / "gate"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    binaries = build_peers(tools)
    report = Report(folder / "gate.txt")
    report.say(machine())
    loads = [workload.of_size(size) for size in sizes if size != FAILURE]
    done: list[Run] = []
    failures: list[FailureRun] = []
    with running_cluster(max((load.pods for load in loads), default=0), binaries, work) as cluster:
        report.say(f"ansible-playbook with an empty play: {runs.empty_play_seconds(cluster, work):.2f} s")
        for load in loads:
            done += _roll_outs(cluster, work, load, tools, rounds, report)
            _write(folder / "gate.json", results.records(done))
        if FAILURE in sizes:
            failures += _failures(cluster, work, tools, rounds, report)
            _write(folder / "gate-failure.json", failures)
    for verdict in results.verdicts(results.records(done), failures):
        report.say(verdict)


def _roll_outs(
    cluster: Cluster, work: Path, load: Workload, tools: Sequence[str], rounds: int, report: Report
) -> list[Run]:
    chosen = [tool for tool in tools if tool != KUBERNETES_CORE or load.size == _KUBERNETES_CORE_SIZE]
    done = []
    for number in range(1, rounds + 1):
        for tool in chosen:
            run = runs.roll_out(cluster, work, tool, load, number)
            line = f"{load.size}, round {number}: {tool} {run.wall_seconds:.2f} s"
            if run.problem:
                report.say(f"{line}: {run.problem}")
            else:
                report.say(f"{line}, {run.after_ready_seconds:.2f} s after readiness, {run.api_requests} requests")
            done.append(run)
    what = f"{load.size} Deployments" if isinstance(load.size, int) else "the graph of the documents"
    report.say(
        f"\n{what}, {load.pods} pods, {load.start_seconds:g} s to start; medians of {rounds} rounds (min to max)\n"
    )
    report.say(results.table(results.records(done)))
    report.say(f"{_NOT_RUN}\n" if len(chosen) < len(tools) else "")
    return done


def _failures(cluster: Cluster, work: Path, tools: Sequence[str], rounds: int, report: Report) -> list[FailureRun]:
    done = []
    for number in range(1, rounds + 1):
        for tool in tools:
            run = runs.fail(cluster, work, tool, number)
            outcome = run.problem if run.seconds is None else f"failed {run.seconds:.2f} s after the pod showed why"
            report.say(f"{FAILURE}, round {number}: {tool} {outcome}")
            done.append(run)
    report.say(f"\nan image that does not exist; medians of {rounds} rounds (min to max)\n")
    report.say(results.failure_table(done) + "\n")
    return done


def _write(path: Path, entries: Sequence[Any]) -> None:
    path.write_text(json.dumps([asdict(entry) for entry in entries], indent=1) + "\n")
