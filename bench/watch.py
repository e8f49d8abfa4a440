"""The independent watch: says when all Deployments of a namespace were ready, or when the first pod failed for good.

It is a process of its own (`python -m bench.watch ...`) and prints one JSON object a line, {"event", "at_seconds"}, by
the monotonic clock that all processes of a machine share. It ends after `ready` or `fatal`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

Object = Mapping[str, Any]


def rolled_out(deployment: Object) -> bool:
    """What `kubectl rollout status` calls rolled out: the newest pods, all of them and only they, are available."""
    wanted = deployment["spec"].get("replicas", 1)
    status = deployment.get("status", {})
    counts = {status.get(key, 0) for key in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")}
    return bool(status.get("observedGeneration", 0) >= deployment["metadata"]["generation"] and counts == {wanted})


def image_missing(pod: Object) -> bool:
    """Whether a container's image does not exist, as far as the pod says so."""
    waiting = (
        entry.get("state", {}).get("waiting", {}) for entry in pod.get("status", {}).get("containerStatuses", ())
    )
    return any("not found" in state.get("message", "") for state in waiting)


class AllReady:
    """Follows Deployments by their events; true when `count` of them are ready at the same time."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._ready: set[str] = set()

    def __call__(self, deployment: Object) -> bool:
        name = deployment["metadata"]["name"]
        if rolled_out(deployment):
            self._ready.add(name)
        else:
            self._ready.discard(name)
        return len(self._ready) == self._count


def first_match(events: Iterator[Object], reached: Callable[[Object], bool]) -> float:
    """The moment at which an event arrived whose object is `reached`."""
    for event in events:
        arrived = time.monotonic()
        if event["type"] in {"ERROR", "DELETED"}:
            raise SystemExit(f"the watch ended: {event}")
        if reached(event["object"]):
            return arrived
    raise SystemExit("the watch was closed by the server")


def _events(connection: http.client.HTTPSConnection, path: str) -> Iterator[Object]:
    connection.request("GET", path)
    initial = json.load(connection.getresponse())
    version = initial["metadata"]["resourceVersion"]
    connection.request("GET", f"{path}?watch=1&timeoutSeconds=3600&resourceVersion={version}")
    response = connection.getresponse()
    _say("watching")
    while line := response.readline():
        yield json.loads(line)


def _say(event: str, at_seconds: float | None = None) -> None:
    print(json.dumps({"event": event, "at_seconds": at_seconds or time.monotonic()}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.watch")
    parser.add_argument("--server", required=True)
    parser.add_argument("--authority", required=True)
    parser.add_argument("--certificate", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--namespace", required=True)
    goal = parser.add_mutually_exclusive_group(required=True)
    goal.add_argument("--ready", type=int, metavar="COUNT", help="wait for that many ready Deployments")
    goal.add_argument("--fatal", action="store_true", help="wait for the first pod whose image does not exist")
    options = parser.parse_args()

    context = ssl.create_default_context(cafile=options.authority)
    context.load_cert_chain(options.certificate, options.key)
    connection = http.client.HTTPSConnection(urlsplit(options.server).netloc, context=context)
    if options.fatal:
        moment = first_match(_events(connection, f"/api/v1/namespaces/{options.namespace}/pods"), image_missing)
        _say("fatal", moment)
    else:
        path = f"/apis/apps/v1/namespaces/{options.namespace}/deployments"
        _say("ready", first_match(_events(connection, path), AllReady(options.ready)))


if __name__ == "__main__":
    main()
