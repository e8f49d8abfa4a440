"""A rollout: apply the nodes of a graph, each as soon as what it depends on is ready, and say what became of every
object.

One thread decides; it sleeps on a queue into which watches and finished requests put what happened, and until the next
moment at which a grace or a deadline ends.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from . import apply as applying
from .api import Api, ApiError, ConnectionFailed, NotServed, forbidden
from .apply import Applied
from .apply_set import ApplySet, Pruned
from .checksums import with_checksums
from .errors import PlatformError, raise_all
from .findings import DEFAULT_POLICY, FailFast
from .gate import COLLECT_SECONDS, Gate, ObjectTarget, Verdict
from .graph import READY_FIRST, Node, dependents_of, nodes_of
from .live import LiveState
from .objects import Manifest, Ref, ref_of, uid_of
from .preview import Preview
from .rollout_result import RolloutFailed, diffs, is_change, named, pruned_result
from .status import UNKNOWN, State, Status, settles_when_applied, status_of
from .transient import backoff_seconds, is_transient
from .watch import Changed, Deleted, Listed, Refused, Scope, Watches, drain
from .workers import Workers

# Requests in flight; enough for one node's objects, few enough for the server's fairness.
WORKERS = 8

Answer = TypeVar("Answer")
Report = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What a rollout is asked to do."""

    nodes: Sequence[Mapping[str, Any]]
    timeout_seconds: float = 600.0
    apply_set: Mapping[str, str] | None = None
    force_conflicts: bool = False
    fail_fast: FailFast = DEFAULT_POLICY
    check_mode: bool = False


def roll_out(api: Api, options: Options, report: Report) -> dict[str, Any]:
    """Run the rollout and return its result; raises PlatformError if anything in it failed."""
    nodes = nodes_of(options.nodes)
    api.check()
    raise_all(_missing_namespaces(api, nodes))
    if options.check_mode:
        apply_set, own_types = _apply_set_of(api, options, nodes), _types_brought_by(nodes)
        return Preview(api, nodes, apply_set, own_types, force=options.force_conflicts, workers=WORKERS).run()
    run = _Run(api, nodes, options, report)
    try:
        return run.run()
    finally:
        run.close()


@dataclass
class _Progress:
    """One object on its way."""

    ref: Ref
    node: str
    applied: Applied | None = None
    target: ObjectTarget | None = None
    status: Status = UNKNOWN
    ready_after_seconds: float | None = None
    shown: str = ""
    failed: bool = False
    last_error: str = ""

    @property
    def is_settled(self) -> bool:
        return self.failed or self.status.is_current


@dataclass
class _NodeRun:
    node: Node
    status: str = "not started"  # in progress, ready, failed
    group: int = 0
    pending: int = 0
    started_seconds: float | None = None
    ready_seconds: float | None = None
    deadline: float = 0.0
    objects: list[_Progress] = field(default_factory=list)


@dataclass(frozen=True)
class _Done:
    """A request of ours came to its end."""

    node: str
    progress: _Progress
    outcome: Applied | PlatformError


