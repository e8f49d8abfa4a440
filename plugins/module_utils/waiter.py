"""Waiting for targets: one thread that takes what watches bring, judges what that touches, and says what became of it.

It sleeps on a queue into which watches and finished requests put what happened, and until the next moment at which a
grace or a deadline ends. Nothing is polled, and what a change does not touch is not looked at.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .api import Api, ApiError, ConnectionFailed, NotServed
from .apply import not_served
from .errors import PlatformError
from .findings import FailFast, Finding, when_late
from .gate import Gate, Target
from .live import LiveState
from .objects import Identity, Manifest
from .progress import Level, Report
from .status import UNKNOWN, State, Status
from .transient import backoff_seconds, is_transient
from .watch import Changed, Deleted, Interrupted, Listed, Refused, Scope, Watches
from .workers import Workers

if TYPE_CHECKING:
    from .diagnosis import Diagnosis

# After the first failure, how long others may still show theirs, so that one run reports them together.
COLLECT_SECONDS = 0.5
# One LIST; a server that is well answers for thousands of objects in a fraction of it.
LIST_SECONDS = 10.0
# At a deadline there is no time left: this is what the last look may take.
LAST_LOOK_SECONDS = 3.0
# With more targets than this, a summary each second takes the place of a line for each change.
FLOOD = 30
# States that pass sooner than this are not worth a line.
LASTING_SECONDS = 1.0
SUMMARY_SECONDS = 1.0
# So many failures are explained by reading logs and what lies around; the others by what is known already.
EXPLAINED = 20
REQUESTS = 8


@dataclass(eq=False)
class Waited:
    """A target on its way. ``deadline`` and ``since`` are monotonic; ``failure`` is set if it will not become ready."""

    target: Target
    deadline: float
    since: float
    status: Status = UNKNOWN
    ready_after_seconds: float | None = None
    failure: PlatformError | None = None
    given_up: bool = False  # it will have a failure as soon as that is explained
    shown: str = ""
    show_at: float | None = None
    look_at: float | None = None

    @property
    def is_current(self) -> bool:
        return self.status.is_current and not self.given_up

    @property
    def is_settled(self) -> bool:
        return self.failure is not None or self.is_current


@dataclass(frozen=True)
class Step:
    """``messages`` are what others put into the queue; ``changed`` are the targets whose status, or failure, is new."""

    messages: Sequence[object]
    changed: Sequence[Waited]


@dataclass(frozen=True)
class _Explained:
    waited: Waited
    failure: PlatformError


@dataclass(frozen=True)
class _Looked:
    """The answer to a last look: None if the scope could be listed."""

    error: ApiError | ConnectionFailed | NotServed | None
    notice: Listed | None = None


@dataclass
class Waiter:
    """Waits for targets that are added at any time. Everything but ``put`` is for one thread.

    With ``each_change``, a target that ceases to be ready is seen even if it is ready again a moment later.
    """

    api: Api
    policy: FailFast
    report: Report
    each_change: bool = False
    live: LiveState = field(default_factory=LiveState)
    failures: list[PlatformError] = field(default_factory=list)
    first_failure_at: float | None = None

    def __post_init__(self) -> None:
        self._start = time.monotonic()
        self._inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._gate = Gate(self.live, self.policy)
        self._diagnosis: Diagnosis | None = None
        self._watches = Watches(self.api, self._inbox.put)
        self._workers = Workers(REQUESTS)
        self._waited: list[Waited] = []
        self._touched_by: dict[Identity, list[Waited]] = {}
        self._of_scope: dict[Scope, list[Waited]] = {}
        self._unsynced: set[Scope] = set()
        self._due: dict[Waited, None] = {}  # a set that keeps its order
        self._timers: list[tuple[float, int, Waited]] = []
        self._numbers = itertools.count()
        self._current = 0
        self._explaining = 0
        self._summary_at = 0.0
        self._summary = ""

    def close(self) -> None:
        self._workers.close()
        self._watches.close()

    def put(self, message: object) -> None:
        """Hand the waiting thread a message; its next step returns it. May be called from any thread."""
        self._inbox.put(message)

    def watch(self, scope: Scope) -> None:
        self._watches.ensure(scope)

    def add(self, target: Target, deadline: float, obj: Manifest | None = None) -> Waited:
        """Wait for one more target; ``obj`` is its state if that is known, as it is after an apply."""
        waited = Waited(target, deadline, time.monotonic())
        self._waited.append(waited)
        for identity in target.touched_by():
            self._touched_by.setdefault(identity, []).append(waited)
        self._of_scope.setdefault(target.scope, []).append(waited)
        if obj is not None:
            self.live.offer(target.scope, obj)
        else:
            self._watches.ensure(target.scope)
        if not self.live.is_synced(target.scope):
            self._unsynced.add(target.scope)
        self._due[waited] = None
        if target.scope in self.live.refused:
            self._fail(waited, self._refusal(self.live.refused[target.scope]))
        return waited

    @property
    def all_current(self) -> bool:
        return self._current == len(self._waited)

    @property
    def is_over(self) -> bool:
        """Whether, after a failure, nothing more has to be waited for to report it together with others."""
        if self.first_failure_at is None or self._explaining:
            return False
        return self.has_collected or all(waited.is_settled for waited in self._waited)

    @property
    def has_collected(self) -> bool:
        """Whether the time in which others may still show their failure is over."""
        return self.first_failure_at is not None and time.monotonic() >= self.first_failure_at + COLLECT_SECONDS

    def seconds(self) -> float:
        return round(time.monotonic() - self._start, 1)

    def say(self, text: str, level: Level = Level.CHANGE) -> None:
        self.report(f"{self.seconds():6.1f}s {text}", level)

    def fail(self, failure: PlatformError) -> None:
        """Note a failure that is none of a target."""
        self.failures.append(failure)
        if self.first_failure_at is None:
            self.first_failure_at = time.monotonic()
        self.say(f"{failure.object} failed: {failure.cause}", Level.OUTCOME)

    def step(self, until: float) -> Step:
        """Take what happens next, at most until then (monotonic), and judge what it touches."""
        messages: list[object] = []
        changed: dict[Waited, None] = {}
        for message in self._next_messages(until):
            if isinstance(message, Listed | Changed | Deleted):
                self.live.take(message)
            elif isinstance(message, Refused):
                self._refused(message, changed)
            elif isinstance(message, Interrupted):
                self.say(f"watching {message.scope} was interrupted: {message.cause}", Level.DETAIL)
            elif isinstance(message, _Explained):
                self._explaining -= 1
                self._fail(message.waited, message.failure)
                changed[message.waited] = None
            else:
                messages.append(message)
        self._judge_due(changed)
        self._summarize()
        return Step(messages, list(changed))

    def confirm(self, deadline: float) -> Sequence[Waited]:
        """List every kind that is waited for once more: success is what the server says now, not what was heard.

        Returns the targets whose status is another than thought. Raises PlatformError if the server cannot be asked
        until the deadline.
        """
        scopes = sorted({waited.target.scope for waited in self._waited})
        attempt = 0
        while scopes:
            looked = self._workers.map(lambda scope: self._look_again(scope, LIST_SECONDS), scopes)
            again = []
            for scope, answer in zip(scopes, looked, strict=True):
                if answer.notice is not None:
                    self.live.take(answer.notice)
                elif isinstance(answer.error, NotServed):
                    raise not_served(self._of_scope[scope][0].target.ref, answer.error)
                elif answer.error is not None:
                    if not _may_heal(answer.error) or time.monotonic() >= deadline:
                        raise self.api.explained(answer.error, str(scope))
                    again.append((scope, answer.error))
            scopes = [scope for scope, _error in again]
            if again:
                attempt += 1
                pause = backoff_seconds(attempt, again[0][1])
                time.sleep(max(0.0, min(pause, deadline - time.monotonic())))
        changed: dict[Waited, None] = {}
        self._judge_due(changed)
        return list(changed)

    # What happens

    def _next_messages(self, until: float) -> Iterable[object]:
        if self._timers:
            until = min(until, self._timers[0][0])
        if self.first_failure_at is not None and not self.has_collected:
            until = min(until, self.first_failure_at + COLLECT_SECONDS)
        if self._explaining:
            # The end waits for the explanation, whatever time it is.
            until = max(until, time.monotonic() + COLLECT_SECONDS)
        try:
            timeout = 0.0 if self._due else max(0.0, until - time.monotonic())
            yield self._inbox.get(block=timeout > 0, timeout=timeout or None)
            while not self.each_change:
                yield self._inbox.get_nowait()
        except queue.Empty:
            return

    def _note_touched(self) -> None:
        for touched in self.live.touched():
            if isinstance(touched, Scope):
                if touched in self._unsynced and self.live.is_synced(touched):
                    self._unsynced.discard(touched)
                    self._due.update(dict.fromkeys(self._of_scope.get(touched, ())))
                continue
            kind, namespace, name = touched
            for identity in ((kind, namespace, name), (kind, namespace, ""), (kind, "", "")):
                self._due.update(dict.fromkeys(self._touched_by.get(identity, ())))

    def _collect_due(self, now: float) -> list[Waited]:
        self._note_touched()
        while self._timers and self._timers[0][0] <= now:
            at, _number, waited = heapq.heappop(self._timers)
            if waited.look_at == at:
                waited.look_at = None
                self._due[waited] = None
        due, self._due = self._due, {}
        return [waited for waited in due if not waited.given_up]

    def _judge_due(self, changed: dict[Waited, None]) -> None:
        now = time.monotonic()
        late = [waited for waited in self._collect_due(now) if self._judge(waited, now, changed)]
        if not late:
            return
        # A watch may have stalled without anybody noticing: what is too late is said by the server, not by our memory.
        scopes = sorted({waited.target.scope for waited in late})
        looked = self._workers.map(lambda scope: self._look_again(scope, LAST_LOOK_SECONDS), scopes)
        answers = dict(zip(scopes, looked, strict=True))
        for answer in answers.values():
            if answer.notice is not None:
                self.live.take(answer.notice)
        for waited in late:
            if self._judge(waited, time.monotonic(), changed):
                self._too_late(waited, answers[waited.target.scope].error)
        self._note_touched()

    def _judge(self, waited: Waited, now: float, changed: dict[Waited, None]) -> bool:
        """Look at a target; returns whether it is too late for it."""
        target = waited.target
        known = self.live.is_synced(target.scope) or target.objects(self.live)
        if not known:
            self._look_at(waited, waited.deadline)
            return now >= waited.deadline
        verdict = self._gate.judge(target, now)
        if self._take(waited, verdict.status):
            changed[waited] = None
        if verdict.failure is not None:
            self._give_up(waited, verdict.failure)
        elif not waited.is_current:
            if now >= waited.deadline:
                return True
            moments = (waited.deadline, verdict.check_at, waited.show_at)
            self._look_at(waited, min(moment for moment in moments if moment is not None))
            for scope in (target.scope, *self._gate.explaining_scopes(target)):
                self._watches.ensure(scope)
        return False

    def _take(self, waited: Waited, status: Status) -> bool:
        """Note and show a target's status; returns whether that is a new one."""
        is_new = status != waited.status
        was_current, first = waited.is_current, waited.status is UNKNOWN
        waited.status = status
        self._current += waited.is_current - was_current
        if not waited.is_current:
            waited.ready_after_seconds = None
        elif waited.ready_after_seconds is None:
            waited.ready_after_seconds = self.seconds()
        self._show(waited, first=first, was_current=was_current)
        return is_new

    def _show(self, waited: Waited, *, first: bool, was_current: bool) -> None:
        """Say what is new about a target: an outcome at once, any other state when it has lasted for a moment."""
        now = time.monotonic()
        is_outcome = waited.is_current or was_current
        if not is_outcome and len(self._waited) > FLOOD:
            return
        text = self._gate.progress(waited.target, waited.status)
        if text == waited.shown:
            waited.show_at = None
            return
        if not is_outcome and (waited.show_at is None or now < waited.show_at):
            waited.show_at = waited.show_at or now + LASTING_SECONDS
            self._look_at(waited, waited.show_at)
            return
        level = Level.OUTCOME if is_outcome else Level.CHANGE
        # What is ready at first sight is not news, and hundreds of lines are none either.
        if (first and waited.is_current) or len(self._waited) > FLOOD:
            level = Level.DETAIL
        self.say(f"{waited.target.ref.kind}/{waited.target.ref.name} {text}", level)
        waited.shown, waited.show_at = text, None

    def _look_at(self, waited: Waited, at: float) -> None:
        if waited.look_at is None or at < waited.look_at:
            waited.look_at = at
            heapq.heappush(self._timers, (at, next(self._numbers), waited))

    def _summarize(self) -> None:
        now = time.monotonic()
        if len(self._waited) <= FLOOD or now < self._summary_at:
            return
        failed = sum(waited.given_up for waited in self._waited)
        summary = f"{self._current}/{len(self._waited)} ready" + (f", {failed} failed" if failed else "")
        if summary != self._summary:
            self.say(summary)
            self._summary, self._summary_at = summary, now + SUMMARY_SECONDS

    # Failures

    def _give_up(self, waited: Waited, finding: Finding, *, explain: bool = True) -> None:
        """The target has failed; its failure follows as soon as it is explained."""
        self._current -= waited.is_current
        waited.given_up = True
        if self.first_failure_at is None:
            self.first_failure_at = time.monotonic()
        if self._diagnosis is None:
            # Reading what explains failures is half of the code, and of no use in a run that is well.
            from .diagnosis import Diagnosis

            self._diagnosis = Diagnosis(self.api)
        diagnosis, ref, objects = self._diagnosis, waited.target.ref, waited.target.objects(self.live)
        unexplained = PlatformError(finding.cause, str(ref), finding.evidence, finding.next_command)

        def complete() -> None:
            try:
                failure = diagnosis.complete(ref, finding, objects)
            except Exception as error:  # noqa: BLE001 - a bug in an explanation must not hide what it should explain
                unexplained.evidence += f"\n(no further explanation: {type(error).__name__}: {error})"
                failure = unexplained
            self._inbox.put(_Explained(waited, failure))

        self._explaining += 1
        if not explain or len(self.failures) + self._explaining > EXPLAINED:
            self._inbox.put(_Explained(waited, unexplained))
        else:
            self._workers.submit(complete)

    def _too_late(self, waited: Waited, error: ApiError | ConnectionFailed | NotServed | None) -> None:
        ref, status = waited.target.ref, waited.status
        if isinstance(error, NotServed):
            self._current -= waited.is_current
            waited.given_up = True
            self._fail(waited, not_served(ref, error))
            return
        seconds = time.monotonic() - waited.since
        if status is UNKNOWN:
            status = Status(State.UNKNOWN, "NotRead", "its state could not be read")
        finding = when_late(ref, status, waited.target.objects(self.live), self.live, seconds)
        if error is not None:
            said = f"as last heard of; the API server could not be asked again: {error}"
            finding = replace(finding, evidence="\n".join([finding.evidence, said]))
        # Whoever gave no answer at the last look gives none to what would explain it either.
        self._give_up(waited, finding, explain=not isinstance(error, ConnectionFailed))

    def _fail(self, waited: Waited, failure: PlatformError) -> None:
        self._current -= waited.is_current
        waited.given_up, waited.failure = True, failure
        # One refusal may be the failure of many targets.
        if not any(failure is known for known in self.failures):
            self.fail(failure)

    def _refused(self, refused: Refused, changed: dict[Waited, None]) -> None:
        """Without watching a target's kind nothing can be gated; without pods or events only the causes are vaguer."""
        self.live.take(refused)
        failure = self._refusal(refused)
        targets = self._of_scope.get(refused.scope, [])
        for waited in targets:
            if not waited.given_up:
                self._fail(waited, failure)
                changed[waited] = None
        if not targets:
            self.say(f"{failure.cause}: causes will be less precise")

    def _refusal(self, refused: Refused) -> PlatformError:
        return self.api.explained(refused.error, str(refused.scope))

    def _look_again(self, scope: Scope, timeout_seconds: float) -> _Looked:
        try:
            return _Looked(None, listed(self.api, scope, timeout_seconds))
        except (ApiError, ConnectionFailed, NotServed) as error:
            return _Looked(error)


def _may_heal(error: ApiError | ConnectionFailed) -> bool:
    # An API server that has just been started refuses what it will allow in a moment; where that is final, the watch
    # of the same scope says so.
    return is_transient(error) or (isinstance(error, ApiError) and error.status in (401, 403))


def listed(api: Api, scope: Scope, timeout_seconds: float) -> Listed:
    """One LIST of a scope. Raises ApiError, ConnectionFailed or NotServed."""
    answer = api.list(api.type_of(scope.api_version, scope.kind), scope.namespace, timeout_seconds=timeout_seconds)
    items = tuple({"apiVersion": scope.api_version, "kind": scope.kind, **item} for item in answer.get("items") or [])
    return Listed(scope, items, str((answer.get("metadata") or {}).get("resourceVersion") or ""))
