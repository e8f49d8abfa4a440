"""Judges erp_services: every problem of every service at once, before anything changes.

The form of each key is in schemas/services.schema.json; what concerns several keys or several services is here.
"""

from __future__ import annotations

import copy
import functools
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from .did_you_mean import did_you_mean
from .plain import plain
from .schema_problems import KeyPath, Problem, schema_problems

INFRASTRUCTURE = ("kafka", "mongodb", "mysql", "zookeeper")
# Services that the infrastructure's roles create beside the one of its own name.
_INFRASTRUCTURE_SERVICES = {"kafka-headless": "kafka", "kafka-service": "kafka", "zookeeper-headless": "zookeeper"}
# Where the X-Ray daemon listens in the pod, UDP and TCP.
XRAY_PORT = 2000
# What a Spring service needs between its stop signal and its end, to finish requests and close connections.
SHUTDOWN_SECONDS = 10
_SECRET_WORDS = ("PASSWORD", "PASSWD", "SECRET", "TOKEN", "API_KEY", "PRIVATE_KEY", "CREDENTIAL")

Entry = Mapping[str, Any]


@functools.cache
def schema() -> dict[str, Any]:
    """Return the JSON Schema of the variables erp_services and erp_service_defaults."""
    loaded: dict[str, Any] = json.loads((Path(__file__).parent / "schemas" / "services.schema.json").read_text("utf-8"))
    return loaded


def problems(
    services: Any,
    defaults: Any = None,
    environment: str = "",
    infrastructure: Collection[str] = INFRASTRUCTURE,
    dependencies: Collection[str] = (),
) -> list[Problem]:
    """Return everything that is wrong with the services, as far as the inventory alone can tell.

    services and defaults are mappings as read from YAML; infrastructure and dependencies are the names, besides the
    services' own, that depends_on may contain. In the environment 'prod' mutable image tags are refused (C6).
    """
    written = _written(services, defaults)
    malformed = schema_problems(schema(), written)
    # A service of unknown runtime is judged by its runtime alone: which other keys it needs depends on it.
    unknown_runtime = {problem.path[1] for problem in malformed if problem.path[2:] == ("runtime",)}
    found = [problem for problem in malformed if not _presumes_runtime(problem.path, unknown_runtime)]
    # The rules below see what the schema accepts ('sound'), and ask 'complete' whether something was written at all.
    complete = {name: entry for name, entry in _merged(written).items() if name not in unknown_runtime}
    sound = _merged(_without(written, [problem.path for problem in malformed]))
    sound = {name: entry for name, entry in sound.items() if name in complete}
    for name, entry in sound.items():
        of_entry = [*_missing(complete[name]), *_image_problems(entry, environment)]
        if runtime(entry) == "kubernetes":
            of_entry += [*_ports(entry, complete[name]), *_autoscaling(entry, complete[name])]
            of_entry += [*_resources(entry), *_disruption(entry), *_termination(entry), *_environment(entry)]
        found += [replace(problem, path=("erp_services", name, *problem.path)) for problem in of_entry]
    names = list(written["erp_services"]) if isinstance(written["erp_services"], dict) else []
    found += _names(sound, infrastructure)
    found += _dependencies(sound, {*names, *infrastructure, *dependencies}, infrastructure)
    found += _exposure(sound)
    found += _start_cycle(sound)
    as_written: dict[KeyPath, int] = {("erp_services", name): position for position, name in enumerate(names)}
    return sorted(dict.fromkeys(found), key=lambda problem: as_written.get(problem.path[:2], -1))


def warnings(services: Any, defaults: Any = None, environment: str = "") -> list[Problem]:
    """Return what works and is unwise: mutable image tags outside prod (C6), plain values that look secret (C7)."""
    written = _written(services, defaults)
    sound = _merged(_without(written, [problem.path for problem in schema_problems(schema(), written)]))
    found = []
    for name, entry in sound.items():
        if environment != "prod" and _is_mutable(entry):
            message = "'latest' may be another image at every start: prefer a version tag or image.digest"
            found.append(Problem(("erp_services", name, "image", "tag"), message))
        for variable in entry.get("env", {}):
            if any(word in variable.upper() for word in _SECRET_WORDS):
                message = "looks like a secret in plain text: prefer secret_env"
                found.append(Problem(("erp_services", name, "env", variable), message))
    return found


def runtime(entry: Entry) -> str:
    """Return where a service runs: 'kubernetes' (the default) or 'lambda'."""
    return "lambda" if entry.get("runtime") == "lambda" else "kubernetes"


def target_groups(services: Any) -> list[dict[str, str]]:
    """Return which target group each service wants: service, runtime, name or arn. What is malformed is left out."""
    written = _written(services, None)
    sound = _merged(_without(written, [problem.path for problem in schema_problems(schema(), written)]))
    return [
        {"service": name, "runtime": runtime(entry), **group}
        for name, entry in sound.items()
        if (group := _target_group(entry))
    ]


