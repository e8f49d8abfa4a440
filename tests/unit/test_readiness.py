"""How the readiness gate ends: everything is listed once more, whatever happens to the connection meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from ansible_collections.erp.platform.plugins.module_utils.api import ApiError, ConnectionFailed, ResourceType
from ansible_collections.erp.platform.plugins.module_utils.errors import PlatformError
from ansible_collections.erp.platform.plugins.module_utils.progress import silent
from ansible_collections.erp.platform.plugins.module_utils.readiness import Options, wait_until_ready

OBJECTS = [{"kind": "ConfigMap", "namespace": "erp", "name": "settings"}]
SETTINGS = {"metadata": {"name": "settings", "namespace": "erp", "uid": "1", "resourceVersion": "1"}}


class Silence:
    """A watch in which nothing happens until it is closed."""

    def __init__(self) -> None:
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self._closed.wait(10)
        yield from ()

    def close(self) -> None:
        self._closed.set()

    def __enter__(self) -> Silence:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


@dataclass
class FakeApi:
    """Has one ConfigMap. The gate's own LISTs, which are bounded in time, meet the faults one after another."""

    faults: Sequence[Exception]
    asked: int = 0
    host: str = "https://api.example"

    def explained(self, error: ApiError | ConnectionFailed, object: str) -> PlatformError:
        cause = "cannot be reached" if isinstance(error, ConnectionFailed) else "answers with an error"
        return PlatformError(cause, object=object, evidence=str(error))

    def check(self) -> None:
        """It can be reached."""

    def type_of(self, api_version: str, kind: str) -> ResourceType:
        return ResourceType(api_version, kind, f"{kind.lower()}s", True)

    def list(
        self, type_: ResourceType, namespace: str, *, timeout_seconds: float | None = None, **_options: Any
    ) -> dict[str, Any]:
        if timeout_seconds is not None:
            self.asked += 1
            if self.asked <= len(self.faults):
                raise self.faults[self.asked - 1]
        return {"metadata": {"resourceVersion": "1"}, "items": [SETTINGS] if type_.kind == "ConfigMap" else []}

    def watch(self, type_: ResourceType, namespace: str, resource_version: str, **seconds: float) -> Silence:
        return Silence()


def wait(api: FakeApi, timeout_seconds: float) -> dict[str, Any]:
    options = Options(objects=OBJECTS, timeout_seconds=timeout_seconds)
    return wait_until_ready(api, options, silent)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "fault",
    [ConnectionFailed("reset"), ApiError(503, {"message": "busy"}), ApiError(429, {"message": "slow down"}, 0.1)],
    ids=["reset", "unavailable", "too many requests"],
)
def test_a_fault_while_success_is_confirmed_is_outlived(fault: Exception) -> None:
    api = FakeApi([fault, fault])
    assert wait(api, 20.0)["ready"]
    assert api.asked == 3


def test_a_connection_that_stays_broken_ends_it_at_the_deadline() -> None:
    api = FakeApi([ConnectionFailed("refused")] * 1000)
    start = time.monotonic()
    with pytest.raises(PlatformError, match="cannot be reached") as unreachable:
        wait(api, 1.0)
    assert 1.0 <= time.monotonic() - start < 3.0
    assert 2 <= api.asked < 30, "it hammered"
    assert unreachable.value.evidence == "refused"


def test_an_error_that_no_later_try_would_heal_ends_it_at_once() -> None:
    api = FakeApi([ApiError(400, {"message": "bad request"})])
    with pytest.raises(PlatformError, match="answers with an error"):
        wait(api, 20.0)
    assert api.asked == 1
