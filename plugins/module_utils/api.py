"""Requests to the Kubernetes API: one method per verb, plain dicts in and out, errors that say what was asked of what.

It is safe to use from several threads. ``timeout_seconds`` bounds a whole request, whatever it waits for: a name
server, a connection, new credentials, an answer that trickles.
"""

from __future__ import annotations

import json
import queue
import re
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TypeAlias, TypeVar

from .errors import PlatformError
from .objects import Manifest, Ref

# An API server that can be reached accepts a connection at once; one that can't should be noticed in seconds.
CONNECT_SECONDS = 5.0
# Silence after which an answer is no longer expected. Reads wait 15 s at most in the server's queues; writes may wait
# for admission webhooks, 30 s each by their own maximum, and the server ends them after 60 s.
READ_SECONDS = 30.0
WRITE_SECONDS = 65.0
# The first request is answered from memory by a server that is well.
CHECK_SECONDS = 10.0
# Logs only explain a failure that is certain; a node that doesn't hand them out must not hold it back.
LOGS_SECONDS = 5.0

# A read that has taken this part of its time is sent a second time, over another connection.
SECOND_TRY = 0.3

Answer = TypeVar("Answer")

_RBAC = re.compile(
    r'User "(?P<user>[^"]*)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]*)" in API group "(?P<group>[^"]*)"'
    r'(?: in the namespace "(?P<namespace>[^"]*)")?'
)


class ApiError(Exception):
    """The server's answer was an error. ``retry_after_seconds`` is what it asked for, if it did."""

    def __init__(self, status: int, body: Mapping[str, Any], retry_after_seconds: float | None = None) -> None:
        super().__init__(str(body.get("message") or f"HTTP {status}"))
        self.status = status
        self.reason = str(body.get("reason") or "")
        self.details: Mapping[str, Any] = body.get("details") or {}
        self.retry_after_seconds = retry_after_seconds


class ConnectionFailed(Exception):
    """There was no answer: refused, reset, timed out, TLS or DNS failed."""


class Silent(ConnectionFailed):
    """The connection is there, and the answer is not."""


class Untrusted(ConnectionFailed):
    """The server's certificate has expired, is another's, or no authority signed it that the connection trusts."""


class NotServed(Exception):
    """The API server does not serve this kind (its CustomResourceDefinition is not installed)."""

    def __init__(self, api_version: str, kind: str) -> None:
        super().__init__(f"the cluster does not serve {kind} of {api_version}")
        self.api_version = api_version
        self.kind = kind