class _Run:
    def __init__(self, api: Api, nodes: Sequence[Node], options: Options, report: Report) -> None:
        self._api, self._options, self._report = api, options, report
        self._start = time.monotonic()
        self._deadline = self._start + options.timeout_seconds
        self._inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._live = LiveState()
        self._gate = Gate(api, self._live, options.fail_fast)
        self._watches = Watches(api, self._inbox.put)
        self._workers = Workers(WORKERS)
        self._nodes = {node.name: _NodeRun(node) for node in nodes}
        self._failures: list[PlatformError] = []
        self._first_failure_at: float | None = None
        self._stopped = threading.Event()
        self._own_types = _types_brought_by(nodes)
        self._apply_set = _apply_set_of(api, options, nodes)
        self._set_written = self._apply_set is None
        self._pruned: list[Pruned] = []

    def close(self) -> None:
        self._stopped.set()
        self._workers.close()
        self._watches.close()

    def run(self) -> dict[str, Any]:
        if self._apply_set is not None:
            self._retried(self._apply_set.load, self._apply_set.parent, self._deadline)
            if not self._set_waits_for_namespace():
                self._write_set()
        while not self._is_over():
            self._start_nodes()
            self._step()
        if not self._failures and self._apply_set is not None:
            self._pruned = self._retried(self._prune, self._apply_set.parent, self._deadline)
            for entry in self._pruned:
                self._say(f"{entry.ref.kind}/{entry.ref.name} {entry.change}")
        order = [str(progress.ref) for run in self._nodes.values() for progress in run.objects]
        self._failures.sort(key=lambda error: order.index(error.object) if error.object in order else len(order))
        result = self._result()
        if self._failures:
            raise RolloutFailed([*self._failures, *self._not_started()], result)
        return result

    # What happens

    def _is_over(self) -> bool:
        if self._failures:
            waited = time.monotonic() - (self._first_failure_at or 0.0)
            settled = all(progress.is_settled for run in self._nodes.values() for progress in run.objects)
            return settled or waited >= COLLECT_SECONDS
        return all(run.status == "ready" for run in self._nodes.values()) and self._confirmed()

    def _start_nodes(self) -> None:
        for run in self._nodes.values():
            if self._is_startable(run):
                run.status = "in progress"
                run.started_seconds = self._seconds()
                own = run.node.timeout_seconds
                run.deadline = self._deadline if own is None else min(self._deadline, time.monotonic() + own)
                self._apply_group(run)

    def _apply_group(self, run: _NodeRun) -> None:
        if run.group >= len(run.node.groups):
            self._finish_if_ready(run)
            return
        for manifest in run.node.groups[run.group]:
            progress = _Progress(ref_of(manifest), run.node.name)
            run.objects.append(progress)
            run.pending += 1
            self._workers.submit(partial(self._work, run, progress, manifest))

    def _work(self, run: _NodeRun, progress: _Progress, manifest: Manifest) -> None:
        try:
            outcome: Applied | PlatformError = self._apply(manifest, progress, run.deadline)
        except PlatformError as error:
            outcome = error
        except Exception as error:  # noqa: BLE001 - a bug must end the run with its message, not hang it
            outcome = PlatformError(f"unexpected {type(error).__name__}", object=str(progress.ref), evidence=str(error))
        self._inbox.put(_Done(run.node.name, progress, outcome))

    def _step(self) -> None:
        now = time.monotonic()
        wake = self._judge_all(now)
        if self._has_moved_on():
            return
        try:
            first = self._inbox.get(timeout=max(0.0, wake - time.monotonic()))
        except queue.Empty:
            return
        for message in drain(self._inbox, first):
            if isinstance(message, _Done):
                self._applied(message)
            elif isinstance(message, Listed | Changed | Deleted | Refused):
                self._live.take(message)
                if isinstance(message, Refused):
                    self._refused(message)

    def _has_moved_on(self) -> bool:
        """Whether judging has made something startable, or has ended everything, so that waiting would be wrong."""
        return any(self._is_startable(run) for run in self._nodes.values()) or all(
            progress.is_settled for run in self._nodes.values() if run.status != "ready" for progress in run.objects
        )

    def _is_startable(self, run: _NodeRun) -> bool:
        waits = run.status == "not started" and not self._failures
        return waits and all(self._nodes[name].status == "ready" for name in run.node.depends_on)

    def _applied(self, done: _Done) -> None:
        run, progress = self._nodes[done.node], done.progress
        run.pending -= 1
        if isinstance(done.outcome, PlatformError):
            progress.status = Status(State.FAILED, "NotApplied", done.outcome.cause)
            progress.failed = True
            self._fail(run, done.outcome)
            return
        progress.applied = done.outcome
        self._take_applied(progress, done.outcome)
        self._go_on(run)

    def _take_applied(self, progress: _Progress, applied: Applied) -> None:
        obj = applied.after
        if settles_when_applied(obj):
            progress.status = status_of(obj)
            progress.ready_after_seconds = self._seconds()
            return
        target = ObjectTarget(applied.ref, uid_of(obj))
        progress.target = target
        self._live.offer(target.scope, obj)
        self._look(progress, self._gate.judge(target, time.monotonic()))
        if not progress.status.is_current:
            for scope in self._gate.scopes(target):
                self._watches.ensure(scope)

    def _go_on(self, run: _NodeRun) -> None:
        """Apply the node's next group once this one is applied, and ready where later kinds need it to be."""
        if run.status != "in progress" or run.pending or run.group >= len(run.node.groups):
            return
        if any(progress.ref.kind in READY_FIRST and not progress.status.is_current for progress in run.objects):
            return
        if not self._set_written and any(self._creates_set_namespace(progress.ref) for progress in run.objects):
            self._write_set()
        run.group += 1
        self._apply_group(run)

    def _judge_all(self, now: float) -> float:
        """Judge what is not ready; returns when to look again even if nothing happens."""
        wake = self._deadline
        if self._first_failure_at is not None:
            wake = min(wake, self._first_failure_at + COLLECT_SECONDS)
        for run in self._nodes.values():
            for progress in run.objects:
                if (check_at := self._judge(run, progress, now)) is not None:
                    wake = min(wake, check_at)
            if run.status == "in progress":
                if now >= run.deadline:
                    self._too_late(run, now)
                    continue
                wake = min(wake, run.deadline)
                self._go_on(run)
                self._finish_if_ready(run)
        return wake

    def _judge(self, run: _NodeRun, progress: _Progress, now: float) -> float | None:
        done = run.status == "ready" and progress.status.is_current
        if progress.target is None or progress.failed or done:
            return None
        verdict = self._gate.judge(progress.target, now)
        self._look(progress, verdict)
        if verdict.failure is not None:
            progress.failed = True
            self._fail(run, self._gate.failure(progress.target, verdict.failure))
        return verdict.check_at

    def _look(self, progress: _Progress, verdict: Verdict) -> None:
        progress.status = verdict.status
        if progress.target is None:
            return
        if verdict.status.is_current and progress.ready_after_seconds is None:
            progress.ready_after_seconds = self._seconds()
        text = self._gate.progress(progress.target, verdict.status)
        # What is ready at first sight is not news: the node's own line counts it.
        if text != progress.shown and (progress.shown or not verdict.status.is_current):
            self._say(f"{progress.ref.kind}/{progress.ref.name} {text}")
        progress.shown = text

    def _finish_if_ready(self, run: _NodeRun) -> None:
        applied = run.group >= len(run.node.groups) and not run.pending
        if run.status == "in progress" and applied and all(progress.status.is_current for progress in run.objects):
            run.status = "ready"
            run.ready_seconds = self._seconds()
            self._say(f"{run.node.name} ready ({_changes(run.objects)})")

    def _fail(self, run: _NodeRun, error: PlatformError) -> None:
        run.status = "failed"
        self._failures.append(error)
        if self._first_failure_at is None:
            self._first_failure_at = time.monotonic()
        self._say(f"{error.object} failed: {error.cause}")

    def _too_late(self, run: _NodeRun, now: float) -> None:
        seconds = now - self._start - (run.started_seconds or 0.0)
        late = [progress for progress in run.objects if not progress.is_settled]
        for progress in late:
            progress.failed = True
            self._fail(
                run,
                self._gate.late(progress.target, seconds)
                if progress.target is not None
                else _unanswered(progress, seconds),
            )
        if not late:
            self._fail(run, PlatformError(f"not finished after {seconds:.0f} s", object=f"node {run.node.name}"))

    def _refused(self, refused: Refused) -> None:
        """Without watching a target's kind nothing can be gated; without pods or events only the causes are vaguer."""
        needed = [
            (run, progress)
            for run in self._nodes.values()
            if run.status == "in progress"
            for progress in run.objects
            if progress.target is not None and progress.target.scope == refused.scope
        ]
        if refused.error.status == 401:
            error = self._api.unauthorized(refused.error)
        else:
            error = forbidden(refused.error, str(refused.scope))
        if needed:
            for _run, progress in needed:
                progress.failed = True
            self._fail(needed[0][0], error)
        else:
            self._say(f"{error.cause}: causes will be less precise")

    def _confirmed(self) -> bool:
        """List every kind that was gated once more: success is what the server says now, not what was heard."""
        scopes = {
            progress.target.scope
            for run in self._nodes.values()
            for progress in run.objects
            if progress.target is not None
        }
        for entry in self._workers.map(self._list, sorted(scopes)):
            self._live.take(entry)
        confirmed = True
        for run in self._nodes.values():
            for progress in run.objects:
                if progress.target is None:
                    continue
                self._look(progress, self._gate.judge(progress.target, time.monotonic()))
                if not progress.status.is_current:
                    confirmed = False
                    run.status = "in progress"
                    for scope in self._gate.scopes(progress.target):
                        self._watches.ensure(scope)
        return confirmed

    def _list(self, scope: Scope) -> Listed:
        def once() -> Listed:
            type_ = self._api.type_of(scope.api_version, scope.kind)
            listed = self._api.list(type_, scope.namespace)
            items = tuple(
                {"apiVersion": scope.api_version, "kind": scope.kind, **item} for item in listed.get("items") or []
            )
            return Listed(scope, items, str((listed.get("metadata") or {}).get("resourceVersion") or ""))

        return self._retried(once, Ref(scope.api_version, scope.kind, scope.namespace, "*"), self._deadline)

    # Requests, in the pool's threads

    def _apply(self, manifest: Manifest, progress: _Progress, deadline: float) -> Applied:
        ref = ref_of(manifest)
        labelled = self._apply_set.labelled(manifest) if self._apply_set is not None else manifest

        def once() -> Applied:
            type_ = self._api.type_of(ref.api_version, ref.kind)
            before = self._api.get(ref)
            try:
                if self._apply_set is not None and not self._options.force_conflicts:
                    self._apply_set.refuse_foreign(ref, before)
                complete = with_checksums(labelled, before, self._api.get)
                return applying.apply(self._api, complete, before, type_, force=self._options.force_conflicts)
            except ApiError as error:
                if is_transient(error):
                    progress.last_error = str(error)
                    raise
                raise applying.refusal(ref, type_, self._api, error) from error

        return self._retried(once, ref, deadline)

    def _retried(self, request: Callable[[], Answer], ref: Ref, deadline: float) -> Answer:
        attempt = 0
        while True:
            try:
                return request()
            except NotServed as error:
                if (ref.group, ref.kind) not in self._own_types or time.monotonic() >= deadline:
                    raise applying.not_served(ref, error) from error
                failure: ApiError | ConnectionFailed | None = None
            except (ApiError, ConnectionFailed) as error:
                if not is_transient(error):
                    raise self._refusal(ref, error) from error
                if time.monotonic() >= deadline:
                    raise applying.unreachable(ref, error) from error
                failure = error
            attempt += 1
            pause = min(backoff_seconds(attempt, failure), max(0.0, deadline - time.monotonic()))
            if self._stopped.wait(pause):
                raise PlatformError("the rollout ended before it was applied", object=str(ref))

    def _refusal(self, ref: Ref, error: ApiError | ConnectionFailed) -> PlatformError:
        if not isinstance(error, ApiError):
            return applying.unreachable(ref, error)
        return applying.refusal(ref, self._api.type_of(ref.api_version, ref.kind), self._api, error)

    # The apply set

    def _set_waits_for_namespace(self) -> bool:
        """Whether the apply set's own namespace is one that this rollout still has to create."""
        if self._apply_set is None:
            return False
        namespace = Ref("v1", "Namespace", "", self._apply_set.parent.namespace)
        if self._api.get(namespace) is not None:
            return False
        return any(
            self._creates_set_namespace(ref_of(manifest))
            for run in self._nodes.values()
            for manifest in run.node.manifests
        )

    def _creates_set_namespace(self, ref: Ref) -> bool:
        return self._apply_set is not None and ref.kind == "Namespace" and ref.name == self._apply_set.parent.namespace

    def _write_set(self) -> None:
        if self._apply_set is not None:
            self._retried(self._apply_set.grow, self._apply_set.parent, self._deadline)
        self._set_written = True

    def _prune(self) -> list[Pruned]:
        if self._apply_set is None:
            return []
        pruned = self._apply_set.prune(dry_run=False)
        self._apply_set.shrink(pruned)
        return pruned

    # Words

    def _seconds(self) -> float:
        return round(time.monotonic() - self._start, 1)

    def _say(self, text: str) -> None:
        self._report(f"{self._seconds():6.1f}s {text}")

    def _not_started(self) -> list[PlatformError]:
        failed = [name for name, run in self._nodes.items() if run.status == "failed"]
        nodes = [run.node for run in self._nodes.values()]
        errors = []
        for name, run in self._nodes.items():
            if run.status == "not started":
                because = [other for other in failed if name in dependents_of(other, nodes)]
                evidence = f"it depends on {', '.join(because)}" if because else "another node failed before its turn"
                errors.append(PlatformError("not started", object=f"node {name}", evidence=evidence))
        return errors

    def _result(self) -> dict[str, Any]:
        objects = [_object_result(progress) for run in self._nodes.values() for progress in run.objects]
        objects += [pruned_result(entry) for entry in self._pruned]
        runs = list(self._nodes.values())
        applied = [progress.applied for run in runs for progress in run.objects if progress.applied is not None]
        return {
            "changed": is_change(objects),
            "objects": objects,
            "nodes": [
                {
                    "name": run.node.name,
                    "status": "interrupted" if run.status == "in progress" else run.status,
                    "started_seconds": run.started_seconds,
                    "ready_seconds": run.ready_seconds,
                }
                for run in runs
            ],
            "critical_path": _critical_path(runs),
            "failures": [failure.as_dict() for failure in self._failures],
            "diff": diffs(applied, self._pruned),
        }


