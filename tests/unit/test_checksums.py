"""Which ConfigMaps and Secrets a pod template uses, and what changes its annotations."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

import pytest
from ansible_collections.erp.platform.plugins.module_utils.checksums import (
    PREFIX,
    Use,
    annotation_key,
    digest,
    uses_of,
    with_checksums,
)
from ansible_collections.erp.platform.plugins.module_utils.objects import Ref

TEMPLATE: dict[str, Any] = {
    "spec": {
        "initContainers": [{"name": "init", "env": [{"valueFrom": {"configMapKeyRef": {"name": "env", "key": "a"}}}]}],
        "containers": [
            {
                "name": "web",
                "env": [
                    {"name": "PLAIN", "value": "x"},
                    {"valueFrom": {"configMapKeyRef": {"name": "env", "key": "b"}}},
                    {"valueFrom": {"secretKeyRef": {"name": "password", "key": "p"}}},
                ],
                "envFrom": [{"configMapRef": {"name": "all"}}, {"secretRef": {"name": "all"}}],
            }
        ],
        "volumes": [
            {"configMap": {"name": "file", "items": [{"key": "one", "path": "1"}]}},
            {"secret": {"secretName": "certificate"}},
            {"emptyDir": {}},
            {"projected": {"sources": [{"secret": {"name": "projected", "items": [{"key": "k", "path": "k"}]}}]}},
        ],
    }
}


def deployment(kind: str = "Deployment") -> dict[str, Any]:
    metadata = {"name": "web", "namespace": "erp"}
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": metadata, "spec": {"template": TEMPLATE}}


def secret(uid: str = "u", **data: str) -> dict[str, Any]:
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"kind": "Secret", "metadata": {"uid": uid}, "data": encoded}


def test_every_way_to_use_one_is_found_with_the_keys_used() -> None:
    assert uses_of(TEMPLATE) == [
        Use("ConfigMap", "all", None),
        Use("ConfigMap", "env", frozenset({"a", "b"})),
        Use("ConfigMap", "file", frozenset({"one"})),
        Use("Secret", "all", None),
        Use("Secret", "certificate", None),
        Use("Secret", "password", frozenset({"p"})),
        Use("Secret", "projected", frozenset({"k"})),
    ]


def test_only_the_keys_used_count() -> None:
    use = Use("ConfigMap", "env", frozenset({"a"}))
    before = digest({"data": {"a": "1", "b": "1"}}, use)
    assert digest({"data": {"a": "1", "b": "2"}}, use) == before
    assert digest({"data": {"a": "2", "b": "1"}}, use) != before
    assert digest({"data": {"b": "1"}}, use) != before


def test_a_secrets_digest_cannot_be_found_by_hashing_guesses() -> None:
    use = Use("Secret", "password", frozenset({"p"}))
    obj = secret(p="hunter2")
    plain = hashlib.sha256(json.dumps(obj["data"], separators=(",", ":")).encode()).hexdigest()
    assert not plain.startswith(digest(obj, use))
    assert digest(obj, use) != digest(secret("another", p="hunter2"), use)


def test_a_planned_secret_counts_like_the_stored_one() -> None:
    use = Use("Secret", "password", None)
    planned = {"metadata": {"uid": "u"}, "stringData": {"p": "hunter2"}}
    assert digest(planned, use) == digest(secret(p="hunter2"), use)


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "Job"])
def test_what_exists_gets_an_annotation_and_what_does_not_gets_none(kind: str) -> None:
    def read(ref: Ref) -> dict[str, Any] | None:
        return {"data": {"a": "1"}} if (ref.kind, ref.namespace, ref.name) == ("ConfigMap", "erp", "env") else None

    original = deployment(kind)
    annotated = with_checksums(original, None, read)
    assert list(annotated["spec"]["template"]["metadata"]["annotations"]) == [f"{PREFIX}configmap-env"]
    assert "metadata" not in original["spec"]["template"]


def test_a_job_that_exists_keeps_the_annotations_it_was_started_with() -> None:
    live = deployment("Job")
    live["spec"] = {"template": {"metadata": {"annotations": {f"{PREFIX}configmap-env": "old", "other": "x"}}}}
    annotated = with_checksums(deployment("Job"), live, lambda ref: {"data": {"a": "new"}})
    assert annotated["spec"]["template"]["metadata"]["annotations"] == {f"{PREFIX}configmap-env": "old"}


def test_other_kinds_are_left_alone() -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}}
    assert with_checksums(service, None, lambda ref: {"data": {}}) is service


def test_a_long_name_still_makes_a_valid_and_unique_key() -> None:
    keys = {annotation_key(Use("ConfigMap", f"{'x' * 200}{suffix}", None)) for suffix in "ab"}
    assert len(keys) == 2
    assert all(len(key.removeprefix(PREFIX)) <= 63 for key in keys)