@dataclass(frozen=True)
class ResourceType:
    """How a kind is addressed; what ``kubernetes.dynamic`` calls a resource."""

    group_version: str
    kind: str
    plural: str
    namespaced: bool

    def path(self, name: str | None = None, namespace: str | None = None) -> str:
        parts = ["/apis" if "/" in self.group_version else "/api", self.group_version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        return "/".join(parts)


class Credentials(Protocol):
    """What requests authenticate with."""

    generation: int
    """Grows with each renewal."""

    problem: str
    """Why the last renewal brought nothing new, if it failed."""

    def renew(self, refused: int) -> bool:
        """Whether there are others by now than those of the generation that the server refused."""


class Api:
    """The API of one cluster."""

    def __init__(self, api_client: Any, credentials: Credentials | None = None) -> None:
        from kubernetes.dynamic import DynamicClient

        self.host = str(api_client.configuration.host)
        self._client = DynamicClient(api_client, discoverer=_NoDiscovery)
        self._credentials = credentials
        self._types: dict[str, dict[str, ResourceType]] = {}
        self._types_lock = threading.Lock()
        self._asking: dict[str, threading.Lock] = {}

    def type_of(self, api_version: str, kind: str, *, timeout_seconds: float | None = None) -> ResourceType:
        """Look a kind up in the server's discovery, in memory from the second time on.

        Raises NotServed, and asks the server again next time, since a CRD may come any moment.
        """
        with self._types_lock:
            known = self._types.get(api_version, {}).get(kind)
        return known or self._read_within(timeout_seconds, lambda: self._asked_type(api_version, kind))

    def _asked_type(self, api_version: str, kind: str) -> ResourceType:
        with self._types_lock:
            asking = self._asking.setdefault(api_version, threading.Lock())
        # Watches of several kinds of one version start together: the first to ask asks for all.
        with asking:
            with self._types_lock:
                known = self._types.get(api_version, {})
            types = known if kind in known else self._discover(api_version)
        if kind not in types:
            raise NotServed(api_version, kind)
        return types[kind]

    def _discover(self, api_version: str) -> dict[str, ResourceType]:
        root = "/apis" if "/" in api_version else "/api"
        try:
            listed = self._json("get", f"{root}/{api_version}")
        except ApiError as error:
            if error.status == 404:
                return {}
            raise
        types = {
            str(entry["kind"]): ResourceType(
                api_version, str(entry["kind"]), str(entry["name"]), bool(entry["namespaced"])
            )
            for entry in listed.get("resources") or []
            if "/" not in entry["name"]
        }
        with self._types_lock:
            self._types[api_version] = types
        return types

    def group_kinds(self) -> dict[str, str]:
        """The version the server prefers for each group: {"apps": "apps/v1", "": "v1", …}."""
        listed = self._json("get", "/apis")
        preferred = {
            str(group["name"]): str(group["preferredVersion"]["groupVersion"]) for group in listed.get("groups") or []
        }
        return {"": "v1", **preferred}

    def get(self, ref: Ref, *, timeout_seconds: float | None = None) -> Manifest | None:
        try:
            return self._read_within(timeout_seconds, lambda: self._json("get", self._path(ref)))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def list(
        self,
        type_: ResourceType,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        *,
        timeout_seconds: float | None = None,
    ) -> Manifest:
        """The list object: its ``items`` and, in ``metadata``, the resourceVersion to watch from."""
        return self._read_within(
            timeout_seconds,
            lambda: self._json(
                "get",
                type_.path(namespace=namespace),
                label_selector=label_selector or None,
                field_selector=field_selector or None,
            ),
        )

    def apply(
        self,
        manifest: Manifest,
        type_: ResourceType,
        *,
        field_manager: str,
        force: bool,
        dry_run: bool,
        strict: bool = True,
        timeout_seconds: float | None = None,
    ) -> Manifest:
        """Server-side apply. Unknown fields are refused rather than dropped, as a typo would be otherwise."""
        metadata = manifest["metadata"]
        return self._within(
            timeout_seconds,
            lambda: self._json(
                "patch",
                type_.path(metadata["name"], metadata.get("namespace")),
                body=manifest,
                content_type="application/apply-patch+yaml",
                field_manager=field_manager,
                force_conflicts=force,
                dry_run="All" if dry_run else None,
                query_params=(("fieldValidation", "Strict" if strict else "Ignore"),),
            ),
        )

    def delete(self, ref: Ref, *, uid: str, dry_run: bool, timeout_seconds: float | None = None) -> bool:
        """Delete exactly this incarnation of the object; its dependents go in the background. False if it was gone
        already.
        """
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": uid},
            # In the body: the server ignores the query's dryRun where there is a body.
            **({"dryRun": ["All"]} if dry_run else {}),
        }
        try:
            self._within(timeout_seconds, lambda: self._json("delete", self._path(ref), body=body))
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def logs(
        self,
        namespace: str,
        pod: str,
        container: str,
        *,
        previous: bool,
        lines: int,
        timeout_seconds: float = LOGS_SECONDS,
    ) -> str:
        """The last lines of a container's log."""
        query = [("container", container), ("tailLines", str(lines)), ("limitBytes", "262144")]
        if previous:
            query.append(("previous", "true"))
        path = f"/api/v1/namespaces/{namespace}/pods/{pod}/log"
        data: bytes = self._within(timeout_seconds, lambda: self._data("get", path, query_params=query))
        return data.decode(errors="replace")

    def watch(
        self,
        type_: ResourceType,
        namespace: str,
        resource_version: str,
        *,
        field_selector: str = "",
        server_seconds: int,
        read_seconds: float,
    ) -> WatchStream:
        response = self._send(
            "get",
            type_.path(namespace=namespace),
            watch=True,
            allow_watch_bookmarks=True,
            field_selector=field_selector or None,
            resource_version=resource_version,
            timeout_seconds=server_seconds,
            _request_timeout=(CONNECT_SECONDS, read_seconds),
        )
        return WatchStream(response, self._translated)

    def who_am_i(self) -> str:
        """The user name that the server knows these credentials by, or "" if it doesn't tell."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview", "metadata": {}}
        try:
            answer = self._json("post", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=review)
        except (ApiError, ConnectionFailed):
            return ""
        return str(((answer.get("status") or {}).get("userInfo") or {}).get("username") or "")

    def version(self, timeout_seconds: tuple[float, float]) -> Manifest:
        """What the server says of itself: ``major``, ``minor``, ``gitVersion``. Times are to connect, to answer."""
        return self._json("get", "/version", _request_timeout=timeout_seconds)

    def is_ready(self) -> bool:
        """Whether the server says that it has read all it needs to answer, roles among it; everyone may ask that."""
        try:
            self._within(CHECK_SECONDS, lambda: self._data("get", "/readyz"))
        except (ApiError, ConnectionFailed):
            return False
        return True

    def may(self, attributes: Mapping[str, str], timeout_seconds: tuple[float, float]) -> bool:
        """Whether these credentials may do what the resource attributes of a SelfSubjectAccessReview describe."""
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": dict(attributes)},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        return bool(self._json("post", path, body=review, _request_timeout=timeout_seconds)["status"]["allowed"])

    def certificate_authority(self) -> bytes:
        """The PEM certificates that the server's own is verified by, or nothing where the system's are used."""
        file = self._client.client.configuration.ssl_ca_cert
        return Path(file).read_bytes().strip() if file else b""

    def check(self) -> None:
        """Fail within seconds, in words, when the server can't be reached or refuses the credentials."""
        try:
            # What is asked for first is asked for next anyway.
            self._within(CHECK_SECONDS, lambda: self._discover("v1"))
        except (ApiError, ConnectionFailed) as error:
            # Whoever may not read discovery may still read what they need.
            if not isinstance(error, ApiError) or error.status != 403:
                raise self.explained(error) from error

    def explained(self, error: ApiError | ConnectionFailed, object: str = "") -> PlatformError:
        """In words: an error that ended what was done about ``object``, or with the server at all."""
        about = object or self.host
        if isinstance(error, Untrusted):
            return PlatformError(
                "the API server's certificate is not trusted",
                object=self.host,
                evidence=str(error),
                next_command="compare certificate-authority-data (or ca_cert) and the server's name with: "
                f"openssl s_client -showcerts -connect {self.host.partition('://')[2]}",
            )
        if isinstance(error, ConnectionFailed):
            return PlatformError(
                "the Kubernetes API server cannot be reached",
                object=self.host,
                evidence=str(error),
                next_command="kubectl cluster-info",
            )
        if error.status == 401:
            return self.unauthorized(error)
        if error.status == 403:
            return forbidden(error, about)
        return PlatformError(
            "the Kubernetes API server answers with an error", object=about, evidence=f"{error.status} {error}"
        )

    def unauthorized(self, error: ApiError) -> PlatformError:
        problem = self._credentials.problem if self._credentials is not None else ""
        return PlatformError(
            "the API server does not accept the credentials: they have expired or belong to another cluster",
            object=self.host,
            evidence=f"401 {error}" + (f"; they could not be renewed: {problem}" if problem else ""),
            next_command="log in again, then: kubectl auth whoami",
        )

    def _path(self, ref: Ref) -> str:
        return self.type_of(ref.api_version, ref.kind).path(ref.name, ref.namespace)

    def _json(self, method: str, path: str, **params: Any) -> Manifest:
        data = self._data(method, path, **params)
        try:
            decoded = json.loads(data)
        except ValueError as error:
            raise ConnectionFailed(f"the answer is not JSON: {data[:100]!r}") from error
        if not isinstance(decoded, dict):
            raise ConnectionFailed(f"the answer is not an object: {data[:100]!r}")
        return decoded

    def _data(self, method: str, path: str, **params: Any) -> bytes:
        response = self._send(method, path, **params)
        data: bytes = self._translated(lambda: response.data)
        return data

    def _send(self, method: str, path: str, **params: Any) -> Any:
        """Send it, a second time if there are new credentials where these were refused."""
        answer_seconds = READ_SECONDS if method == "get" else WRITE_SECONDS
        params.setdefault("_request_timeout", (CONNECT_SECONDS, answer_seconds))
        query = params.pop("query_params", ())

        def send() -> Any:
            # The client adds to the list that it is given.
            return self._client.request(method, path, serialize=False, query_params=list(query), **params)

        used = self._credentials.generation if self._credentials is not None else 0
        try:
            return self._translated(send)
        except ApiError as error:
            if error.status != 401 or self._credentials is None or not self._credentials.renew(used):
                raise
        return self._translated(send)

    def _within(self, seconds: float | None, send: Callable[[], Answer]) -> Answer:
        """The answer to a request, if it comes within this time; else the request is left to itself.

        The timeouts of a socket bound neither the search for its address nor an answer that comes byte by byte.
        """
        if seconds is None:
            return send()
        answers: _Answers[Answer] = queue.SimpleQueue()
        _ask(send, answers)
        return self._awaited(answers, seconds, seconds)

    def _read_within(self, seconds: float | None, send: Callable[[], Answer]) -> Answer:
        """The same for what may be asked twice: the connection may have died while it was idle."""
        if seconds is None:
            return send()
        answers: _Answers[Answer] = queue.SimpleQueue()
        _ask(send, answers)
        try:
            return self._awaited(answers, SECOND_TRY * seconds, seconds)
        except Silent:
            _ask(send, answers)
            return self._awaited(answers, (1 - SECOND_TRY) * seconds, seconds)

    def _awaited(self, answers: _Answers[Answer], seconds: float, of_seconds: float) -> Answer:
        try:
            answer, error = answers.get(timeout=max(0.0, seconds))
        except queue.Empty:
            self._forget_idle_connections()
            raise Silent(f"no complete answer within {of_seconds:.1f} s") from None
        if error is not None:
            raise error
        return answer  # type: ignore[return-value]  # an Answer unless there was an error

    def _translated(self, send: Callable[[], Answer]) -> Answer:
        try:
            return _translated(send)
        except Silent:
            self._forget_idle_connections()
            raise

    def _forget_idle_connections(self) -> None:
        """Where one connection swallows what is sent, those that wait to be used again may, too."""
        self._client.client.rest_client.pool_manager.clear()


