"""Server-side apply of one object: what changed, who stands in the way, and the replicas that an HPA moves."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .api import Api, ApiError, ConnectionFailed, NotServed, ResourceType, forbidden, is_rbac
from .diff import comparable
from .errors import PlatformError
from .objects import Manifest, Ref, annotations_of, metadata_of, pod_template, ref_of

FIELD_MANAGER = "erp.platform"
REPLICAS_MANAGER = "erp.platform-initial-replicas"
INITIAL_REPLICAS = "erp.platform/initial-replicas"
# The name under which the HPA's controller writes the scale subresource.
AUTOSCALER_MANAGER = "kube-controller-manager"

CREATED, CHANGED, UNCHANGED = "created", "changed", "unchanged"


@dataclass(frozen=True)
class Applied:
    """``after`` is the object as the server stored it (or would), or the manifest where it can't tell yet."""

    ref: Ref
    change: str
    before: Manifest | None
    after: Manifest
    message: str = ""


@dataclass(frozen=True)
class Conflict:
    field: str
    manager: str


def apply(api: Api, manifest: Manifest, before: Manifest | None, type_: ResourceType, *, force: bool) -> Applied:
    """Apply the manifest over ``before``, the live object (None if there is none).

    Raises PlatformError for what needs a person (a conflict, an invalid or forbidden object) and lets ApiError and
    ConnectionFailed through for what a later try may heal.
    """
    manifest = _without_empty_metadata(manifest)
    ref = ref_of(manifest)
    initial = _initial_replicas(manifest)
    if initial is not None and before is not None and FIELD_MANAGER in _owners_of_replicas(before):
        # The manifest stops saying how many: the number stays what it is only if somebody else owns it by then.
        _own_replicas(api, ref, type_, int(before["spec"]["replicas"]))
    after = _apply(api, manifest, type_, force=force, dry_run=False)
    if initial is not None and not _owners_of_replicas(after):
        after = _own_replicas(api, ref, type_, initial)
    return Applied(ref, _change(before, after), before, after)


def dry_run(api: Api, manifest: Manifest, before: Manifest | None, type_: ResourceType, *, force: bool) -> Applied:
    """What ``apply`` would do, as the server sees it: defaulted, validated, admitted, but not stored."""
    manifest = _without_empty_metadata(manifest)
    ref = ref_of(manifest)
    initial = _initial_replicas(manifest)
    shown = manifest
    if initial is not None:
        if before is None:
            shown = _with_replicas(manifest, initial)
        elif FIELD_MANAGER in _owners_of_replicas(before):
            shown = _with_replicas(manifest, int(before["spec"]["replicas"]))
    after = _apply(api, shown, type_, force=force, dry_run=True)
    return Applied(ref, _change(before, after), before, after)


def conflicts_of(error: ApiError) -> tuple[Conflict, ...]:
    """The fields that other managers own, from the server's 409."""
    found = []
    for cause in error.details.get("causes") or []:
        if cause.get("reason") == "FieldManagerConflict":
            match = re.search(r'conflict with "([^"]+)"', str(cause.get("message") or ""))
            found.append(Conflict(str(cause.get("field")), match.group(1) if match else str(cause.get("message"))))
    return tuple(found)


def refusal(ref: Ref, type_: ResourceType, api: Api, error: ApiError) -> PlatformError:
    """A permanent error of the server in words."""
    conflicts = conflicts_of(error)
    if conflicts:
        return PlatformError(
            "fields of it are owned by other field managers",
            object=str(ref),
            evidence="\n".join(f"{conflict.field} is owned by {conflict.manager}" for conflict in conflicts),
            next_command=f"{ref.kubectl('get')} -o yaml --show-managed-fields; force_conflicts: true takes them over",
        )
    if error.status == 401:
        return api.unauthorized(error)
    if is_rbac(error):
        return forbidden(error, str(ref))
    if error.status == 403 and "because it is being terminated" in str(error):
        return PlatformError(
            f"namespace {ref.namespace} is being deleted",
            object=str(ref),
            evidence=str(error),
            next_command=f"kubectl get namespace {ref.namespace} -o yaml",
        )
    if error.status == 404 and error.details.get("kind") == "namespaces":
        return PlatformError(
            f"namespace {ref.namespace} does not exist",
            object=str(ref),
            evidence=str(error),
            next_command=f"kubectl create namespace {ref.namespace}, or describe it in a node that this depends on",
        )
    causes = [f"{cause.get('field')}: {cause.get('message')}" for cause in error.details.get("causes") or []]
    if error.status == 422 and "field is immutable" in str(error):
        return PlatformError(
            "a field of it that can never change is different",
            object=str(ref),
            evidence="\n".join(causes) or str(error),
            next_command=f"give the object a new name, or delete the old one: {ref.kubectl('delete')}",
        )
    if (explained := _explained(api, ref, error)) is not None:
        return explained
    return PlatformError(
        "the API server refuses the object",
        object=str(ref),
        evidence=f"{error.status} {error}" if not causes else "\n".join([f"{error.status} {error.reason}", *causes]),
        next_command=f"kubectl explain {type_.plural} --api-version={ref.api_version}, and correct the manifest",
    )


