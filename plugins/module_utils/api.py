"""Requests to the Kubernetes API: one method per verb, plain dicts in and out, errors that say what was asked of what.

It is safe to use from several threads.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from .errors import PlatformError
from .objects import Manifest, Ref

# An API server that can be reached accepts a connection at once; one that can't should be noticed in seconds.
CONNECT_SECONDS = 5.0
# Admission webhooks may take 30 s by their own maximum, and the server adds its own 60 s limit for writes.
READ_SECONDS = 65.0
# The first request is answered from memory by a server that is well.
CHECK_SECONDS = 10.0


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


class Api:
    """The API of one cluster."""

    def __init__(self, api_client: Any) -> None:
        from kubernetes.dynamic import DynamicClient

        self.host = str(api_client.configuration.host)
        self._client = DynamicClient(api_client, discoverer=_NoDiscovery)
        self._types: dict[str, dict[str, ResourceType]] = {}
        self._types_lock = threading.Lock()

    def type_of(self, api_version: str, kind: str) -> ResourceType:
        """Look a kind up in the server's discovery, in memory from the second time on.

        Raises NotServed, and asks the server again next time, since a CRD may come any moment.
        """
        with self._types_lock:
            known = self._types.get(api_version, {}).get(kind)
        if known:
            return known
        root = "/apis" if "/" in api_version else "/api"
        try:
            listed = self._json("get", f"{root}/{api_version}")
        except ApiError as error:
            if error.status == 404:
                raise NotServed(api_version, kind) from error
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
        if kind not in types:
            raise NotServed(api_version, kind)
        return types[kind]

    def group_kinds(self) -> dict[str, str]:
        """The version the server prefers for each group: {"apps": "apps/v1", "": "v1", …}."""
        listed = self._json("get", "/apis")
        preferred = {
            str(group["name"]): str(group["preferredVersion"]["groupVersion"]) for group in listed.get("groups") or []
        }
        return {"": "v1", **preferred}

    def get(self, ref: Ref) -> Manifest | None:
        try:
            return self._json("get", self._path(ref))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def list(self, type_: ResourceType, namespace: str = "", label_selector: str = "") -> Manifest:
        """The list object: its ``items`` and, in ``metadata``, the resourceVersion to watch from."""
        return self._json("get", type_.path(namespace=namespace), label_selector=label_selector or None)

    def apply(
        self,
        manifest: Manifest,
        type_: ResourceType,
        *,
        field_manager: str,
        force: bool,
        dry_run: bool,
        strict: bool = True,
    ) -> Manifest:
        """Server-side apply. Unknown fields are refused rather than dropped, as a typo would be otherwise."""
        metadata = manifest["metadata"]
        return self._decoded(
            lambda: self._client.server_side_apply(
                type_,
                body=manifest,
                name=metadata["name"],
                namespace=metadata.get("namespace"),
                field_manager=field_manager,
                force_conflicts=force,
                dry_run="All" if dry_run else None,
                query_params=[("fieldValidation", "Strict" if strict else "Ignore")],
                serialize=False,
                _request_timeout=(CONNECT_SECONDS, READ_SECONDS),
            )
        )

    def delete(self, ref: Ref, *, uid: str, dry_run: bool) -> bool:
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
            self._json("delete", self._path(ref), body=body)
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    def logs(self, namespace: str, pod: str, container: str, *, previous: bool, lines: int) -> str:
        """The last lines of a container's log."""
        query = [("container", container), ("tailLines", str(lines)), ("limitBytes", "16384")]
        if previous:
            query.append(("previous", "true"))
        response = self._send("get", f"/api/v1/namespaces/{namespace}/pods/{pod}/log", query_params=query)
        data: bytes = response.data
        return data.decode(errors="replace")

    def watch(
        self, type_: ResourceType, namespace: str, resource_version: str, *, server_seconds: int, read_seconds: float
    ) -> WatchStream:
        response = self._send(
            "get",
            type_.path(namespace=namespace),
            watch=True,
            allow_watch_bookmarks=True,
            resource_version=resource_version,
            timeout_seconds=server_seconds,
            _request_timeout=(CONNECT_SECONDS, read_seconds),
        )
        return WatchStream(response)

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
            self.version((CONNECT_SECONDS, CHECK_SECONDS))
            self._json("get", "/api/v1", _request_timeout=(CONNECT_SECONDS, CHECK_SECONDS))
        except ConnectionFailed as error:
            raise PlatformError(
                "the Kubernetes API server cannot be reached",
                object=self.host,
                evidence=str(error),
                next_command="kubectl cluster-info",
            ) from error
        except ApiError as error:
            if error.status == 401:
                raise self.unauthorized(error) from error
            if error.status != 403:
                raise PlatformError(
                    "the Kubernetes API server answers with an error", object=self.host, evidence=str(error)
                ) from error

    def unauthorized(self, error: ApiError) -> PlatformError:
        return PlatformError(
            "the API server does not accept the credentials: they have expired or belong to another cluster",
            object=self.host,
            evidence=f"401 {error}",
            next_command="log in again, then: kubectl auth whoami",
        )

    def _path(self, ref: Ref) -> str:
        return self.type_of(ref.api_version, ref.kind).path(ref.name, ref.namespace)

    def _json(self, method: str, path: str, **params: Any) -> Manifest:
        return self._decoded(lambda: self._send(method, path, **params))

    def _send(self, method: str, path: str, **params: Any) -> Any:
        params.setdefault("_request_timeout", (CONNECT_SECONDS, READ_SECONDS))
        return _translated(lambda: self._client.request(method, path, serialize=False, **params))

    def _decoded(self, send: Callable[[], Any]) -> Manifest:
        def read() -> Manifest:
            decoded: Manifest = json.loads(send().data)
            return decoded

        return _translated(read)


class WatchStream:
    """The events of one watch request; ``close`` may be called from another thread and ends a read that waits."""

    def __init__(self, response: Any) -> None:
        self._response = response

    def __iter__(self) -> Iterator[Manifest]:
        pending = b""
        chunks = self._response.stream(amt=None, decode_content=True)
        while True:
            chunk = _translated(lambda: next(chunks, None))
            if chunk is None:
                return
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                if line:
                    yield json.loads(line)

    def close(self) -> None:
        shutdown = getattr(self._response, "shutdown", None)
        try:
            if shutdown is not None:
                shutdown()
            else:
                self._response.close()
        except (OSError, ValueError, AttributeError):
            # It has ended by itself meanwhile.
            pass


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


def _translated(send: Callable[[], Answer]) -> Answer:
    """Run a request; raise ApiError or ConnectionFailed for whatever the layers beneath raise."""
    from kubernetes.client.rest import ApiException
    from urllib3.exceptions import HTTPError

    try:
        return send()
    except ApiException as error:
        if not error.status:
            raise ConnectionFailed(str(error.reason or error)) from error
        raise ApiError(int(error.status), _status_body(error.body), _retry_after(error.headers)) from error
    except (HTTPError, OSError, json.JSONDecodeError) as error:
        raise ConnectionFailed(f"{type(error).__name__}: {error}") from error


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
