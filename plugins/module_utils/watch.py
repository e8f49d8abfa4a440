"""LIST and WATCH, one stream per kind and namespace, into one queue.

The client's own watch is not used: with a server timeout it ends silently when the server closes the stream, without
one it reconnects without backoff, and on a dead connection it hangs.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from .api import Api, ApiError, ConnectionFailed, NotServed, ResourceType, Untrusted, WatchStream
from .objects import Manifest, metadata_of
from .transient import backoff_seconds, is_transient

# The server ends a watch after about this time, and it is continued where it ended: one request that costs the server
# next to nothing. A connection that is silent for longer is dead, whatever TCP thinks, so that this is also how long a
# proxy can swallow events unnoticed. Each watch takes a time of its own, lest all reconnect together.
SERVER_SECONDS = 30
SILENCE_SECONDS = 5.0
# A stream that held for this long counts as well.
HOLD_SECONDS = 5.0
# A server or a proxy that ends streams early must not be hammered; nor may it keep us from events for longer than this.
EARLY_END_SECONDS = 1.0
# A CRD that comes while it is waited for should be noticed quickly.
NOT_SERVED_SECONDS = 1.0
# An API server that has just started refuses rightful requests until it has read roles and tokens. Who was let in
# before, or is refused by a server that is not ready, is taken to be refused only after this time.
REFUSAL_SECONDS = 30.0
# Answered with errors so often, a watch may never come to be; listing goes on nevertheless.
RESUME_TRIES = 3


@dataclass(frozen=True, order=True)
class Scope:
    """What one watch covers: a kind in a namespace ("" for all, or for cluster-scoped kinds)."""

    api_version: str
    kind: str
    namespace: str

    def __str__(self) -> str:
        return f"{self.kind} in namespace {self.namespace}" if self.namespace else self.kind

    @property
    def field_selector(self) -> str:
        """Of events, only warnings explain anything; the others are most of the traffic of a rollout."""
        return "type=Warning" if (self.api_version, self.kind) == ("v1", "Event") else ""


@dataclass(frozen=True)
class Listed:
    scope: Scope
    items: tuple[Manifest, ...]
    resource_version: str


@dataclass(frozen=True)
class Changed:
    scope: Scope
    obj: Manifest


@dataclass(frozen=True)
class Deleted:
    scope: Scope
    obj: Manifest


@dataclass(frozen=True)
class Refused:
    """The server does not let us watch this; no more events will come."""

    scope: Scope
    error: ApiError | ConnectionFailed


Notice: TypeAlias = "Listed | Changed | Deleted | Refused"


@dataclass(frozen=True)
class Interrupted:
    """A watch was lost, or could not begin, and is being tried again; said once until it has held again."""

    scope: Scope
    cause: str


class Watches:
    """Running watches; ``close`` ends them."""

    def __init__(self, api: Api, put: Callable[[Notice | Interrupted], None]) -> None:
        self._api = api
        self._put = put
        self._watches: dict[Scope, _Watch] = {}

    def ensure(self, scope: Scope) -> None:
        """Start watching unless it is being watched."""
        if scope not in self._watches:
            self._watches[scope] = _Watch(self._api, scope, self._put)

    def close(self) -> None:
        for watch in self._watches.values():
            watch.stop()
        # The threads are daemons: those that are still connecting must not hold up the end of a run.
        end = time.monotonic() + 0.5
        for watch in self._watches.values():
            watch.join(max(0.0, end - time.monotonic()))


class _Watch:
    def __init__(self, api: Api, scope: Scope, put: Callable[[Notice | Interrupted], None]) -> None:
        self._api, self._scope, self._put = api, scope, put
        self._stopped = threading.Event()
        self._stream: WatchStream | None = None
        # Where to go on; nothing where only a new list helps.
        self._version = ""
        self._failures = 0
        self._is_known_lost = False
        self._was_let_in = False
        self._refused_since: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"watch {scope.kind} {scope.namespace}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        stream = self._stream
        if stream is not None:
            stream.close()

    def join(self, timeout_seconds: float) -> None:
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                type_ = self._api.type_of(self._scope.api_version, self._scope.kind)
                if not self._version:
                    self._list(type_)
                pause_seconds = self._follow(type_)
            except NotServed:
                self._failures += 1
                pause_seconds = min(NOT_SERVED_SECONDS, backoff_seconds(self._failures))
            except (ApiError, ConnectionFailed) as error:
                if self._stopped.is_set():
                    return
                if self._is_final(error):
                    self._put(Refused(self._scope, error))
                    return
                pause_seconds = self._failed(error)
            except Exception as error:  # noqa: BLE001 - a bug must end the waiting with its message, not hang it
                said = f"unexpected {type(error).__name__} while watching: {error}"
                self._put(Refused(self._scope, ApiError(0, {"message": said})))
                return
            self._stopped.wait(pause_seconds)

    def _list(self, type_: ResourceType) -> None:
        listed = self._api.list(type_, self._scope.namespace, field_selector=self._scope.field_selector)
        version = str(metadata_of(listed).get("resourceVersion") or "")
        self._put(Listed(self._scope, tuple(_typed(listed.get("items") or [], self._scope)), version))
        self._version = version

    def _follow(self, type_: ResourceType) -> float:
        """Watch until the server ends the stream; returns for how many seconds to leave it alone then."""
        server_seconds = max(1, round(SERVER_SECONDS * random.uniform(0.8, 1.2)))
        stream = self._api.watch(
            type_,
            self._scope.namespace,
            self._version,
            field_selector=self._scope.field_selector,
            server_seconds=server_seconds,
            read_seconds=server_seconds + SILENCE_SECONDS,
        )
        self._was_let_in, self._refused_since = True, None
        opened = time.monotonic()
        with stream:
            self._stream = stream
            if self._stopped.is_set():
                return 0.0
            try:
                self._take(stream)
            finally:
                held = time.monotonic() - opened >= min(HOLD_SECONDS, 0.8 * server_seconds)
                if held:
                    self._failures, self._is_known_lost = 0, False
        if held:
            return 0.0
        self._failures += 1
        return min(EARLY_END_SECONDS, backoff_seconds(self._failures))

    def _take(self, stream: WatchStream) -> None:
        for event in stream:
            kind, obj = event.get("type"), event["object"]
            if kind == "ERROR":
                raise ApiError(int(obj.get("code") or 0), obj)
            self._version = str(metadata_of(obj).get("resourceVersion") or self._version)
            if kind in ("ADDED", "MODIFIED"):
                self._put(Changed(self._scope, obj))
            elif kind == "DELETED":
                self._put(Deleted(self._scope, obj))

    def _is_final(self, error: ApiError | ConnectionFailed) -> bool:
        if isinstance(error, Untrusted):
            return True
        if isinstance(error, ConnectionFailed) or error.status not in (401, 403):
            return False
        now = time.monotonic()
        self._refused_since = now if self._refused_since is None else self._refused_since
        if now - self._refused_since >= REFUSAL_SECONDS:
            return True
        return not self._was_let_in and self._api.is_ready()

    def _failed(self, error: ApiError | ConnectionFailed) -> float:
        """Decides whether to go on from the same version (not where that is what is wrong, as in 410); returns for how
        many seconds to leave the server alone.
        """
        self._failures += 1
        if isinstance(error, ApiError):
            is_busy = is_transient(error) and self._failures < RESUME_TRIES
            if not is_busy and error.status not in (401, 403):
                self._version = ""
        if not self._is_known_lost:
            self._is_known_lost = True
            status = f"{error.status} " if isinstance(error, ApiError) else ""
            self._put(Interrupted(self._scope, f"{status}{error}"))
        return backoff_seconds(self._failures, error)


def _typed(items: Sequence[Manifest], scope: Scope) -> Iterator[Manifest]:
    # Items of a list carry neither apiVersion nor kind.
    for item in items:
        yield {"apiVersion": scope.api_version, "kind": scope.kind, **item}
