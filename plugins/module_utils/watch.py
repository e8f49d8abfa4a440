"""LIST and WATCH, one stream per kind and namespace, into one queue.

The client's own watch is not used: with a server timeout it ends silently when the server closes the stream, without
one it reconnects without backoff, and on a dead connection it hangs.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from .api import Api, ApiError, ConnectionFailed, NotServed, ResourceType, WatchStream
from .objects import Manifest, metadata_of
from .transient import backoff_seconds

# The server ends a watch after this time; it is then continued where it ended. A connection that is silent for longer
# than that is dead, whatever TCP thinks.
SERVER_SECONDS = 60
READ_SECONDS = SERVER_SECONDS + 15.0


@dataclass(frozen=True, order=True)
class Scope:
    """What one watch covers: a kind in a namespace ("" for all, or for cluster-scoped kinds)."""

    api_version: str
    kind: str
    namespace: str

    def __str__(self) -> str:
        return f"{self.kind} in namespace {self.namespace}" if self.namespace else self.kind


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
    error: ApiError


Notice: TypeAlias = "Listed | Changed | Deleted | Refused"


class Watches:
    """Running watches; ``close`` ends them."""

    def __init__(self, api: Api, put: Callable[[Notice], None]) -> None:
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
        for watch in self._watches.values():
            watch.join()


class _Watch:
    def __init__(self, api: Api, scope: Scope, put: Callable[[Notice], None]) -> None:
        self._api, self._scope, self._put = api, scope, put
        self._stopped = threading.Event()
        self._stream: WatchStream | None = None
        self._thread = threading.Thread(target=self._run, name=f"watch {scope.kind} {scope.namespace}", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        stream = self._stream
        if stream is not None:
            stream.close()

    def join(self) -> None:
        # The thread is a daemon: one that is still connecting must not hold up the end of a run.
        self._thread.join(timeout=1.0)

    def _run(self) -> None:
        attempt = 0
        while not self._stopped.is_set():
            try:
                type_ = self._api.type_of(self._scope.api_version, self._scope.kind)
                version = self._list(type_)
                attempt = 0
                self._follow(type_, version)
            except _Forbidden as refused:
                self._put(Refused(self._scope, refused.error))
                return
            except (ApiError, ConnectionFailed, NotServed, _Expired) as error:
                attempt += 1
                asked = error if isinstance(error, ApiError) else None
                self._stopped.wait(backoff_seconds(attempt, asked))

    def _list(self, type_: ResourceType) -> str:
        try:
            listed = self._api.list(type_, self._scope.namespace)
        except ApiError as error:
            raise _forbidden_or(error) from error
        version = str(metadata_of(listed).get("resourceVersion") or "")
        self._put(Listed(self._scope, tuple(_typed(listed.get("items") or [], self._scope)), version))
        return version

    def _follow(self, type_: ResourceType, version: str) -> None:
        """Watch from this version on, over as many requests as it takes. Raises when only a new LIST helps."""
        while not self._stopped.is_set():
            opened = time.monotonic()
            try:
                stream = self._api.watch(
                    type_, self._scope.namespace, version, server_seconds=SERVER_SECONDS, read_seconds=READ_SECONDS
                )
            except ApiError as error:
                raise _forbidden_or(error) from error
            self._stream = stream
            if self._stopped.is_set():
                stream.close()
                return
            for event in stream:
                obj = event.get("object") or {}
                kind = event.get("type")
                if kind == "ERROR":
                    raise _Expired(str(obj.get("message")))
                version = str(metadata_of(obj).get("resourceVersion") or version)
                if kind in ("ADDED", "MODIFIED"):
                    self._put(Changed(self._scope, obj))
                elif kind == "DELETED":
                    self._put(Deleted(self._scope, obj))
            if time.monotonic() - opened < 1.0:
                # A server that closes at once (a proxy, an overloaded server) must not be hammered.
                self._stopped.wait(random.uniform(0.5, 1.0))


class _Expired(Exception):
    """The watch's resourceVersion is too old, or the server ended the stream with an error: list again."""


class _Forbidden(Exception):
    def __init__(self, error: ApiError) -> None:
        super().__init__(str(error))
        self.error = error


def _forbidden_or(error: ApiError) -> Exception:
    return _Forbidden(error) if error.status in (401, 403) else error


def _typed(items: Sequence[Manifest], scope: Scope) -> Iterator[Manifest]:
    # Items of a list carry neither apiVersion nor kind.
    for item in items:
        yield {"apiVersion": scope.api_version, "kind": scope.kind, **item}


def drain(notices: queue.SimpleQueue[object], first: object) -> Iterator[object]:
    """The first and everything else that is in the queue by now."""
    yield first
    while True:
        try:
            yield notices.get_nowait()
        except queue.Empty:
            return