def _types_brought_by(nodes: Sequence[Node]) -> frozenset[tuple[str, str]]:
    """Group and kind of what this rollout's own CustomResourceDefinitions define."""
    return frozenset(
        (str(spec.get("group")), str((spec.get("names") or {}).get("kind")))
        for node in nodes
        for manifest in node.manifests
        if manifest.get("kind") == "CustomResourceDefinition"
        for spec in [manifest.get("spec") or {}]
    )


def _missing_namespaces(api: Api, nodes: Sequence[Node]) -> list[PlatformError]:
    """Namespaced objects must say where they belong: a default would put them somewhere by accident."""
    problems = []
    for node in nodes:
        for manifest in node.manifests:
            ref = ref_of(manifest)
            try:
                namespaced = api.type_of(ref.api_version, ref.kind).namespaced
            except (NotServed, ApiError, ConnectionFailed):
                continue  # Its turn will tell.
            if namespaced and not ref.namespace:
                problems.append(PlatformError("lacks metadata.namespace", object=f"{ref} (node {node.name})"))
            elif not namespaced and ref.namespace:
                problems.append(
                    PlatformError("is cluster-scoped but has metadata.namespace", object=f"{ref} (node {node.name})")
                )
    return problems


def _apply_set_of(api: Api, options: Options, nodes: Sequence[Node]) -> ApplySet | None:
    if options.apply_set is None:
        return None
    refs = [ref_of(manifest) for node in nodes for manifest in node.manifests]
    return ApplySet(api, options.apply_set["name"], options.apply_set["namespace"], refs)


