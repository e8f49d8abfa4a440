"""Pod template annotations that change when the configuration a pod uses changes, and only then.

One annotation per ConfigMap or Secret that a pod template refers to: a digest of exactly the keys it uses. A Secret's
digest is an HMAC keyed by the object's uid, so that nobody can find a short password by hashing guesses without
reading the Secret's metadata.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .objects import Manifest, Ref, annotations_of, pod_template, uid_of

PREFIX = "checksum.erp.platform/"
DIGEST_LENGTH = 16
# The part of an annotation's key after the slash may have 63 characters.
KEY_LENGTH = 63

Read = Callable[[Ref], "Manifest | None"]


@dataclass(frozen=True)
class Use:
    """``keys`` are the keys used; None means all of them."""

    kind: str
    name: str
    keys: frozenset[str] | None


def with_checksums(manifest: Manifest, live: Manifest | None, read: Read) -> Manifest:
    """The manifest with the annotations of what its pod template uses, as ``read`` finds it now.

    What does not exist gets no annotation. The template of a Job that exists can't be changed: it keeps what it was
    started with.
    """
    template = pod_template(manifest)
    if template is None:
        return manifest
    if manifest.get("kind") == "Job" and live is not None:
        live_template = pod_template(live) or {}
        found = {key: value for key, value in annotations_of(live_template).items() if key.startswith(PREFIX)}
    else:
        namespace = str(manifest["metadata"].get("namespace") or "")
        found = {}
        for use in uses_of(template):
            obj = read(Ref("v1", use.kind, namespace, use.name))
            if obj is not None:
                found[annotation_key(use)] = digest(obj, use)
    if not found:
        return manifest
    changed = copy.deepcopy(manifest)
    metadata = changed["spec"]["template"].setdefault("metadata", {})
    metadata["annotations"] = {**(metadata.get("annotations") or {}), **found}
    return changed


def uses_of(template: Mapping[str, Any]) -> list[Use]:
    """Every ConfigMap and Secret that the pod template refers to, each once, with the keys it uses."""
    spec = template.get("spec") or {}
    merged: dict[tuple[str, str], frozenset[str] | None] = {}
    for use in _uses(spec):
        known = merged.get((use.kind, use.name), frozenset())
        merged[use.kind, use.name] = None if known is None or use.keys is None else known | use.keys
    return [Use(kind, name, keys) for (kind, name), keys in sorted(merged.items())]


def annotation_key(use: Use) -> str:
    name = f"{use.kind.lower()}-{use.name}"
    if len(name) > KEY_LENGTH:
        name = f"{name[: KEY_LENGTH - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return PREFIX + name


def digest(obj: Manifest, use: Use) -> str:
    values = {**(obj.get("binaryData") or {}), **(obj.get("data") or {})}
    for key, value in (obj.get("stringData") or {}).items():  # a manifest; the server only ever returns data
        values[key] = base64.b64encode(str(value).encode()).decode()
    used = values if use.keys is None else {key: values.get(key) for key in use.keys}
    content = json.dumps(used, sort_keys=True, separators=(",", ":")).encode()
    if use.kind == "Secret":
        return hmac.new(uid_of(obj).encode(), content, hashlib.sha256).hexdigest()[:DIGEST_LENGTH]
    return hashlib.sha256(content).hexdigest()[:DIGEST_LENGTH]


def _uses(spec: Mapping[str, Any]) -> Iterator[Use]:
    for container in [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]:
        for entry in container.get("env") or []:
            source = entry.get("valueFrom") or {}
            for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
                if field in source:
                    yield Use(kind, str(source[field].get("name")), frozenset({str(source[field].get("key"))}))
        for entry in container.get("envFrom") or []:
            for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
                if field in entry:
                    yield Use(kind, str(entry[field].get("name")), None)
    for volume in spec.get("volumes") or []:
        sources = [volume, *((volume.get("projected") or {}).get("sources") or [])]
        for source in sources:
            if source.get("configMap"):
                yield Use("ConfigMap", str(source["configMap"].get("name")), _items(source["configMap"]))
            if source.get("secret"):
                secret = source["secret"]
                # A volume says secretName, a projected source says name.
                yield Use("Secret", str(secret.get("secretName") or secret.get("name")), _items(secret))


def _items(source: Mapping[str, Any]) -> frozenset[str] | None:
    items = source.get("items")
    return frozenset(str(item["key"]) for item in items) if items else None