def _written(services: Any, defaults: Any) -> dict[str, Any]:
    return {"erp_services": plain(services), "erp_service_defaults": {} if defaults is None else plain(defaults)}


def _without(written: dict[str, Any], paths: Iterable[KeyPath]) -> dict[str, Any]:
    sound = copy.deepcopy(written)
    # Deepest and last first: removing an item of a list must not move one that is removed later.
    in_order = sorted(paths, key=lambda path: [f"{part:06}" if isinstance(part, int) else part for part in path])
    for path in reversed(in_order):
        parent: Any = sound
        for part in path[:-1]:
            parent = parent[part]
        if isinstance(path[-1], int):
            del parent[path[-1]]
        else:
            parent.pop(path[-1], None)
    return sound


def _merged(written: Entry) -> dict[str, dict[str, Any]]:
    services, defaults = written.get("erp_services"), written.get("erp_service_defaults")
    entries = {}
    for name, entry in services.items() if isinstance(services, dict) else ():
        if isinstance(entry, dict):
            refused = schema()["$defs"]["service"]["then" if runtime(entry) == "lambda" else "else"]["properties"]
            usable = defaults if isinstance(defaults, dict) else {}
            entries[name] = _merge({key: value for key, value in usable.items() if key not in refused}, entry)
    return entries


def _merge(base: Any, over: Any) -> Any:
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return base | {key: _merge(base[key], value) if key in base else value for key, value in over.items()}


def _default(definition: str, key: str) -> Any:
    return schema()["$defs"][definition]["properties"][key]["default"]


def _presumes_runtime(path: KeyPath, unknown_runtime: Collection[str | int]) -> bool:
    return path[2:] == ("lambda",) and path[1] in unknown_runtime


def _is_mutable(entry: Entry) -> bool:
    image = entry.get("image", {})
    return image.get("tag") == "latest" and "digest" not in image


def _missing(complete: Entry) -> Iterator[Problem]:
    for problem in schema_problems(schema()["$defs"]["complete"], complete):
        yield Problem(problem.path, f"{problem.message} (here or in erp_service_defaults)")
    image = complete.get("image")
    if isinstance(image, dict) and not {"tag", "digest"} & image.keys():
        yield Problem(("image",), "needs a tag or a digest")
    if runtime(complete) == "lambda" and ("image" in complete) == _has(complete, "lambda", "zip"):
        yield Problem((), "needs exactly one of 'image' and 'lambda.zip'")


def _image_problems(entry: Entry, environment: str) -> Iterator[Problem]:
    if environment == "prod" and _is_mutable(entry):
        yield Problem(("image", "tag"), "'latest' is refused in prod: give a version tag or image.digest")


def _ports(entry: Entry, complete: Entry) -> Iterator[Problem]:
    owner: dict[int, str] = {}
    for name, number in entry.get("ports", {}).items():
        if number in owner:
            yield Problem(("ports", name), f"{number} is already the port '{owner[number]}' of this service")
        owner.setdefault(number, name)
        if number == XRAY_PORT and entry.get("tracing", {}).get("xray") == "sidecar":
            message = f"{number} is the port of the X-Ray daemon beside it (tracing.xray: sidecar): choose another"
            yield Problem(("ports", name), message)
    names = complete.get("ports")
    if not isinstance(names, dict) or not names:
        return
    default = _default("health", "port")
    users: list[tuple[KeyPath, str]] = [(("health", "port"), entry.get("health", {}).get("port", default))]
    if "target_group" in entry.get("expose", {}):
        users.append((("expose", "target_group", "port"), entry["expose"]["target_group"].get("port", default)))
    for path, port in users:
        if port not in names:
            message = f"'{port}' is not a port of this service{did_you_mean(port, names)}"
            yield Problem(path, message, tuple(sorted(names)))


def _autoscaling(entry: Entry, complete: Entry) -> Iterator[Problem]:
    scaling = entry.get("autoscaling", {})
    if "min" in scaling and "max" in scaling and scaling["min"] > scaling["max"]:
        yield Problem(("autoscaling", "min"), f"min {scaling['min']} is more than max {scaling['max']}")
    for resource in ("cpu", "memory"):
        if resource in scaling and not _has(complete, "resources", "requests", resource):
            message = f"is a percentage of resources.requests.{resource}, which is not given"
            yield Problem(("autoscaling", resource), message)


def _resources(entry: Entry) -> Iterator[Problem]:
    from kubernetes.utils.quantity import parse_quantity

    requests, limits = (entry.get("resources", {}).get(kind, {}) for kind in ("requests", "limits"))
    for resource in requests.keys() & limits.keys():
        # As text, since a number such as 0.009 has no exact binary form.
        if parse_quantity(str(requests[resource])) > parse_quantity(str(limits[resource])):
            message = f"{requests[resource]} is more than the limit {limits[resource]}"
            yield Problem(("resources", "requests", resource), message)


