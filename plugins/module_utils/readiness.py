"""The readiness gate: wait until objects are ready, end early when one will not be, say why.

Nothing is applied here. Each object has its deadline; success is confirmed by listing everything once more.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .api import Api, ApiError, ConnectionFailed, NotServed
from .custom_condition import parse as parse_condition
from .errors import PlatformError, PlatformErrors, raise_all
from .findings import DEFAULT_POLICY, FailFast
from .gate import EndpointsTarget, Gate, ObjectTarget, SelectorTarget, Target
from .helm_release import objects_of_release
from .live import LiveState
from .objects import Manifest, Ref, ref_of
from .progress import Report
from .scoping import namespace_problems
from .selectors import parse
from .waiter import LIST_SECONDS, Waited, Waiter, listed


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
    entries = _entries_of(api, options)
    if not entries:
        raise PlatformError(
            "there is nothing to wait for",
            object="readiness_gate",
            next_command="set objects, manifests or helm_releases",
        )
    if options.check_mode:
        return _look(api, entries, options)
    run = _Run(api, entries, options, report)
    try:
        return run.wait()
    finally:
        run.close()


@dataclass(frozen=True)
class _Entry:
    target: Target
    timeout_seconds: float


def _entries_of(api: Api, options: Options) -> list[_Entry]:
    """What the options name. Every problem of the input is reported at once."""
    problems: list[PlatformError] = []
    entries: list[_Entry] = []
    for index, entry in enumerate(options.objects):
        try:
            entries += _entries_of_object(entry, f"objects[{index}] ({entry['kind']})", options.timeout_seconds)
        except PlatformError as error:
            problems += error.failures()
    for index, manifest in enumerate(options.manifests):
        ref = ref_of(manifest)
        named = (("apiVersion", ref.api_version), ("kind", ref.kind), ("metadata.name", ref.name))
        if missing := [key for key, value in named if not value]:
            problems.append(PlatformError(f"lacks {', '.join(missing)}", object=f"manifests[{index}]"))
        entries.append(_Entry(ObjectTarget(ref), options.timeout_seconds))
    raise_all(problems)
    api.check()
    places = [(ref_of(manifest), f"manifests[{index}]") for index, manifest in enumerate(options.manifests)]
    raise_all(namespace_problems(api, places))
    for release in options.helm_releases:
        refs = objects_of_release(api, release["namespace"], release["name"])
        entries += [_Entry(ObjectTarget(ref), options.timeout_seconds) for ref in refs]
    return entries


def _entries_of_object(entry: Mapping[str, Any], subject: str, timeout_seconds: float) -> list[_Entry]:
    name, selector = entry.get("name"), entry.get("label_selector")
    min_ready, count = entry.get("min_ready_endpoints"), entry.get("expected_count")
    ref = Ref(
        str(entry.get("api_version") or "v1"),
        str(entry["kind"]),
        str(entry.get("namespace") or ""),
        str(name or selector),
    )
    problems: list[PlatformError] = []
    if bool(name) == bool(selector):
        problems.append(PlatformError("needs either name or label_selector", object=subject))
    if min_ready is not None and (ref.kind != "Service" or not name):
        problems.append(PlatformError("min_ready_endpoints is for a Service by name", object=subject))
    if count is not None and name:
        problems.append(PlatformError("expected_count is for a label_selector", object=subject))
    raise_all(problems)
    condition = parse_condition(entry, subject)
    target: Target = ObjectTarget(ref, condition=condition)
    if selector:
        target = SelectorTarget(ref, parse(str(selector)), count, condition)
    targets = [target]
    if min_ready is not None:
        targets.insert(0, EndpointsTarget(ref, int(min_ready)))
    own = entry.get("timeout_seconds")
    return [_Entry(target, timeout_seconds if own is None else float(own)) for target in targets]


class _Run:
    def __init__(self, api: Api, entries: Sequence[_Entry], options: Options, report: Report) -> None:
        self._options = options
        # Stable means without a break, however short.
        self._waiter = Waiter(api, options.fail_fast, report, each_change=options.stable_seconds > 0)
        now = time.monotonic()
        self._deadline = now + max(entry.timeout_seconds for entry in entries)
        self._waited = [self._waiter.add(entry.target, now + entry.timeout_seconds) for entry in entries]
        self._ready_since: float | None = None

    def close(self) -> None:
        self._waiter.close()

    def wait(self) -> dict[str, Any]:
        while not self._waiter.is_over and not self._is_stable():
            step = self._waiter.step(self._wake())
            if step.changed and not self._waiter.all_current:
                self._ready_since = None
        result = _result(self._waited, self._waiter.failures)
        if self._waiter.failures:
            raise NotReady(self._waiter.failures, result)
        return result

    def _is_stable(self) -> bool:
        """Whether all targets have been ready for long enough, and the server says so when it is asked once more."""
        if not self._waiter.all_current:
            return False
        if self._ready_since is None:
            self._ready_since = time.monotonic()
        if time.monotonic() < self._stable_at():
            return False
        # Stability is asked for on top of readiness, not within the same time.
        changed = self._waiter.confirm(self._deadline + self._options.stable_seconds)
        if changed:
            self._ready_since = None
        return self._waiter.all_current and not changed

    def _stable_at(self) -> float:
        return (self._ready_since or 0.0) + self._options.stable_seconds

    def _wake(self) -> float:
        return self._stable_at() if self._ready_since is not None else self._deadline


def _look(api: Api, entries: Sequence[_Entry], options: Options) -> dict[str, Any]:
    """The present state, read once."""
    live = LiveState()
    gate = Gate(live, options.fail_fast)
    scopes = {scope for entry in entries for scope in (entry.target.scope, *gate.explaining_scopes(entry.target))}
    needed = {entry.target.scope for entry in entries}
    for scope in sorted(scopes):
        try:
            live.take(listed(api, scope, LIST_SECONDS))
        except NotServed:
            continue
        except (ApiError, ConnectionFailed) as error:
            # What only explains may be forbidden.
            if scope in needed or not isinstance(error, ApiError):
                raise api.explained(error, str(scope)) from error
    looked = [Waited(entry.target, 0.0, 0.0, status=gate.status(entry.target)) for entry in entries]
    return _result(looked, [])


def _result(waited: Sequence[Waited], failures: Sequence[PlatformError]) -> dict[str, Any]:
    return {
        "changed": False,
        "ready": all(entry.is_current for entry in waited),
        "objects": [
            {
                "api_version": entry.target.ref.api_version,
                "kind": entry.target.ref.kind,
                "namespace": entry.target.ref.namespace,
                "name": entry.target.ref.name,
                "status": entry.status.state.value,
                "reason": entry.status.reason,
                "message": entry.status.message,
                "ready_after_seconds": entry.ready_after_seconds,
            }
            for entry in waited
        ],
        "failures": [failure.as_dict() for failure in failures],
    }
