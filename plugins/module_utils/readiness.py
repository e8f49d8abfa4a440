"""The readiness gate: wait until objects are ready, end early when one will not be, say why.

Nothing is applied here. Each object has its deadline; success is confirmed by listing everything once more.
"""

from __future__ import annotations

import base64
import gzip
import json
import queue
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .api import Api, ApiError, ConnectionFailed, NotServed, forbidden
from .apply import not_served
from .errors import PlatformError, PlatformErrors, raise_all
from .findings import DEFAULT_POLICY, FailFast
from .gate import COLLECT_SECONDS, EndpointsTarget, Gate, ObjectTarget, SelectorTarget, Target
from .live import LiveState
from .objects import Manifest, Ref, ref_of
from .selectors import parse
from .status import UNKNOWN, Status
from .transient import backoff_seconds, is_transient
from .watch import Changed, Deleted, Listed, Refused, Scope, Watches, drain

Report = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What to wait for. ``objects`` and ``helm_releases`` are entries as the module documents them."""

    objects: Sequence[Mapping[str, Any]] = ()
    manifests: Sequence[Manifest] = ()
    helm_releases: Sequence[Mapping[str, str]] = ()
    timeout_seconds: float = 600.0
    stable_seconds: float = 0.0
    fail_fast: FailFast = DEFAULT_POLICY
    check_mode: bool = False


class NotReady(PlatformErrors):
    """At least one object did not become ready; ``result`` is the state of all."""

    def __init__(self, failures: Sequence[PlatformError], result: dict[str, Any]) -> None:
        super().__init__(failures)
        self.result = result

    def as_result(self) -> dict[str, Any]:
        return {**self.result, **super().as_result()}


def wait_until_ready(api: Api, options: Options, report: Report) -> dict[str, Any]:
    """Wait and return the result; raises NotReady. In check mode: the present state, without waiting or failing."""
    api.check()
    waiting = [*_targets_of(options)]
    for release in options.helm_releases:
        manifests = release_manifests(api, release["namespace"], release["name"])
        waiting += [
            _Waiting(ObjectTarget(ref), options.timeout_seconds) for ref in _refs(api, manifests, release["namespace"])
        ]
    if not waiting:
        raise PlatformError(
            "there is nothing to wait for",
            object="readiness_gate",
            next_command="set objects, manifests or helm_releases",
        )
    run = _Run(api, waiting, options, report)
    if options.check_mode:
        return run.look()
    try:
        return run.wait()
    finally:
        run.close()


def release_manifests(api: Api, namespace: str, name: str) -> list[Manifest]:
    """The objects of a Helm release's newest revision, from where Helm keeps them (hooks are not among them)."""
    import yaml

    secrets = (
        api.list(api.type_of("v1", "Secret"), namespace, label_selector=f"owner=helm,name={name}").get("items") or []
    )
    if not secrets:
        raise PlatformError(
            "the release does not exist",
            object=f"Helm release {namespace}/{name}",
            next_command=f"helm -n {namespace} list --all",
        )
    newest = max(secrets, key=lambda secret: int(secret["metadata"]["labels"].get("version", 0)))
    # Kubernetes encodes Secret data in base64, and Helm has done so itself before.
    packed = base64.b64decode(base64.b64decode(newest["data"]["release"]))
    release = json.loads(gzip.decompress(packed) if packed[:2] == b"\x1f\x8b" else packed)
    return [document for document in yaml.safe_load_all(release.get("manifest") or "") if document]


@dataclass
class _Waiting:
    target: Target
    timeout_seconds: float
    status: Status = UNKNOWN
    ready_after_seconds: float | None = None
    shown: str = ""
    failed: bool = False


def _targets_of(options: Options) -> Iterable[_Waiting]:
    problems: list[PlatformError] = []
    found: list[_Waiting] = []
    for index, entry in enumerate(options.objects):
        name, selector = entry.get("name"), entry.get("label_selector")
        kind, namespace = str(entry["kind"]), str(entry.get("namespace") or "")
        timeout_seconds = float(entry.get("timeout_seconds") or options.timeout_seconds)
        if bool(name) == bool(selector):
            problems.append(PlatformError("needs either name or label_selector", object=f"objects[{index}] ({kind})"))
            continue
        ref = Ref(str(entry.get("api_version") or "v1"), kind, namespace, str(name or selector))
        if entry.get("min_ready_endpoints") is not None:
            if kind != "Service" or not name:
                problems.append(
                    PlatformError("min_ready_endpoints is for a Service by name", object=f"objects[{index}] ({kind})")
                )
                continue
            found.append(_Waiting(EndpointsTarget(ref, int(entry["min_ready_endpoints"])), timeout_seconds))
        target = ObjectTarget(ref) if name else SelectorTarget(ref, parse(str(selector)), entry.get("expected_count"))
        found.append(_Waiting(target, timeout_seconds))
    raise_all(problems)
    found += [_Waiting(ObjectTarget(ref_of(manifest)), options.timeout_seconds) for manifest in options.manifests]
    return found


