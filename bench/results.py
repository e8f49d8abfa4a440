"""Runs become records (medians), tables, and a verdict per criterion."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from .contenders import OURS

_RETURN_LIMITS_SECONDS: Mapping[int | str, float] = {12: 0.3, 100: 0.3, 1000: 1.0}
_READS_LIMIT = 3
_MEMORY_LIMIT_MB = 200
_MEMORY_LIMIT_SIZE = 1000
_FAILURE_LIMIT_SECONDS = 1.0


@dataclass(frozen=True)
class Run:
    """One run of one tool; `problem` says why it does not count, and is empty if it does."""

    tool: str
    size: int | str
    round: int
    start_seconds: float
    wall_seconds: float
    after_ready_seconds: float | None
    api_requests: int
    requests: Mapping[str, int]
    reads_by_kind: Mapping[str, int]
    cpu_seconds: float
    rss_mb: float
    problem: str = ""


@dataclass(frozen=True)
class FailureRun:
    """One run against what cannot become ready; `seconds` lie between the pod's showing it and the tool's end."""

    tool: str
    round: int
    seconds: float | None
    timeout_seconds: float
    problem: str = ""

    @property
    def by_timeout(self) -> bool:
        """Whether nothing but its deadline ended the tool."""
        return self.seconds is not None and self.seconds > self.timeout_seconds - 2


@dataclass(frozen=True)
class Record:
    """A tool at a size: medians of the runs that count, None if none does."""

    tool: str
    size: int | str
    wall_seconds: float | None
    start_seconds: float
    after_ready_seconds: float | None
    api_requests: float | None
    cpu_seconds: float | None
    rss_mb: float | None
    runs: tuple[Run, ...]

    @property
    def good(self) -> list[Run]:
        return [run for run in self.runs if not run.problem]

    @property
    def problems(self) -> list[str]:
        return [f"round {run.round}: {run.problem}" for run in self.runs if run.problem]


def record(runs: Sequence[Run]) -> Record:
    """The runs of one tool at one size."""
    good = [run for run in runs if not run.problem]
    return Record(
        tool=runs[0].tool,
        size=runs[0].size,
        wall_seconds=_median(run.wall_seconds for run in good),
        start_seconds=runs[0].start_seconds,
        after_ready_seconds=_median(run.after_ready_seconds for run in good),
        api_requests=_median(run.api_requests for run in good),
        cpu_seconds=_median(run.cpu_seconds for run in good),
        rss_mb=_median(run.rss_mb for run in good),
        runs=tuple(runs),
    )


def records(runs: Iterable[Run]) -> list[Record]:
    """One record per size and tool, in the order of the runs."""
    groups: dict[tuple[int | str, str], list[Run]] = {}
    for run in runs:
        groups.setdefault((run.size, run.tool), []).append(run)
    return [record(group) for group in groups.values()]


def table(records: Sequence[Record]) -> str:
    """The records of one size, fastest first; what went wrong stands below."""
    rows = [("tool", "wall s", "wall/start", "after ready s", "API requests", "CPU s", "RSS MB")]
    for entry in sorted(records, key=lambda entry: (entry.wall_seconds is None, entry.wall_seconds)):
        if entry.wall_seconds is None:
            rows.append((entry.tool, "no run succeeded", "", "", "", "", ""))
            continue
        rows.append(
            (
                entry.tool,
                _spread([run.wall_seconds for run in entry.good], 2),
                f"{entry.wall_seconds / entry.start_seconds:.2f}",
                _spread([run.after_ready_seconds or 0.0 for run in entry.good], 2),
                _spread([run.api_requests for run in entry.good], 0),
                _spread([run.cpu_seconds for run in entry.good], 2),
                _spread([run.rss_mb for run in entry.good], 0),
            )
        )
    problems = [f"{entry.tool}, {problem}" for entry in records for problem in entry.problems]
    return "\n".join([*_aligned(rows), *problems])


def failure_table(runs: Sequence[FailureRun]) -> str:
    rows = [("tool", "failed after s", "")]
    problems = []
    for tool, group in _by_tool(runs).items():
        seconds = [run.seconds for run in group if run.seconds is not None]
        note = "by its timeout only" if any(run.by_timeout for run in group) else ""
        rows.append((tool, _spread(seconds, 2) if seconds else "no run failed as it should", note))
        problems += [f"{tool}, round {run.round}: {run.problem}" for run in group if run.problem]
    return "\n".join([*_aligned(rows), *problems])


def verdicts(records: Sequence[Record], failures: Sequence[FailureRun]) -> Iterator[str]:
    """One line for each criterion that the measured sizes and tools can tell something of."""
    ours = {entry.size: entry for entry in records if entry.tool == OURS}
    for size, entry in ours.items():
        if entry.wall_seconds is None:
            yield f"everything at {size}: no run succeeded, NOT reached"
            continue
        if (limit := _RETURN_LIMITS_SECONDS.get(size)) is not None and entry.after_ready_seconds is not None:
            yield _verdict(f"return after readiness at {size}", entry.after_ready_seconds, limit, "s")
        kind, reads = max(
            (item for run in entry.good for item in run.reads_by_kind.items()),
            key=lambda item: item[1],
            default=("", 0),
        )
        yield _verdict(f"reads per kind and namespace at {size} (most: {kind})", reads, _READS_LIMIT, "requests")
        if size == _MEMORY_LIMIT_SIZE and entry.rss_mb is not None:
            yield _verdict(f"memory at {size}", entry.rss_mb, _MEMORY_LIMIT_MB, "MB")
        peers = [
            other for other in records if other.size == size and other.tool != OURS and other.wall_seconds is not None
        ]
        if peers:
            fastest = min(peers, key=lambda other: other.wall_seconds or 0)
            limit = fastest.wall_seconds or 0
            yield _verdict(f"wall time at {size} (fastest peer: {fastest.tool})", entry.wall_seconds, limit, "s")
    seconds = [run.seconds for run in failures if run.tool == OURS and run.seconds is not None]
    if seconds:
        yield _verdict("failing after a fatal state is visible", median(seconds), _FAILURE_LIMIT_SECONDS, "s")


def _verdict(criterion: str, measured: float, limit: float, unit: str) -> str:
    outcome = "reached" if measured <= limit else "NOT reached"
    return f"{criterion} ≤ {limit:g} {unit}: {measured:.3g} {unit}, {outcome}"


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _spread(values: Sequence[float], digits: int) -> str:
    if len(values) == 1:
        return f"{values[0]:.{digits}f}"
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def _by_tool(runs: Iterable[FailureRun]) -> dict[str, list[FailureRun]]:
    groups: dict[str, list[FailureRun]] = {}
    for run in runs:
        groups.setdefault(run.tool, []).append(run)
    return groups


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