class WatchStream:
    """The events of one watch request; ``close`` may be called from another thread and ends a read that waits."""

    def __init__(self, response: Any, translated: Callable[[Callable[[], bytes | None]], bytes | None]) -> None:
        self._response, self._translated = response, translated

    def __enter__(self) -> WatchStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Of a stream that wasn't read to its end; the connection of one that was is back in the pool by now.
        self._response.close()

    def __iter__(self) -> Iterator[Manifest]:
        chunks = self._response.stream(amt=None, decode_content=True)
        pending: list[bytes] = []
        while True:
            chunk = self._translated(lambda: next(chunks, None))
            if chunk is None:
                return
            first, *lines = chunk.split(b"\n")
            pending.append(first)
            if not lines:
                continue
            yield from _events([b"".join(pending), *lines[:-1]])
            pending = [lines[-1]]

    def close(self) -> None:
        shutdown = getattr(self._response, "shutdown", None)
        try:
            if shutdown is not None:
                shutdown()
            else:
                self._response.close()
        except (OSError, ValueError, AttributeError, RuntimeError):
            # It has ended by itself meanwhile.
            pass


def _events(lines: Iterable[bytes]) -> Iterator[Manifest]:
    for line in lines:
        if not line.strip():
            continue
        try:
            event = json.loads(line)
        except ValueError as error:
            raise ConnectionFailed(f"not an event of a watch: {line[:100]!r}") from error
        if not isinstance(event, dict) or not isinstance(event.get("object"), dict):
            raise ConnectionFailed(f"not an event of a watch: {line[:100]!r}")
        yield event


