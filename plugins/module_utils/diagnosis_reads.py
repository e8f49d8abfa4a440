"""The few read requests of a diagnosis: bounded in time together, and none of them able to make it fail."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .api import Api, ApiError, ConnectionFailed, NotServed
from .objects import Manifest, Ref

REQUEST_SECONDS = 5.0
# What many failures of one run ask for alike, the nodes or the Services, is read once for all of them.
REMEMBERED_SECONDS = 10.0

Read = TypeVar("Read")


@dataclass(frozen=True)
class Answer:
    """An object, or that there is none, or (``is_known`` is false) that nobody could say."""

    obj: Manifest | None
    is_known: bool = True

    @property
    def is_absent(self) -> bool:
        return self.is_known and self.obj is None


@dataclass
class Memory:
    """Answers of a moment ago, shared by the diagnoses of one run; safe to use from several threads."""

    _answers: dict[tuple[Any, ...], tuple[float, Any]] = field(default_factory=dict)

    def recall(self, key: tuple[Any, ...]) -> tuple[Any] | None:
        at, answer = self._answers.get(key, (0.0, None))
        return (answer,) if at and time.monotonic() - at < REMEMBERED_SECONDS else None

    def keep(self, key: tuple[Any, ...], answer: Any) -> None:
        self._answers[key] = (time.monotonic(), answer)


class Reads:
    """Requests that end by ``ends`` (monotonic). What could not be read is in ``problems``, in words."""

    def __init__(self, api: Api, memory: Memory, ends: float) -> None:
        self._api, self._memory, self._ends = api, memory, ends
        self.problems: list[str] = []

    def get(self, ref: Ref) -> Answer:
        answer = self._read(("get", ref), str(ref), lambda seconds: Answer(self._api.get(ref, timeout_seconds=seconds)))
        if answer is not None and answer.obj is not None:
            # What a list leaves out and a single object may too.
            answer.obj.setdefault("apiVersion", ref.api_version)
            answer.obj.setdefault("kind", ref.kind)
        return answer or Answer(None, is_known=False)

    def items(
        self, api_version: str, kind: str, namespace: str = "", label_selector: str = "", field_selector: str = ""
    ) -> Sequence[Manifest] | None:
        """The objects of a kind, or None if they could not be read."""

        def listed(seconds: float) -> Sequence[Manifest]:
            type_ = self._api.type_of(api_version, kind, timeout_seconds=seconds)
            answer = self._api.list(type_, namespace, label_selector, field_selector, timeout_seconds=self._left())
            return [{"apiVersion": api_version, "kind": kind, **item} for item in answer.get("items") or []]

        where = f" of namespace {namespace}" if namespace else ""
        key = ("list", api_version, kind, namespace, label_selector, field_selector)
        return self._read(key, f"{kind} objects{where}", listed)

    def log(self, namespace: str, pod: str, container: str, *, previous: bool, lines: int) -> Sequence[str] | None:
        """The last lines of a container's log, or None if it could not be read."""

        def read(seconds: float) -> Sequence[str]:
            text = self._api.logs(namespace, pod, container, previous=previous, lines=lines, timeout_seconds=seconds)
            return text.strip("\n").splitlines()[-lines:]

        which = f"the {'previous ' if previous else ''}log of container {container}"
        return self._read(("log", namespace, pod, container, previous), which, read)

    def _read(self, key: tuple[Any, ...], what: str, request: Callable[[float], Read]) -> Read | None:
        known = self._memory.recall(key)
        if known is not None:
            remembered: Read = known[0]
            return remembered
        if self._left() <= 0:
            self.problems.append(f"not read, as the time for the diagnosis was over: {what}")
            return None
        try:
            answer = request(min(REQUEST_SECONDS, self._left()))
        except NotServed as error:
            self.problems.append(str(error))
            return None
        except (ApiError, ConnectionFailed) as error:
            self.problems.append(f"could not read {what}: {error}")
            return None
        self._memory.keep(key, answer)
        return answer

    def _left(self) -> float:
        return self._ends - time.monotonic()


def by_name(objects: Sequence[Mapping[str, Any]] | None) -> dict[str, Mapping[str, Any]]:
    """The objects by their name."""
    return {str((obj.get("metadata") or {}).get("name")): obj for obj in objects or []}
