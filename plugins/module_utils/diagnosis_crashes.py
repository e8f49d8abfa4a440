"""Why a container ends, or never gets ready: its exit code, the end of its log, and the service it probably misses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .diagnosis_reads import Reads, by_name
from .finding import Explanation, Finding, Object
from .masking import mask, secret_literals
from .objects import ref_of
from .workload_pods import container_named, last_end, made_by, status_named

SHOWN_LINES = 20
# The exception that tells the cause often stands some lines above the last ones.
_READ_LINES = 100
_LINE_LENGTH = 400

_SIGNALS = {
    134: "it aborted itself (SIGABRT)",
    137: "it was killed (SIGKILL): out of memory, or it did not stop in time after its liveness probe failed",
    139: "it accessed memory that is not its own (SIGSEGV): a bug, or an image for another architecture",
    143: "it was asked to stop (SIGTERM), as after a liveness probe that failed",
}
_CODES = {
    0: "it ends without an error, but must not end",
    1: "the application reports an error",
    126: "its command cannot be executed: no permission, or no program for this architecture",
    127: "its command does not exist in the image",
    128: "its command could not be started",
    **_SIGNALS,
}

_HOST = r"(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)"
_PORT = r"(?::(?P<port>\d{2,5}))?"
_UNRESOLVED, _REFUSED, _SILENT, _LOGIN = "cannot be resolved", "refuses the connection", "does not answer", "login"
# What clients say, in the order of how much it tells. The address in it, if it holds one, is what was not reached.
_TROUBLES: tuple[tuple[str, re.Pattern[str]], ...] = (
    (_UNRESOLVED, re.compile(rf"UnknownHostException:? {_HOST}{_PORT}")),
    (_UNRESOLVED, re.compile(rf"lookup {_HOST}(?: on \S+)?: (?:no such host|server misbehaving)")),
    (_UNRESOLVED, re.compile(rf"getaddrinfo (?:ENOTFOUND|EAI_AGAIN) {_HOST}{_PORT}")),
    (_UNRESOLVED, re.compile(rf"(?i)could ?n[o']t? resolve (?:host|server):? {_HOST}{_PORT}")),
    (_UNRESOLVED, re.compile(rf"(?i)could not translate host name \"?{_HOST}\"?")),
    (_UNRESOLVED, re.compile(rf"(?i)failed to resolve '?{_HOST}'?{_PORT}")),
    (_UNRESOLVED, re.compile(rf"{_HOST}{_PORT}: (?:\[Errno -\d\] )?(?:Temporary failure in name|Name or service not)")),
    (_REFUSED, re.compile(rf"Connection to node -?\d+ \({_HOST}(?:/[\d.]+)?{_PORT}\) could not be established")),
    (_REFUSED, re.compile(rf"(?i)ECONNREFUSED {_HOST}{_PORT}")),
    (_REFUSED, re.compile(rf"dial tcp {_HOST}{_PORT}: connect: connection refused")),
    (_SILENT, re.compile(rf"dial tcp {_HOST}{_PORT}: (?:connect: connection timed out|i/o timeout)")),
    (_SILENT, re.compile(rf"ETIMEDOUT {_HOST}{_PORT}")),
    (_REFUSED, re.compile(rf"(?i)connection refused: (?:no further information: )?{_HOST}(?:/[\d.]+)?{_PORT}")),
    (_REFUSED, re.compile(rf"{_HOST}:(?P<port>\d{{2,5}}): (?:\[Errno 111\] )?Connection refused")),
    (_SILENT, re.compile(rf"(?i)connection timed out: (?:no further information: )?{_HOST}(?:/[\d.]+)?{_PORT}")),
    (_REFUSED, re.compile(rf"(?i)failed to connect to {_HOST}(?:/[\d.]+)?{_PORT}")),
    (_REFUSED, re.compile(rf"address={_HOST}{_PORT}\b.*Mongo\w*Exception")),
)
# The same without an address; the word says which of the container's addresses is meant.
_NAMELESS: tuple[tuple[str, str, re.Pattern[str]], ...] = (
    ("mysql", _REFUSED, re.compile(r"Communications link failure|Can't connect to MySQL server")),
    ("mongo", _REFUSED, re.compile(r"MongoSocketOpenException|MongoTimeoutException|ServerSelectionTimeoutError")),
    ("kafka", _REFUSED, re.compile(r"No resolvable bootstrap urls|Bootstrap broker .* disconnected")),
    ("redis", _REFUSED, re.compile(r"RedisConnectionException|Unable to connect to Redis")),
    ("mysql", _LOGIN, re.compile(r"Access denied for user '[^']*'@")),
    ("postgres", _LOGIN, re.compile(r"password authentication failed for user")),
    ("mongo", _LOGIN, re.compile(r"(?i)MongoSecurityException|Authentication failed\.")),
    ("", _REFUSED, re.compile(r"(?i)connection refused")),
    ("", _UNRESOLVED, re.compile(r"(?i)name or service not known|no such host|name resolution")),
)
_NO_HOST = re.compile(r"(?:Exception|[Ee]rror)$|^localhost$|^127\.")
_PORTS = {"mysql": 3306, "mongo": 27017, "kafka": 9092, "redis": 6379, "postgres": 5432}
_ADDRESS = re.compile(r"(?:(?<=//)|(?<=@)|(?<=[\s,=])|^)(?:[^\s/@,]*@)?([A-Za-z][A-Za-z0-9.-]*[A-Za-z0-9]):(\d{2,5})\b")


@dataclass(frozen=True)
class Trouble:
    """What a log says about a connection; ``host`` is "" and ``port`` 0 where it does not tell."""

    host: str
    port: int
    kind: str
    protocol: str = ""


@dataclass(frozen=True)
class Dependency:
    """An address that a container has in its environment, by the variable's name."""

    variable: str
    host: str
    port: int