def forbidden(error: ApiError, object: str) -> PlatformError:
    """A 403 in words: who may not do what to which resource where, as the server says it."""
    match = _RBAC.search(str(error))
    if match is None:
        return PlatformError("the API server forbids it", object=object, evidence=f"403 {error}")
    resource = ".".join(part for part in (match["resource"], match["group"]) if part)
    namespace = match["namespace"]
    where = f"in namespace {namespace}" if namespace else "in the whole cluster"
    scope = f"-n {namespace}" if namespace else "--all-namespaces"
    return PlatformError(
        f"{match['user']} may not {match['verb']} {resource} {where}",
        object=object,
        evidence=f"403 {error}",
        next_command=f"kubectl auth can-i {match['verb']} {resource} {scope} --as {match['user']}; "
        "grant it by a Role or ClusterRole",
    )


def is_rbac(error: ApiError) -> bool:
    """Whether a 403 comes from authorization; admission answers with 403 too."""
    return error.status == 403 and _RBAC.search(str(error)) is not None


class _NoDiscovery:
    """Stands in for the dynamic client's discovery, which this collection does not use."""

    def __init__(self, client: Any, cache_file: str | None) -> None:
        del client, cache_file


_Answers: TypeAlias = "queue.SimpleQueue[tuple[Answer | None, Exception | None]]"