def _refs(api: Api, manifests: Iterable[Manifest], release_namespace: str) -> Iterable[Ref]:
    for manifest in manifests:
        ref = ref_of(manifest)
        try:
            namespaced = api.type_of(ref.api_version, ref.kind).namespaced
        except NotServed:
            namespaced = bool(ref.namespace)
        yield Ref(ref.api_version, ref.kind, (ref.namespace or release_namespace) if namespaced else "", ref.name)


@dataclass
class _Run:
    api: Api
    waiting: Sequence[_Waiting]
    options: Options
    report: Report
    _start: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        self._inbox: queue.SimpleQueue[object] = queue.SimpleQueue()
        self._live = LiveState()
        self._gate = Gate(self.api, self._live, self.options.fail_fast)
        self._watches = Watches(self.api, self._inbox.put)
        self._failures: list[PlatformError] = []
        self._first_failure_at: float | None = None
        self._all_ready_since: float | None = None
        self._confirm_at = 0.0
        self._confirm_attempt = 0

    def close(self) -> None:
        self._watches.close()

    def look(self) -> dict[str, Any]:
        """Read everything once."""
        try:
            self._list_all(with_explanations=True)
        except (ApiError, ConnectionFailed) as error:
            raise self._unanswered(error) from error
        for waiting in self.waiting:
            waiting.status = self._gate.judge(waiting.target, time.monotonic()).status
        return self._result()

    def wait(self) -> dict[str, Any]:
        for waiting in self.waiting:
            for scope in self._gate.scopes(waiting.target):
                self._watches.ensure(scope)
        while True:
            now = time.monotonic()
            wake = self._judge_all(now)
            if self._is_over(now):
                break
            try:
                first = self._inbox.get(timeout=max(0.0, wake - time.monotonic()))
            except queue.Empty:
                continue
            for message in drain(self._inbox, first):
                if isinstance(message, Listed | Changed | Deleted | Refused):
                    self._live.take(message)
                    if isinstance(message, Refused):
                        self._refused(message)
        result = self._result()
        if self._failures:
            raise NotReady(self._failures, result)
        return result

    def _is_over(self, now: float) -> bool:
        if self._first_failure_at is not None:
            settled = all(waiting.failed or waiting.status.is_current for waiting in self.waiting)
            return settled or now >= self._first_failure_at + COLLECT_SECONDS
        if self._all_ready_since is None or now < self._all_ready_since + self.options.stable_seconds:
            return False
        if now < self._confirm_at or not self._has_listed(now):
            return False
        self._judge_all(now)
        return self._all_ready_since is not None

    def _has_listed(self, now: float) -> bool:
        """List everything once more; False if that has to be tried again, at ``_confirm_at``."""
        try:
            self._list_all(with_explanations=False)
        except (ApiError, ConnectionFailed) as error:
            deadline = max(self._deadline(waiting) for waiting in self.waiting)
            if not is_transient(error) or time.monotonic() >= deadline:
                raise self._unanswered(error) from error
            self._confirm_attempt += 1
            self._confirm_at = min(time.monotonic() + backoff_seconds(self._confirm_attempt, error), deadline)
            return False
        return True

    def _judge_all(self, now: float) -> float:
        """Judge everything; returns when to look again even if nothing happens (monotonic seconds)."""
        wake = now + self.options.timeout_seconds
        for waiting in self.waiting:
            if waiting.failed:
                continue
            if not self._live.is_synced(waiting.target.scope) and now < self._deadline(waiting):
                wake = min(wake, self._deadline(waiting))
                continue
            verdict = self._gate.judge(waiting.target, now)
            self._look(waiting, verdict.status)
            if verdict.failure is not None:
                self._fail(waiting, self._gate.failure(waiting.target, verdict.failure))
            elif not verdict.status.is_current:
                if now >= self._deadline(waiting):
                    self._fail(waiting, self._late(waiting, now))
                else:
                    wake = min(wake, self._deadline(waiting), verdict.check_at or wake)
        if all(waiting.status.is_current for waiting in self.waiting):
            self._all_ready_since = now if self._all_ready_since is None else self._all_ready_since
            wake = min(wake, max(self._all_ready_since + self.options.stable_seconds, self._confirm_at))
        else:
            self._all_ready_since = None
        if self._first_failure_at is not None:
            wake = min(wake, self._first_failure_at + COLLECT_SECONDS)
        return wake

    def _deadline(self, waiting: _Waiting) -> float:
        # Stability is asked for on top of readiness, not within the same time.
        return (
            self._start
            + waiting.timeout_seconds
            + (self.options.stable_seconds if self._all_ready_since is not None else 0.0)
        )

    def _look(self, waiting: _Waiting, status: Status) -> None:
        waiting.status = status
        if not status.is_current:
            waiting.ready_after_seconds = None
        elif waiting.ready_after_seconds is None:
            waiting.ready_after_seconds = self._seconds()
        text = self._gate.progress(waiting.target, status)
        # What is ready at first sight is not news: the result counts it.
        if text != waiting.shown and (waiting.shown or not status.is_current):
            self.report(f"{self._seconds():6.1f}s {waiting.target.ref.kind}/{waiting.target.ref.name} {text}")
        waiting.shown = text

    def _late(self, waiting: _Waiting, now: float) -> PlatformError:
        ref = waiting.target.ref
        try:
            self.api.type_of(ref.api_version, ref.kind)
        except NotServed as error:
            return not_served(ref, error)
        except (ApiError, ConnectionFailed) as error:
            return PlatformError(
                "the API server cannot be asked about it",
                object=str(ref),
                evidence=str(error),
                next_command="kubectl cluster-info",
            )
        return self._gate.late(waiting.target, now - self._start)

    def _fail(self, waiting: _Waiting, error: PlatformError) -> None:
        waiting.failed = True
        self._failures.append(error)
        if self._first_failure_at is None:
            self._first_failure_at = time.monotonic()

    def _refused(self, refused: Refused) -> None:
        if refused.error.status == 401:
            error = self.api.unauthorized(refused.error)
        else:
            error = forbidden(refused.error, str(refused.scope))
        needed = [waiting for waiting in self.waiting if waiting.target.scope == refused.scope]
        for waiting in needed:
            waiting.failed = True
        if needed:
            self._fail(needed[0], error)
        else:
            self.report(f"{self._seconds():6.1f}s {error.cause}: causes will be less precise")

    def _list_all(self, *, with_explanations: bool) -> None:
        scopes: set[Scope] = set()
        for waiting in self.waiting:
            scopes.update(self._gate.scopes(waiting.target) if with_explanations else [waiting.target.scope])
        for scope in sorted(scopes):
            try:
                type_ = self.api.type_of(scope.api_version, scope.kind)
                listed = self.api.list(type_, scope.namespace)
            except NotServed:
                continue
            except ApiError as error:
                if error.status in (401, 403):
                    continue  # The watch has reported it, or its absence only makes causes vaguer.
                raise
            items = tuple(
                {"apiVersion": scope.api_version, "kind": scope.kind, **item} for item in listed.get("items") or []
            )
            self._live.take(Listed(scope, items, str((listed.get("metadata") or {}).get("resourceVersion") or "")))

    def _unanswered(self, error: ApiError | ConnectionFailed) -> PlatformError:
        cause = "answers with an error" if isinstance(error, ApiError) else "cannot be reached"
        return PlatformError(f"the API server {cause}", object=self.api.host, evidence=str(error))

    def _seconds(self) -> float:
        return round(time.monotonic() - self._start, 1)

    def _result(self) -> dict[str, Any]:
        return {
            "changed": False,
            "ready": all(waiting.status.is_current for waiting in self.waiting),
            "objects": [
                {
                    "api_version": waiting.target.ref.api_version,
                    "kind": waiting.target.ref.kind,
                    "namespace": waiting.target.ref.namespace,
                    "name": waiting.target.ref.name,
                    "status": waiting.status.state.value,
                    "reason": waiting.status.reason,
                    "message": waiting.status.message,
                    "ready_after_seconds": waiting.ready_after_seconds,
                }
                for waiting in self.waiting
            ],
            "failures": [failure.as_dict() for failure in self._failures],
        }