def unreachable(ref: Ref, api: Api, error: ApiError | ConnectionFailed) -> PlatformError:
    """An error that did not heal in the time there was."""
    if isinstance(error, ApiError) and (explained := _explained(api, ref, error)) is not None:
        return explained
    cause = (
        "the API server could not be reached"
        if isinstance(error, ConnectionFailed)
        else "the API server kept answering with an error"
    )
    return PlatformError(
        f"{cause} until the time was over",
        object=str(ref),
        evidence=str(error),
        next_command="kubectl get --raw /readyz?verbose",
    )


def _explained(api: Api, ref: Ref, error: ApiError) -> PlatformError | None:
    """What refused it and why, if the message is of a form that is known: a quota, a webhook, Pod Security."""
    # Only failures need it, and it is half of the code.
    from .diagnosis import Diagnosis

    return Diagnosis(api).refused(ref, str(error))


def not_served(ref: Ref, error: NotServed) -> PlatformError:
    return PlatformError(
        f"the cluster does not serve {ref.kind} of {ref.api_version}",
        object=str(ref),
        evidence="no CustomResourceDefinition of this kind and version is installed",
        next_command=f"kubectl api-resources --api-group={ref.group}, and install what brings the kind first",
    )


def _apply(api: Api, manifest: Manifest, type_: ResourceType, *, force: bool, dry_run: bool) -> Manifest:
    try:
        return api.apply(manifest, type_, field_manager=FIELD_MANAGER, force=force, dry_run=dry_run)
    except ApiError as error:
        if error.status != 409 or not _only_our_replicas(conflicts_of(error)):
            raise
        # The manifest names the number of replicas again: it takes the field back from what held it in its absence.
        return api.apply(manifest, type_, field_manager=FIELD_MANAGER, force=True, dry_run=dry_run)


def _only_our_replicas(conflicts: Sequence[Conflict]) -> bool:
    return bool(conflicts) and all(
        conflict.field == ".spec.replicas" and conflict.manager in (REPLICAS_MANAGER, AUTOSCALER_MANAGER)
        for conflict in conflicts
    )


def _own_replicas(api: Api, ref: Ref, type_: ResourceType, replicas: int) -> Manifest:
    metadata = {"name": ref.name, "namespace": ref.namespace}
    body: Manifest = {
        "apiVersion": ref.api_version,
        "kind": ref.kind,
        "metadata": metadata,
        "spec": {"replicas": replicas},
    }
    return api.apply(body, type_, field_manager=REPLICAS_MANAGER, force=False, dry_run=False)


def _without_empty_metadata(manifest: Manifest) -> Manifest:
    """The manifest without empty labels and annotations, which templates like to leave.

    The server drops them from a new object, but notes them as owned once others have added entries: a second run would
    change.
    """
    tidied = copy.deepcopy(manifest)
    for metadata in (tidied["metadata"], (pod_template(tidied) or {}).get("metadata") or {}):
        for field in ("labels", "annotations"):
            if not metadata.get(field):
                metadata.pop(field, None)
    return tidied


def _initial_replicas(manifest: Manifest) -> int | None:
    """The number of replicas to start with, if the manifest leaves the rest to an HPA."""
    wanted = annotations_of(manifest).get(INITIAL_REPLICAS)
    if wanted is None or "replicas" in (manifest.get("spec") or {}):
        return None
    if not str(wanted).isdigit():
        raise PlatformError(f"annotation {INITIAL_REPLICAS} is no number: {wanted}", object=str(ref_of(manifest)))
    return int(wanted)


def _with_replicas(manifest: Manifest, replicas: int) -> Manifest:
    changed = copy.deepcopy(manifest)
    changed["spec"]["replicas"] = replicas
    return changed


def _owners_of_replicas(obj: Mapping[str, Any]) -> set[str]:
    return {
        str(entry.get("manager"))
        for entry in metadata_of(obj).get("managedFields") or []
        if "f:replicas" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
    }


def _change(before: Manifest | None, after: Manifest) -> str:
    if before is None:
        return CREATED
    # Not by resourceVersion: a controller may write a status between our read and our write, and a dry run has none of
    # its own.
    return UNCHANGED if comparable(before) == comparable(after) else CHANGED
