"""The result of a rollout, planned or done, as the module returns it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .apply import CHANGED, CREATED, UNCHANGED, Applied
from .apply_set import Pruned
from .diff import difference
from .errors import PlatformError, PlatformErrors
from .objects import Ref
from .status import State, status_of


class RolloutFailed(PlatformErrors):
    """At least one node failed; ``result`` is what became of everything."""

    def __init__(self, failures: Sequence[PlatformError], result: dict[str, Any]) -> None:
        super().__init__(failures)
        self.result = result

    def as_result(self) -> dict[str, Any]:
        return {**self.result, **super().as_result()}


def is_change(objects: Iterable[Mapping[str, Any]]) -> bool:
    """Whether any of the result's objects was written or deleted, or would be."""
    return any(entry["change"] in (CREATED, CHANGED, "deleted") for entry in objects)


def named(ref: Ref) -> dict[str, Any]:
    return {"api_version": ref.api_version, "kind": ref.kind, "namespace": ref.namespace, "name": ref.name}


def pruned_result(entry: Pruned) -> dict[str, Any]:
    kept = entry.change == "kept"
    return {
        "node": None,
        **named(entry.ref),
        "change": entry.change,
        "status": status_of(entry.before).state.value if kept else State.TERMINATING.value,
        "reason": "HoldsData" if kept else "Pruned",
        "message": "no longer described; kept because deleting it deletes data" if kept else "no longer described",
        "ready_after_seconds": None,
    }


def diffs(applied: Sequence[Applied], pruned: Sequence[Pruned]) -> list[dict[str, str]]:
    shown = [found for entry in applied if (found := difference_of(entry)) is not None]
    return shown + pruned_differences(pruned)


def difference_of(applied: Applied) -> dict[str, str] | None:
    if applied.change == UNCHANGED:
        return None
    return difference(applied.ref, applied.before, applied.after, applied.message)


def pruned_differences(pruned: Sequence[Pruned]) -> list[dict[str, str]]:
    return [difference(entry.ref, entry.before, None) for entry in pruned if entry.change == "deleted"]
