"""A rollout: apply the nodes of a graph, each as soon as what it depends on is ready, and say what became of every
object.

One thread decides what is applied when; the waiter tells it what became ready, requests are made by a few others.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, TypeVar

from . import apply as applying
from .api import Api, ApiError, ConnectionFailed, NotServed
from .apply import Applied
from .apply_set import ApplySet, Pruned
from .checksums import with_checksums
from .errors import PlatformError, raise_all
from .findings import DEFAULT_POLICY, FailFast
from .gate import ObjectTarget
from .graph import READY_FIRST, Node, dependents_of, nodes_of
from .objects import Manifest, Ref, ref_of, uid_of
from .preview import Preview
from .progress import Level, Report
from .rollout_result import RolloutFailed, difference_of, is_change, named, pruned_differences, pruned_result
from .scoping import namespace_problems
from .status import UNKNOWN, State, Status, settles_when_applied, status_of
from .transient import backoff_seconds, is_transient
from .waiter import Step, Waited, Waiter
from .watch import Scope
from .workers import Workers

# Requests in flight; enough for one node's objects, few enough for the server's fairness.
WORKERS = 8
# These are always waited for: their watch is opened before they are applied, and its first list tells what is there,
# which saves a request for each object.
_WATCHED_FIRST = frozenset({"Deployment", "StatefulSet", "DaemonSet", "Job"})

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Options:
    """What a rollout is asked to do."""

    nodes: Sequence[Mapping[str, Any]]
    timeout_seconds: float = 600.0
    apply_set: Mapping[str, str] | None = None
    force_conflicts: bool = False
    on_failure: Literal["abandon", "finish"] = "abandon"
    fail_fast: FailFast = DEFAULT_POLICY
    check_mode: bool = False
    diff: bool = False


def roll_out(api: Api, options: Options, report: Report) -> dict[str, Any]:
    """Run the rollout and return its result; raises PlatformError if anything in it failed."""
    nodes = nodes_of(options.nodes)
    api.check()
    places = [(ref_of(manifest), f"node {node.name}") for node in nodes for manifest in node.manifests]
    raise_all(namespace_problems(api, places))
    if options.check_mode:
        apply_set, own_types = _apply_set_of(api, options, nodes), _types_brought_by(nodes)
        return Preview(api, nodes, apply_set, own_types, force=options.force_conflicts, workers=WORKERS).run()
    run = _Run(api, nodes, options, report)
    try:
        return run.run()
    finally:
        run.close()


@dataclass(eq=False)
class _Progress:
    """One object on its way: to be applied, then, unless that is all there is to it, to become ready."""

    ref: Ref
    run: _NodeRun
    change: str = "unknown"
    settled: Status = UNKNOWN  # of an object that nothing works on after it was applied, or that could not be applied
    settled_after_seconds: float | None = None
    waited: Waited | None = None
    difference: dict[str, str] | None = None
    last_error: str = ""

    @property
    def status(self) -> Status:
        return self.waited.status if self.waited is not None else self.settled

    @property
    def is_current(self) -> bool:
        return self.waited.is_current if self.waited is not None else self.settled.is_current

    @property
    def ready_after_seconds(self) -> float | None:
        return self.waited.ready_after_seconds if self.waited is not None else self.settled_after_seconds


@dataclass(eq=False)
class _NodeRun:
    node: Node
    status: str = "not started"  # in progress, ready, failed
    group: int = -1  # the last one that was begun
    pending: int = 0
    started_seconds: float | None = None
    ready_seconds: float | None = None
    deadline: float = 0.0
    objects: list[_Progress] = field(default_factory=list)
    unready: set[_Progress] = field(default_factory=set)
    read: dict[Ref, Manifest | None] = field(default_factory=dict)  # ConfigMaps and Secrets, as the pods use them

    @property
    def is_applied(self) -> bool:
        return self.group + 1 >= len(self.node.groups) and not self.pending


@dataclass(frozen=True)
class _Done:
    """A request of ours came to its end."""

    progress: _Progress
    outcome: Applied | PlatformError


class _Run:
    def __init__(self, api: Api, nodes: Sequence[Node], options: Options, report: Report) -> None:
        self._api, self._options = api, options
        self._deadline = time.monotonic() + options.timeout_seconds
        self._waiter = Waiter(api, options.fail_fast, report)
        self._workers = Workers(WORKERS)
        self._nodes = {node.name: _NodeRun(node) for node in nodes}
        self._dependents: dict[str, list[_NodeRun]] = {name: [] for name in self._nodes}
        for run in self._nodes.values():
            for name in run.node.depends_on:
                self._dependents[name].append(run)
        self._unfinished = len(self._nodes)
        self._with_own_deadline: list[_NodeRun] = []
        self._unapplied: dict[_NodeRun, None] = {}  # a set that keeps its order
        self._progress_of: dict[Waited, _Progress] = {}
        self._stopped = threading.Event()
        self._own_types = _types_brought_by(nodes)
        self._apply_set = _apply_set_of(api, options, nodes)
        self._set_written = self._apply_set is None
        self._pruned: list[Pruned] = []

    def close(self) -> None:
        self._stopped.set()
        self._workers.close()
        self._waiter.close()

    def run(self) -> dict[str, Any]:
        if self._apply_set is not None:
            self._retried(self._apply_set.load, self._apply_set.parent, self._deadline)
            if not self._set_waits_for_namespace():
                self._write_set()
        self._advance(self._runs())
        while not self._is_over():
            step = self._waiter.step(min([self._deadline, *(run.deadline for run in self._with_own_deadline)]))
            # Those that are not applied to their end may have waited for the first list of a watch, which changes no
            # target.
            self._advance([*self._take(step), *self._unapplied])
            self._end_late_nodes()
        if not self._waiter.failures and self._apply_set is not None:
            self._pruned = self._retried(self._prune, self._apply_set.parent, self._deadline)
            for entry in self._pruned:
                self._waiter.say(f"{entry.ref.kind}/{entry.ref.name} {entry.change}")
        result = self._result()
        if self._waiter.failures:
            raise RolloutFailed([*self._failures(), *self._not_started()], result)
        return result

    # What happens

    def _is_over(self) -> bool:
        if self._waiter.first_failure_at is not None:
            if self._options.on_failure == "finish" and any(run.status == "in progress" for run in self._runs()):
                return False
            return self._waiter.is_over and (self._waiter.has_collected or not any(run.pending for run in self._runs()))
        if self._unfinished:
            return False
        for waited in self._waiter.confirm(self._deadline):
            self._note(self._progress_of[waited])
        return not self._unfinished and self._waiter.all_current

    def _take(self, step: Step) -> list[_NodeRun]:
        """Note what happened; returns the nodes that it happened to."""
        runs: dict[_NodeRun, None] = {}
        for waited in step.changed:
            self._note(self._progress_of[waited])
            runs[self._progress_of[waited].run] = None
        for message in step.messages:
            if isinstance(message, _Done):
                self._applied(message)
                runs[message.progress.run] = None
        return list(runs)

    def _note(self, progress: _Progress) -> None:
        run = progress.run
        if progress.is_current:
            run.unready.discard(progress)
            return
        run.unready.add(progress)
        if progress.waited is not None and progress.waited.given_up:
            self._set_status(run, "failed")
        elif run.status == "ready":
            self._set_status(run, "in progress")

    def _set_status(self, run: _NodeRun, status: str) -> None:
        self._unfinished += (run.status == "ready") - (status == "ready")
        run.status = status

    def _advance(self, runs: Iterable[_NodeRun]) -> None:
        """Bring nodes, and whatever that makes startable, as far as they can go."""
        pending = deque(runs)
        while pending:
            run = pending.popleft()
            if run.status == "not started" and self._may_start(run):
                self._start(run)
            if run.status != "in progress":
                continue
            while self._may_apply_next(run):
                self._apply_next(run)
            if run.is_applied:
                self._unapplied.pop(run, None)
            if run.is_applied and not run.unready:
                self._finish(run)
                pending += self._dependents[run.node.name]

    def _may_start(self, run: _NodeRun) -> bool:
        if self._waiter.first_failure_at is not None:
            return False
        return all(self._nodes[name].status == "ready" for name in run.node.depends_on)

    def _start(self, run: _NodeRun) -> None:
        self._set_status(run, "in progress")
        run.started_seconds = self._waiter.seconds()
        self._unapplied[run] = None
        own = run.node.timeout_seconds
        run.deadline = self._deadline
        if own is not None:
            run.deadline = min(self._deadline, time.monotonic() + own)
            self._with_own_deadline.append(run)
        for scope in _scopes_watched_first(run.node.manifests):
            self._waiter.watch(scope)

    def _may_apply_next(self, run: _NodeRun) -> bool:
        if run.pending or run.group + 1 >= len(run.node.groups):
            return False
        if self._waiter.first_failure_at is not None and self._options.on_failure == "abandon":
            return False
        if any(progress.ref.kind in READY_FIRST for progress in run.unready):
            return False
        scopes = _scopes_watched_first(run.node.groups[run.group + 1])
        return all(self._waiter.live.is_synced(scope) or scope in self._waiter.live.refused for scope in scopes)

    def _apply_next(self, run: _NodeRun) -> None:
        if not self._set_written and any(self._creates_set_namespace(progress.ref) for progress in run.objects):
            self._write_set()
        run.group += 1
        for manifest in run.node.groups[run.group]:
            progress = _Progress(ref_of(manifest), run)
            run.objects.append(progress)
            run.unready.add(progress)
            run.pending += 1
            self._workers.submit(partial(self._work, progress, manifest, self._known_before(progress.ref)))

    def _known_before(self, ref: Ref) -> tuple[Manifest | None] | None:
        """The live object, or None in its place if there is none; None alone if that is not known."""
        scope = Scope(ref.api_version, ref.kind, ref.namespace)
        if ref.kind not in _WATCHED_FIRST or not self._waiter.live.is_synced(scope):
            return None
        return (self._waiter.live.get(scope, ref.namespace, ref.name),)

    def _work(self, progress: _Progress, manifest: Manifest, before: tuple[Manifest | None] | None) -> None:
        try:
            outcome: Applied | PlatformError = self._apply(manifest, progress, before)
        except PlatformError as error:
            outcome = error
        except Exception as error:  # noqa: BLE001 - a bug must end the run with its message, not hang it
            outcome = PlatformError(f"unexpected {type(error).__name__}", object=str(progress.ref), evidence=str(error))
        self._waiter.put(_Done(progress, outcome))

    def _applied(self, done: _Done) -> None:
        progress, outcome, run = done.progress, done.outcome, done.progress.run
        run.pending -= 1
        if isinstance(outcome, PlatformError):
            progress.settled = Status(State.FAILED, "NotApplied", outcome.cause)
            self._set_status(run, "failed")
            self._waiter.fail(outcome)
            return
        progress.change = outcome.change
        if self._options.diff:
            progress.difference = difference_of(outcome)
        self._waiter.say(f"{progress.ref.kind}/{progress.ref.name} {outcome.change}", Level.DETAIL)
        obj = outcome.after
        if settles_when_applied(obj):
            progress.settled = status_of(obj)
            progress.settled_after_seconds = self._waiter.seconds()
        else:
            progress.waited = self._waiter.add(ObjectTarget(outcome.ref, uid_of(obj)), run.deadline, obj)
            self._progress_of[progress.waited] = progress
        self._note(progress)

    def _finish(self, run: _NodeRun) -> None:
        self._set_status(run, "ready")
        if run.ready_seconds is None:
            run.ready_seconds = self._waiter.seconds()
            self._waiter.say(f"{run.node.name} ready ({_changes(run.objects)})", Level.OUTCOME)

    def _end_late_nodes(self) -> None:
        """Targets have their deadline in the waiter; what was not even applied in time has it here."""
        now = time.monotonic()
        late = (
            self._runs() if now >= self._deadline else [run for run in self._with_own_deadline if now >= run.deadline]
        )
        for run in late:
            if run.status != "in progress" or now < run.deadline:
                continue
            seconds = self._timeout_of(run)
            unapplied = [progress for progress in run.unready if progress.waited is None]
            for progress in unapplied:
                self._waiter.fail(_unanswered(progress, seconds))
            if not run.unready:
                cause = f"not finished after {seconds:.0f} s"
                self._waiter.fail(PlatformError(cause, object=f"node {run.node.name}"))
            if unapplied or not run.unready:
                self._set_status(run, "failed")
        self._with_own_deadline = [run for run in self._with_own_deadline if run.status == "in progress"]

    def _timeout_of(self, run: _NodeRun) -> float:
        own = run.node.timeout_seconds
        return self._options.timeout_seconds if own is None else min(own, self._options.timeout_seconds)

    def _runs(self) -> Iterable[_NodeRun]:
        return self._nodes.values()

    # Requests, in the pool's threads

    def _apply(self, manifest: Manifest, progress: _Progress, known: tuple[Manifest | None] | None) -> Applied:
        ref, run = progress.ref, progress.run
        labelled = self._apply_set.labelled(manifest) if self._apply_set is not None else manifest

        def once() -> Applied:
            type_ = self._api.type_of(ref.api_version, ref.kind)
            before = known[0] if known is not None else self._api.get(ref)
            try:
                if self._apply_set is not None and not self._options.force_conflicts:
                    self._apply_set.refuse_foreign(ref, before)
                complete = with_checksums(labelled, before, partial(self._read, run))
                return applying.apply(self._api, complete, before, type_, force=self._options.force_conflicts)
            except ApiError as error:
                if is_transient(error):
                    progress.last_error = str(error)
                    raise
                raise applying.refusal(ref, type_, self._api, error) from error

        return self._retried(once, ref, run.deadline)

    def _read(self, run: _NodeRun, ref: Ref) -> Manifest | None:
        """What the node's pods use was applied before them, and is read once."""
        if ref not in run.read:
            run.read[ref] = self._api.get(ref)
        return run.read[ref]

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
                    raise applying.unreachable(ref, self._api, error) from error
                failure = error
            attempt += 1
            pause = min(backoff_seconds(attempt, failure), max(0.0, deadline - time.monotonic()))
            if self._stopped.wait(pause):
                raise PlatformError("the rollout ended before it was applied", object=str(ref))

    def _refusal(self, ref: Ref, error: ApiError | ConnectionFailed) -> PlatformError:
        if not isinstance(error, ApiError):
            return applying.unreachable(ref, self._api, error)
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

    # The result

    def _failures(self) -> list[PlatformError]:
        """In the order in which the objects were described, whatever order they failed in."""
        order = {str(progress.ref): number for number, progress in enumerate(self._objects())}
        return sorted(self._waiter.failures, key=lambda failure: order.get(failure.object, len(order)))

    def _objects(self) -> list[_Progress]:
        return [progress for run in self._runs() for progress in run.objects]

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
        progresses = self._objects()
        objects = [_object_result(progress) for progress in progresses]
        objects += [pruned_result(entry) for entry in self._pruned]
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
                for run in self._runs()
            ],
            "critical_path": _critical_path(list(self._runs())),
            "failures": [failure.as_dict() for failure in self._failures()],
            "diff": [
                *(progress.difference for progress in progresses if progress.difference is not None),
                *pruned_differences(self._pruned),
            ],
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


def _scopes_watched_first(manifests: Iterable[Manifest]) -> set[Scope]:
    refs = (ref_of(manifest) for manifest in manifests)
    return {Scope(ref.api_version, ref.kind, ref.namespace) for ref in refs if ref.kind in _WATCHED_FIRST}


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
    counts = Counter(progress.change for progress in objects)
    return (
        ", ".join(f"{counts[change]} {change}" for change in ("created", "changed", "unchanged") if change in counts)
        or "empty"
    )


def _object_result(progress: _Progress) -> dict[str, Any]:
    return {
        "node": progress.run.node.name,
        **named(progress.ref),
        "change": progress.change,
        "status": progress.status.state.value,
        "reason": progress.status.reason,
        "message": progress.status.message,
        "ready_after_seconds": progress.ready_after_seconds,
    }
