"""Runs a command and measures it as a whole: the command, its children and theirs."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_SAMPLE_SECONDS = 0.25  # reading it costs milliseconds of the CPU that is measured
_TAIL_LINES = 8


@dataclass(frozen=True)
class Ended:
    """`exit_code` is None if the command was still running at its deadline and was ended."""

    exit_code: int | None
    started_at_seconds: float
    ended_at_seconds: float
    cpu_seconds: float
    rss_mb: float
    last_lines: str

    @property
    def wall_seconds(self) -> float:
        return self.ended_at_seconds - self.started_at_seconds


def run(command: Sequence[str], environment: Mapping[str, str], directory: Path, timeout_seconds: float) -> Ended:
    """Runs `command` with its output in `directory`/output.log.

    CPU is the kernel's account of the command and all descendants that were waited for. Memory is the peak of what the
    tree held at one moment, sampled, where pages that processes share count once (a forked worker shares most of its
    parent's); and at least the peak of the largest process. The kernel's ru_maxrss would not do: a child inherits its
    parent's peak, here that of this interpreter.
    """
    log = directory / "output.log"
    with log.open("wb") as output:
        started = time.monotonic()
        process = subprocess.Popen(
            command, cwd=directory, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    deadline = started + timeout_seconds
    poll = select.poll()
    descriptor = os.pidfd_open(process.pid)
    poll.register(descriptor, select.POLLIN)
    peak_kib = 0
    late = False
    try:
        while not poll.poll(_SAMPLE_SECONDS * 1000):
            members = list(tree(process.pid))
            held_kib = sum(_figure_kib(pid, "smaps_rollup", "Pss:") for pid in members)
            largest_kib = max(_figure_kib(pid, "status", "VmHWM:") for pid in members)
            peak_kib = max(peak_kib, held_kib, largest_kib)
            if time.monotonic() > deadline and not late:
                late = True
                _end(process.pid)
    except BaseException:
        _end(process.pid)
        raise
    finally:
        ended = time.monotonic()
        os.close(descriptor)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)  # subprocess must not wait for it once more
    return Ended(
        exit_code=None if late else process.returncode,
        started_at_seconds=started,
        ended_at_seconds=ended,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        rss_mb=peak_kib / 1024,
        last_lines="\n".join(log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]),
    )


def tree(pid: int) -> Iterator[int]:
    """The process and its descendants, as far as they still live."""
    yield pid
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from tree(int(child))
    except (FileNotFoundError, ProcessLookupError):
        return


def _figure_kib(pid: int, file: str, key: str) -> int:
    try:
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(key):
                return int(line.split()[1])
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        pass  # it ended meanwhile
    return 0


def _end(pid: int) -> None:
    for member in list(tree(pid)):
        try:
            os.kill(member, signal.SIGKILL)
        except ProcessLookupError:
            continue
