"""The requests that an Api makes, counted where they leave it, and what to do when it has begun to watch."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.erp.platform.plugins.module_utils.api import Api
from kubernetes.client import ApiException


@dataclass
class Requests:
    """Method and path of each request; a watch's method is WATCH."""

    made: list[tuple[str, str]] = field(default_factory=list)
    watched_from: list[tuple[str, str]] = field(default_factory=list)
    refused: int = 0  # with 401
    watching: threading.Event = field(default_factory=threading.Event)

    def watches(self) -> Counter[str]:
        """How many there were of each path."""
        return Counter(path for method, path in self.made if method == "WATCH")

    def lists(self) -> Counter[str]:
        watched = self.watches()
        return Counter(path for method, path in self.made if method == "GET" and path in watched)

    def discoveries(self) -> Counter[str]:
        return Counter(path for method, path in self.made if method == "GET" and path.endswith("/v1"))

    def once_watching(self, *acts: Callable[[], object]) -> None:
        """Do these one after another, from the moment at which the first watch is open."""

        def run() -> None:
            if self.watching.wait(60):
                for act in acts:
                    act()

        threading.Thread(target=run, daemon=True).start()


def recorded(api: Api) -> Requests:
    """Note the requests of this connection from now on."""
    requests = Requests()
    send = api._client.request

    def noting(method: str, path: str, **params: Any) -> Any:
        is_watch = bool(params.get("watch"))
        requests.made.append(("WATCH" if is_watch else method.upper(), path))
        if is_watch:
            requests.watched_from.append((path, params["resource_version"]))
        try:
            answer = send(method, path, **params)
        except ApiException as error:
            requests.refused += error.status == 401
            raise
        if is_watch:
            requests.watching.set()
        return answer

    api._client.request = noting
    return requests


def pause(seconds: float) -> Callable[[], None]:
    return lambda: time.sleep(seconds)