def _disruption(entry: Entry) -> Iterator[Problem]:
    fewest = entry.get("autoscaling", {}).get("min") or entry.get("replicas", 1)
    min_available = entry.get("disruption", {}).get("min_available", 0)
    if min_available >= fewest:
        message = f"{min_available} of {fewest} pods would have to stay: no node could ever be drained"
        yield Problem(("disruption", "min_available"), message)


def _termination(entry: Entry) -> Iterator[Problem]:
    termination = entry.get("termination", {})
    pre_stop = termination.get("pre_stop_seconds", _default("termination", "pre_stop_seconds"))
    grace = termination.get("grace_seconds", _default("termination", "grace_seconds"))
    fewest = pre_stop + SHUTDOWN_SECONDS
    if grace < fewest:
        message = (
            f"must be at least {fewest}, not {grace}: pre_stop_seconds {pre_stop} and {SHUTDOWN_SECONDS} to shut down"
        )
        yield Problem(("termination", "grace_seconds"), message)


def _environment(entry: Entry) -> Iterator[Problem]:
    sources = ("env", "config_env", "secret_env")
    counted = Counter(variable for source in sources for variable in entry.get(source, {}))
    for variable, count in counted.items():
        if count > 1:
            where = [source for source in sources if variable in entry.get(source, {})]
            yield Problem((where[-1], variable), f"is set in {' and in '.join(where)}")


def _has(value: Any, *keys: str) -> bool:
    for key in keys:
        if not isinstance(value, Mapping) or key not in value:
            return False
        value = value[key]
    return True


def _names(entries: Mapping[str, Entry], infrastructure: Collection[str]) -> Iterator[Problem]:
    for name, entry in entries.items():
        component = _INFRASTRUCTURE_SERVICES.get(name, name)
        if component in infrastructure and runtime(entry) == "kubernetes":
            message = f"the cluster's {component} has objects of this name, which the service would replace: rename it"
            yield Problem(("erp_services", name), message)


def _dependencies(
    entries: Mapping[str, Entry], known: Collection[str], infrastructure: Collection[str]
) -> Iterator[Problem]:
    startable = sorted(name for name, entry in entries.items() if runtime(entry) == "kubernetes")
    for name, entry in entries.items():
        for index, other in enumerate(entry.get("depends_on", ())):
            path: KeyPath = ("erp_services", name, "depends_on", index)
            if other == name:
                yield Problem(path, "a service cannot depend on itself")
            elif other not in known:
                yield Problem(path, f"'{other}' is unknown{did_you_mean(other, known)}", tuple(sorted(known)))
        for index, other in enumerate(entry.get("start_after", ())):
            path = ("erp_services", name, "start_after", index)
            if other == name:
                yield Problem(path, "a service cannot start after itself")
            elif other in infrastructure:
                yield Problem(path, f"'{other}' is infrastructure, ready before any service starts: name services only")
            elif other not in startable:
                message = f"'{other}' is not a service of the cluster{did_you_mean(other, startable)}"
                yield Problem(path, message, tuple(startable))


def _target_group(entry: Entry) -> dict[str, str]:
    group = entry.get("expose", {}).get("target_group", {})
    return {key: group[key] for key in ("name", "arn") if key in group}


def _exposure(entries: Mapping[str, Entry]) -> Iterator[Problem]:
    by_group: dict[str, list[str]] = defaultdict(list)
    by_binding: dict[str, list[str]] = defaultdict(list)
    for name, entry in entries.items():
        group = _target_group(entry)
        if group:
            # targetgroup/<name>/<id> is the end of an ARN
            by_group[group.get("name") or group["arn"].split("/")[1]].append(name)
            if runtime(entry) == "kubernetes":
                by_binding[f"{name.removesuffix('-service')}-tgb"].append(name)
    for label, (first, *others) in by_group.items():
        for name in others:
            path: KeyPath = ("erp_services", name, "expose", "target_group")
            yield Problem(path, f"'{label}' already belongs to {first}: two services would share its traffic")
    for binding, (first, *others) in by_binding.items():
        for name in others:
            message = f"its TargetGroupBinding '{binding}' would be the one of {first}: rename one"
            yield Problem(("erp_services", name), message)


def _start_cycle(entries: Mapping[str, Entry]) -> Iterator[Problem]:
    graph = {
        name: [other for other in entry.get("start_after", ()) if other in entries and other != name]
        for name, entry in entries.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        cycle = list(reversed(error.args[1]))
        message = f"is a circle, nothing in it could ever start: {' after '.join(cycle)}"
        yield Problem(("erp_services", cycle[0], "start_after"), message)