def _ask(send: Callable[[], Answer], answers: _Answers[Answer]) -> None:
    """Send a request in a thread of its own, which nobody has to wait for."""

    def run() -> None:
        try:
            answers.put((send(), None))
        except Exception as error:  # noqa: BLE001 - handed to who waits for the answer
            answers.put((None, error))

    threading.Thread(target=run, name="bounded request", daemon=True).start()


def _translated(send: Callable[[], Answer]) -> Answer:
    """Run a request; raise ApiError or ConnectionFailed for whatever the layers beneath raise."""
    from kubernetes.client.rest import ApiException
    from urllib3.exceptions import HTTPError, ReadTimeoutError

    try:
        return send()
    except ApiException as error:
        if error.status:
            raise ApiError(int(error.status), _status_body(error.body), _retry_after(error.headers)) from error
        raise _connection_failed(error, str(error.reason or error)) from error
    except ReadTimeoutError as error:
        raise Silent(str(error)) from error
    except (HTTPError, OSError) as error:
        raise _connection_failed(error, f"{type(error).__name__}: {error}") from error


def _connection_failed(error: BaseException, text: str) -> ConnectionFailed:
    below: BaseException | None = error
    while below is not None:
        if isinstance(below, ssl.SSLCertVerificationError):
            return Untrusted(str(below))
        below = below.__cause__ or below.__context__
    return ConnectionFailed(" ".join(text.split()))


def _status_body(body: str | bytes | None) -> Mapping[str, Any]:
    text = body.decode(errors="replace") if isinstance(body, bytes) else body or ""
    try:
        decoded = json.loads(text)
    except json.JSONDecodeError:
        return {"message": text.strip()[:500]}
    return decoded if isinstance(decoded, Mapping) else {"message": text.strip()[:500]}


def _retry_after(headers: Any) -> float | None:
    try:
        return float(headers.get("Retry-After")) if headers else None
    except (TypeError, ValueError):
        return None