def explain_crash(finding: Finding, reads: Reads) -> Explanation:
    """For a container that ended, and for one that runs but does not get ready."""
    pod, name = finding.subject, finding.container
    ref, status = ref_of(pod), status_named(pod, name)
    restarted = int(status.get("restartCount") or 0) > 0 and not (status.get("state") or {}).get("terminated")
    log = reads.log(ref.namespace, ref.name, name, previous=restarted, lines=_READ_LINES)
    if not log and restarted:
        restarted = False
        log = reads.log(ref.namespace, ref.name, name, previous=False, lines=_READ_LINES)
    trouble = trouble_in(log or ())
    services: Sequence[Object] | None = None
    slices: Sequence[Object] = ()
    dependencies: Sequence[Dependency] = ()
    if trouble is not None:
        services = reads.items("v1", "Service", ref.namespace)
        slices = reads.items("discovery.k8s.io/v1", "EndpointSlice", ref.namespace) or ()
        dependencies = dependencies_of(pod, name, _config_maps(pod, name, reads))
    which = f"{'previous ' if restarted else ''}log of container {name}"
    return crash_explanation(finding, which, log, trouble, dependencies, services, slices)


def crash_explanation(
    finding: Finding,
    which: str,
    log: Sequence[str] | None,
    trouble: Trouble | None,
    dependencies: Sequence[Dependency],
    services: Sequence[Object] | None,
    slices: Sequence[Object],
) -> Explanation:
    pod, name = finding.subject, finding.container
    last = last_end(status_named(pod, name))
    because, command = "", ""
    if finding.rule == "oom":
        because, command = _out_of_memory(pod, name)
    elif finding.rule in {"crash-loop", "ended"}:
        because = _CODES.get(int(last.get("exitCode") or 0), "") if "exitCode" in last else ""
    elif finding.rule == "container-run":
        command = _fix_command(pod, name)
    # Masked as a whole, and before lines are left out or cut: half a secret is not recognized as one.
    shown = mask("\n".join(log or ()), secret_literals(pod)).splitlines()[-SHOWN_LINES:]
    evidence = [f"{which}:", *(f"  {line[:_LINE_LENGTH]}" for line in shown)]
    if not shown:
        evidence = [f"{which}: {'empty' if log is not None else 'not available'}"]
    if trouble is not None:
        wanted = _wanted(trouble, dependencies, services or ())
        if wanted is not None:
            guess, command = _state_of(wanted, trouble, services, slices, ref_of(pod).namespace)
            because = f"it probably cannot reach {wanted.host}{f':{wanted.port}' if wanted.port else ''}: {guess}"
            if trouble.kind == _LOGIN:
                because = f"{wanted.host}:{wanted.port} probably refuses its login"
                command = f"kubectl -n {ref_of(pod).namespace} describe pod {ref_of(pod).name}  (its Environment)"
            if wanted.variable:
                evidence.append(f"environment variable {wanted.variable} names {wanted.host}:{wanted.port}")
    return Explanation(because, evidence, command)


def trouble_in(log: Sequence[str]) -> Trouble | None:
    """The last connection that the log says failed."""
    for line in reversed(log):
        for kind, pattern in _TROUBLES:
            if found := pattern.search(line):
                groups = found.groupdict()
                # Some patterns would take the name of an exception for a host's.
                if not _NO_HOST.search(groups["host"]):
                    return Trouble(groups["host"].rstrip("."), int(groups.get("port") or 0), kind)
    for line in reversed(log):
        for protocol, kind, pattern in _NAMELESS:
            if pattern.search(line):
                return Trouble("", 0, kind, protocol)
    return None


def dependencies_of(pod: Object, container: str, config_maps: Mapping[str, Object]) -> list[Dependency]:
    """The addresses in the container's environment; Secrets are left out of it."""
    spec = container_named(pod, container)
    values: dict[str, str] = {}
    for source in spec.get("envFrom") or []:
        config_map = config_maps.get(str((source.get("configMapRef") or {}).get("name")), {})
        prefix = str(source.get("prefix") or "")
        values.update({f"{prefix}{key}": str(value) for key, value in (config_map.get("data") or {}).items()})
    for entry in spec.get("env") or []:
        key = (entry.get("valueFrom") or {}).get("configMapKeyRef") or {}
        data = config_maps.get(str(key.get("name")), {}).get("data") or {}
        values[str(entry.get("name"))] = str(entry.get("value") or data.get(key.get("key")) or "")
    return [
        Dependency(variable, host, int(port))
        for variable, value in values.items()
        for host, port in _ADDRESS.findall(value)
    ]