def _unanswered(progress: _Progress, seconds: float) -> PlatformError:
    return PlatformError(
        f"not applied after {seconds:.0f} s",
        object=str(progress.ref),
        evidence=progress.last_error or "the API server has not answered yet",
        next_command="kubectl get --raw '/readyz?verbose'",
    )


def _critical_path(runs: Sequence[_NodeRun]) -> list[str]:
    """The chain of nodes that decided how long it took: from the last one ready back to what it waited for."""
    by_name = {run.node.name: run for run in runs if run.ready_seconds is not None}
    current = max(by_name.values(), key=lambda run: run.ready_seconds or 0.0, default=None)
    path: list[str] = []
    while current is not None:
        path.insert(0, current.node.name)
        earlier = [by_name[name] for name in current.node.depends_on if name in by_name]
        current = max(earlier, key=lambda run: run.ready_seconds or 0.0, default=None)
    return path


def _changes(objects: Sequence[_Progress]) -> str:
    counts: dict[str, int] = {}
    for progress in objects:
        if progress.applied is not None:
            counts[progress.applied.change] = counts.get(progress.applied.change, 0) + 1
    return (
        ", ".join(f"{counts[change]} {change}" for change in ("created", "changed", "unchanged") if change in counts)
        or "empty"
    )


def _object_result(progress: _Progress) -> dict[str, Any]:
    return {
        "node": progress.node,
        **named(progress.ref),
        "change": progress.applied.change if progress.applied is not None else "unknown",
        "status": progress.status.state.value,
        "reason": progress.status.reason,
        "message": progress.status.message,
        "ready_after_seconds": progress.ready_after_seconds,
    }
