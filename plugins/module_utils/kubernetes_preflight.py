"""Is this the right cluster, can it be reached, is its version known to work, may we do what the phases do?

Reads only; an access review is created, but the server stores nothing.
"""

from __future__ import annotations

import base64
import binascii
import logging
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from .api import Api, ApiError, ConnectionFailed
from .connection import connect
from .errors import PlatformError

TIMEOUT_SECONDS = (5.0, 10.0)  # to connect, to answer
_PARALLEL_REVIEWS = 16
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class Permission:
    """Verbs on a resource ('deployments', or 'pods/log'); without a namespace in all of them."""

    verbs: Sequence[str]
    resource: str
    group: str = ""
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        resource = f"{self.resource}.{self.group}" if self.group else self.resource
        return f"{resource} {self.name}" if self.name else resource


@dataclass(frozen=True)
class Wanted:
    """What the inventory says of the cluster; what is empty is not checked.

    Versions are 'major.minor', both ends included; endpoint and certificate_authority (base64 of PEM) are EKS'
    own record.
    """

    minimum_version: str = ""
    maximum_version: str = ""
    permissions: Sequence[Permission] = ()
    endpoint: str = ""
    certificate_authority: str = ""


@dataclass(frozen=True)
class Found:
    """What the cluster answered."""

    problems: tuple[PlatformError, ...]
    server_version: str = ""
    endpoint: str = ""
    user: str = ""


def check(options: Mapping[str, Any], environment: Mapping[str, str], wanted: Wanted) -> Found:
    """Return every difference between the inventory and the cluster that these connection options lead to.

    A cluster that can't be reached, or is not the right one, is asked nothing else.
    """
    unverified = _unverified(options, environment)
    if unverified:
        return Found((unverified,))
    try:
        api, complaints = _connected(options)
    except PlatformError as error:
        return Found((error,))
    other = _other_cluster(api, wanted)
    if other:
        return Found((other,), endpoint=api.host)
    try:
        version = api.version(TIMEOUT_SECONDS)
        user = api.who_am_i()
        if user == "system:anonymous":
            return Found((_anonymous(api.host, complaints),), endpoint=api.host)
        problems = [*_version_problems(version, wanted), *_denied(api, user, wanted.permissions)]
    except (ApiError, ConnectionFailed) as error:
        return Found((_unusable(api, error, complaints),), endpoint=api.host)
    return Found(tuple(problems), str(version.get("gitVersion", "")), api.host, user)


def _unverified(options: Mapping[str, Any], environment: Mapping[str, str]) -> PlatformError | None:
    # AWX' bearer token credential with "verify SSL" but without a certificate authority sets K8S_AUTH_VERIFY_SSL=False:
    # the token would go to whoever answers.
    host = options.get("host") or environment.get("K8S_AUTH_HOST", "")
    verify = environment.get("K8S_AUTH_VALIDATE_CERTS") or environment.get("K8S_AUTH_VERIFY_SSL") or ""
    chosen_by_environment = options.get("validate_certs") is None and verify.lower() in ("0", "false", "no")
    if not host or not chosen_by_environment or urlsplit(host).hostname in _LOOPBACK:
        return None
    return PlatformError(
        "its certificate would not be verified: the token could go to another server",
        object=f"API server {host}",
        evidence=f"K8S_AUTH_VERIFY_SSL={verify} in the environment, as AWX sets it for a credential without CA data",
        next_command="put the cluster's certificate authority into the credential, or set K8S_AUTH_SSL_CA_CERT",
    )


def _connected(options: Mapping[str, Any]) -> tuple[Api, list[str]]:
    """Connect; also return what the client logs when a credential plugin fails: it goes on without credentials."""
    complaints: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: complaints.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        return connect(options), complaints
    finally:
        logging.getLogger().removeHandler(handler)


def _other_cluster(api: Api, wanted: Wanted) -> PlatformError | None:
    # Behind a tunnel or a proxy the endpoint differs and the certificate authority still tells.
    if not wanted.endpoint or _address(api.host) == _address(wanted.endpoint):
        return None
    authority = api.certificate_authority()
    if authority and authority == _decoded(wanted.certificate_authority):
        return None
    return PlatformError(
        "is not the cluster that the inventory names",
        object=f"API server {api.host}",
        evidence=f"EKS says {wanted.endpoint}",
        next_command="set erp_kubernetes.context to that cluster's (aws eks update-kubeconfig makes one)",
    )


