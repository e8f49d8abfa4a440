"""The requests that an Api makes, counted where they leave it."""

from __future__ import annotations

from collections import Counter
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

    def count(self, method: str, plural: str = "") -> int:
        return sum(made == method and path.endswith(plural) for made, path in self.made)

    def watches(self) -> Counter[str]:
        """How many there were of each path."""
        return Counter(path for method, path in self.made if method == "WATCH")

    def lists(self) -> Counter[str]:
        watched = self.watches()
        return Counter(path for method, path in self.made if method == "GET" and path in watched)


def recorded(api: Api) -> Requests:
    """Note the requests of this connection from now on."""
    requests = Requests()
    send = api._client.request

    def noting(method: str, path: str, **params: Any) -> Any:
        requests.made.append(("WATCH" if params.get("watch") else method.upper(), path))
        if params.get("watch"):
            requests.watched_from.append((path, params["resource_version"]))
        try:
            return send(method, path, **params)
        except ApiException as error:
            requests.refused += error.status == 401
            raise

    api._client.request = noting
    return requests
