"""Before and after of an object, as people want to read it: without what the server keeps for itself, without secret
values.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from .objects import Manifest, Ref

_SERVER_FIELDS = ("managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink")
# kubectl keeps a whole copy of a manifest here, Secret values included.
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_REVISION = "deployment.kubernetes.io/revision"

HIDDEN = "(hidden)"
HIDDEN_BEFORE = "(hidden, before)"
HIDDEN_AFTER = "(hidden, after)"


def difference(ref: Ref, before: Manifest | None, after: Manifest | None, note: str = "") -> dict[str, str]:
    """An entry of Ansible's ``diff`` result; ``note`` says what a reader has to know of the side after."""
    shown_before, shown_after = stripped(before), stripped(after)
    if ref.kind == "Secret":
        shown_before, shown_after = _masked(shown_before, shown_after)
    return {
        "before_header": str(ref),
        "after_header": f"{ref} ({note})" if note else str(ref),
        "before": _as_text(shown_before),
        "after": _as_text(shown_after),
    }


def stripped(obj: Manifest | None) -> Manifest | None:
    """The object without status and the server's own metadata."""
    if obj is None:
        return None
    shown = {key: value for key, value in obj.items() if key != "status"}
    metadata = {key: value for key, value in (obj.get("metadata") or {}).items() if key not in _SERVER_FIELDS}
    annotations = {
        key: value
        for key, value in (metadata.get("annotations") or {}).items()
        if key not in (_LAST_APPLIED, _REVISION)
    }
    if annotations:
        metadata["annotations"] = annotations
    else:
        metadata.pop("annotations", None)
    shown["metadata"] = metadata
    return shown


def comparable(obj: Manifest) -> Any:
    """What must be equal for a dry run to mean that nothing would be written: the object and who owns which field,
    without times.
    """
    managed = [
        {key: value for key, value in entry.items() if key != "time"}
        for entry in (obj.get("metadata") or {}).get("managedFields") or []
        if entry.get("subresource") != "status"
    ]
    return stripped(obj), sorted(managed, key=repr)


def _masked(before: Manifest | None, after: Manifest | None) -> tuple[Manifest | None, Manifest | None]:
    masked = copy.deepcopy(before), copy.deepcopy(after)
    for field in ("data", "stringData"):
        old: Mapping[str, Any] = (before or {}).get(field) or {}
        new: Mapping[str, Any] = (after or {}).get(field) or {}
        for side, values, marker in ((masked[0], old, HIDDEN_BEFORE), (masked[1], new, HIDDEN_AFTER)):
            if side is not None and values:
                side[field] = {
                    key: marker if key in old and key in new and old[key] != new[key] else HIDDEN for key in values
                }
    return masked


def _as_text(obj: Manifest | None) -> str:
    if obj is None:
        return ""
    import yaml

    text: str = yaml.safe_dump(obj, sort_keys=True, default_flow_style=False, allow_unicode=True)
    return text