def _address(url: str) -> tuple[str | None, int]:
    parts = urlsplit(url)
    return parts.hostname, parts.port or 443


def _decoded(encoded: str) -> bytes:
    try:
        return base64.b64decode(encoded).strip()
    except binascii.Error:
        return b""


def _anonymous(host: str, complaints: Sequence[str]) -> PlatformError:
    return PlatformError(
        "there are no credentials: the server knows this user as system:anonymous",
        object=f"API server {host}",
        evidence="\n".join(complaints),
        next_command="kubectl auth whoami",
    )


def _unusable(api: Api, error: ApiError | ConnectionFailed, complaints: Sequence[str]) -> PlatformError:
    described, text = f"API server {api.host}", str(error)
    if isinstance(error, ApiError):
        cause = "answers with an error"
        if error.status == 401:
            cause = (
                "does not accept the credentials: the token or certificate has expired or belongs to another cluster"
            )
        evidence = "\n".join([f"{error.status} {text}", *complaints])
        return PlatformError(cause, described, evidence, "log in again, then: kubectl auth whoami")
    if "certificate" in text.lower() or "ssl" in text.lower():
        cause = "its certificate is not accepted: it has expired, or the CA in the kubeconfig (or ca_cert) is another's"
        return PlatformError(cause, described, text, "kubectl cluster-info; aws eks update-kubeconfig renews the CA")
    return PlatformError(
        "cannot be reached", described, text, "kubectl cluster-info; check VPN, proxy and security groups"
    )


def _version_problems(version: Mapping[str, Any], wanted: Wanted) -> Iterator[PlatformError]:
    # Providers write the minor version with a plus: 34+
    running = (int(version["major"]), int(str(version["minor"]).rstrip("+")))
    too_old = wanted.minimum_version and running < _parsed(wanted.minimum_version)
    too_new = wanted.maximum_version and running > _parsed(wanted.maximum_version)
    if too_old or too_new:
        yield PlatformError(
            f"is too {'old' if too_old else 'new'}: {wanted.minimum_version} to {wanted.maximum_version} are supported",
            object=f"Kubernetes {version['gitVersion']}",
            next_command="upgrade the cluster" if too_old else "use a release of this collection that supports it",
        )


def _parsed(version: str) -> tuple[int, int]:
    major, minor = version.split(".")
    return int(major), int(minor)


def _denied(api: Api, user: str, permissions: Sequence[Permission]) -> Iterator[PlatformError]:
    questions = [(permission, verb) for permission in permissions for verb in permission.verbs]
    with ThreadPoolExecutor(_PARALLEL_REVIEWS) as pool:
        answers = list(pool.map(lambda question: _allowed(api, *question), questions))
    denied: dict[str, dict[Permission, list[str]]] = defaultdict(lambda: defaultdict(list))
    for (permission, verb), allowed in zip(questions, answers, strict=True):
        if not allowed:
            denied[permission.namespace][permission].append(verb)
    for namespace, lacking in denied.items():
        scope = f"-n {namespace}" if namespace else "-A"
        (first, verbs), *_others = lacking.items()
        yield PlatformError(
            f"lacks permissions {f'in namespace {namespace}' if namespace else 'in the cluster'}",
            object=f"user {user}" if user else "this user",
            evidence="\n".join(f"{permission}: {', '.join(missing)}" for permission, missing in lacking.items()),
            next_command=f"grant them by a Role or ClusterRole, then: kubectl auth can-i {verbs[0]} {first} {scope}",
        )


def _allowed(api: Api, permission: Permission, verb: str) -> bool:
    resource, _slash, subresource = permission.resource.partition("/")
    attributes = {
        "verb": verb,
        "group": permission.group,
        "resource": resource,
        "subresource": subresource,
        "namespace": permission.namespace,
        "name": permission.name,
    }
    return api.may({key: value for key, value in attributes.items() if value}, TIMEOUT_SECONDS)
