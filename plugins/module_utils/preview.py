"""Check mode of a rollout: what it would do, without waiting for anything.

Everything is a dry run on the server, in the order of the graph.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from . import apply as applying
from .api import Api, ApiError, ConnectionFailed, NotServed
from .apply import Applied
from .apply_set import ApplySet
from .checksums import with_checksums
from .errors import PlatformError
from .graph import Node
from .objects import Manifest, Ref, ref_of
from .rollout_result import RolloutFailed, diffs, is_change, named, pruned_result
from .status import State, Status, status_of
from .workers import Workers


class Preview:
    """A plan of what a rollout of these nodes would do; ``own_types`` are group and kind of what their own
    CustomResourceDefinitions define, ``workers`` the number of requests in flight.
    """

    def __init__(
        self,
        api: Api,
        nodes: Sequence[Node],
        apply_set: ApplySet | None,
        own_types: Collection[tuple[str, str]],
        *,
        force: bool,
        workers: int,
    ) -> None:
        self._api, self._nodes, self._apply_set, self._own_types = api, nodes, apply_set, own_types
        self._force, self._workers = force, workers
        self._planned: dict[tuple[str, str, str], Manifest] = {}

    def run(self) -> dict[str, Any]:
        """The result of the rollout as far as it can be told; raises RolloutFailed if something would fail."""
        if self._apply_set is not None:
            self._apply_set.load()
        objects: list[dict[str, Any]] = []
        applied: list[Applied] = []
        failures: list[PlatformError] = []
        workers = Workers(self._workers)
        for node in _in_order(self._nodes):
            for group in node.groups:
                for outcome in workers.map(self._try, group):
                    if isinstance(outcome, PlatformError):
                        failures.append(outcome)
                        continue
                    applied.append(outcome)
                    self._planned[outcome.ref.identity] = outcome.after
                    objects.append(_preview_result(node.name, outcome))
        workers.close()
        pruned = self._apply_set.prune(dry_run=True) if self._apply_set is not None and not failures else []
        objects += [pruned_result(entry) for entry in pruned]
        result = {
            "changed": is_change(objects),
            "objects": objects,
            "nodes": [
                {"name": node.name, "status": "not started", "started_seconds": None, "ready_seconds": None}
                for node in self._nodes
            ],
            "critical_path": [],
            "failures": [failure.as_dict() for failure in failures],
            "diff": diffs(applied, pruned),
        }
        if failures:
            raise RolloutFailed(failures, result)
        return result

    def _try(self, manifest: Manifest) -> Applied | PlatformError:
        ref = ref_of(manifest)
        labelled = self._apply_set.labelled(manifest) if self._apply_set is not None else manifest
        try:
            type_ = self._api.type_of(ref.api_version, ref.kind)
        except NotServed as error:
            if (ref.group, ref.kind) in self._own_types or "." in ref.group:
                return Applied(
                    ref,
                    applying.CREATED,
                    None,
                    labelled,
                    f"would create; {error} yet, so the server could not check it",
                )
            return applying.not_served(ref, error)
        except (ApiError, ConnectionFailed) as error:
            return applying.unreachable(ref, self._api, error)
        try:
            before = self._api.get(ref)
            if self._apply_set is not None and not self._force:
                self._apply_set.refuse_foreign(ref, before)
            complete = with_checksums(labelled, before, self._read)
            return applying.dry_run(self._api, complete, before, type_, force=self._force)
        except PlatformError as error:
            return error
        except ConnectionFailed as error:
            return applying.unreachable(ref, self._api, error)
        except ApiError as error:
            # A node before this one would create it, or an earlier phase of the same run.
            if error.status == 404 and error.details.get("kind") == "namespaces":
                note = f"would create; namespace {ref.namespace} does not exist yet, so the server could not check it"
                return Applied(ref, applying.CREATED, None, labelled, note)
            return applying.refusal(ref, type_, self._api, error)

    def _read(self, ref: Ref) -> Manifest | None:
        return self._planned.get(ref.identity) or self._api.get(ref)


def _in_order(nodes: Sequence[Node]) -> list[Node]:
    done: list[str] = []
    ordered: list[Node] = []
    while len(ordered) < len(nodes):
        for node in nodes:
            if node.name not in done and all(name in done for name in node.depends_on):
                done.append(node.name)
                ordered.append(node)
    return ordered


def _preview_result(node: str, applied: Applied) -> dict[str, Any]:
    status = (
        status_of(applied.before)
        if applied.before is not None
        else Status(State.NOT_FOUND, "NotFound", "does not exist")
    )
    words = {"created": "would create", "changed": "would change", "unchanged": "nothing to do"}
    return {
        "node": node,
        **named(applied.ref),
        "change": applied.change,
        "status": status.state.value,
        "reason": status.reason,
        "message": applied.message or words[applied.change],
        "ready_after_seconds": None,
    }