def _config_maps(pod: Object, container: str, reads: Reads) -> Mapping[str, Object]:
    spec = container_named(pod, container)
    uses = any("configMapRef" in source for source in spec.get("envFrom") or []) or any(
        "configMapKeyRef" in (entry.get("valueFrom") or {}) for entry in spec.get("env") or []
    )
    return by_name(reads.items("v1", "ConfigMap", ref_of(pod).namespace)) if uses else {}


def _wanted(trouble: Trouble, dependencies: Sequence[Dependency], services: Iterable[Object]) -> Dependency | None:
    """Which address the log speaks of, by name, by a Service's address, or by what such servers listen on."""
    host, port = trouble.host, trouble.port
    if re.fullmatch(r"[\d.]+", host):
        service = next((entry for entry in services if (entry.get("spec") or {}).get("clusterIP") == host), None)
        host = ref_of(service).name if service is not None else host
    if host:
        known = [entry for entry in dependencies if entry.host.partition(".")[0] == host.partition(".")[0]]
        same_port = next((entry for entry in known if port in (0, entry.port)), None)
        return same_port or Dependency("", host, port)
    if not trouble.protocol:
        return dependencies[0] if len({(entry.host, entry.port) for entry in dependencies}) == 1 else None
    default = _PORTS[trouble.protocol]
    for entry in dependencies:
        if trouble.protocol in f"{entry.variable} {entry.host}".lower() or entry.port == default:
            return entry
    return None


def _state_of(
    wanted: Dependency,
    trouble: Trouble,
    services: Sequence[Object] | None,
    slices: Sequence[Object],
    namespace: str,
) -> tuple[str, str]:
    """What is known of the address, and the command that goes on from there."""
    first, _dot, rest = wanted.host.partition(".")
    elsewhere = rest.partition(".")[0] if rest and rest.split(".")[1:2] in ([], ["svc"]) else ""
    if services is None or (rest and not elsewhere and "svc" not in rest):
        return f"it {trouble.kind}", f"getent hosts {wanted.host}  (in a pod of namespace {namespace})"
    if elsewhere and elsewhere != namespace:
        return f"it {trouble.kind}", f"kubectl -n {elsewhere} get service,endpointslices"
    service = by_name(services).get(first)
    if service is None:
        return "the namespace has no Service of that name", f"kubectl -n {namespace} get services"
    ready = ready_addresses(slices, first)
    selector = ",".join(f"{key}={value}" for key, value in ((service.get("spec") or {}).get("selector") or {}).items())
    if not ready:
        command = f"kubectl -n {namespace} get pods -l {selector}" if selector else _endpoints(namespace, first)
        return "the Service has no ready endpoint", command
    ports = [int(entry.get("port") or 0) for entry in (service.get("spec") or {}).get("ports") or []]
    if wanted.port and wanted.port not in ports:
        shown = ", ".join(map(str, ports))
        return f"the Service has no port {wanted.port}, but {shown}", f"kubectl -n {namespace} describe service {first}"
    noun = "ready endpoint" if len(ready) == 1 else "ready endpoints"
    return f"it {trouble.kind}, though the Service has {len(ready)} {noun} now", (
        f"kubectl -n {namespace} get networkpolicies"
        if trouble.kind == _SILENT
        else f"kubectl -n {namespace} logs -l {selector} --tail=20"
    )


def ready_addresses(slices: Sequence[Mapping[str, Any]], service: str) -> set[str]:
    """The ready addresses in the Service's EndpointSlices."""
    return {
        str(address)
        for entry in slices
        if ((entry.get("metadata") or {}).get("labels") or {}).get("kubernetes.io/service-name") == service
        for endpoint in entry.get("endpoints") or []
        if (endpoint.get("conditions") or {}).get("ready") is not False
        for address in endpoint.get("addresses") or []
    }


def _endpoints(namespace: str, service: str) -> str:
    return f"kubectl -n {namespace} get endpointslices -l kubernetes.io/service-name={service}"


def _out_of_memory(pod: Object, name: str) -> tuple[str, str]:
    limit = ((container_named(pod, name).get("resources") or {}).get("limits") or {}).get("memory")
    ref = ref_of(pod)
    if limit is None:
        because = "it has no limit of its own: its pod or its node ran out of memory"
        return because, f"kubectl -n {ref.namespace} top pod {ref.name} --containers"
    command = f"kubectl -n {ref.namespace} set resources {made_by(pod)} -c {name} --limits=memory=…"
    return f"its limit is {limit}", f"{command}  (more than {limit})"


def _fix_command(pod: Object, name: str) -> str:
    ref = ref_of(pod)
    path = f'{{.spec.containers[?(@.name=="{name}")].command}}'
    return f"kubectl -n {ref.namespace} get pod {ref.name} -o jsonpath='{path}'; correct it in the manifest"
