"""The arguments of rollout and readiness_gate: one specification each, for the module and its action plugin alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC

from . import readiness, rollout
from .findings import FailFast

_GATE: dict[str, Any] = {
    "timeout_seconds": {"type": "int", "default": 600},
    "fail_fast": {
        "type": "dict",
        "default": {},
        "apply_defaults": True,
        "options": {
            "enabled": {"type": "bool", "default": True},
            "crash_loop_restarts": {"type": "int", "default": 2},
            "image_pull_seconds": {"type": "int", "default": 60},
            "unschedulable_seconds": {"type": "int", "default": 60},
        },
    },
    "node_autoscaling": {"type": "bool", "default": False},
    "quiet": {"type": "bool", "default": False},
    "report": {
        "type": "dict",
        "options": {"junit_path": {"type": "path"}, "json_path": {"type": "path"}},
        "required_one_of": [["junit_path", "json_path"]],
    },
}

ROLLOUT: dict[str, Any] = {
    **AUTH_ARG_SPEC,
    **_GATE,
    "nodes": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "manifests": {"type": "list", "elements": "dict", "required": True},
            "depends_on": {"type": "list", "elements": "str", "default": []},
            "timeout_seconds": {"type": "int"},
        },
    },
    "on_failure": {"type": "str", "choices": ["abandon", "finish"], "default": "abandon"},
    "apply_set": {
        "type": "dict",
        "options": {"name": {"type": "str", "required": True}, "namespace": {"type": "str", "required": True}},
    },
    "force_conflicts": {"type": "bool", "default": False},
}

READINESS_GATE: dict[str, Any] = {
    **AUTH_ARG_SPEC,
    **_GATE,
    "objects": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "api_version": {"type": "str", "default": "v1"},
            "kind": {"type": "str", "required": True},
            "namespace": {"type": "str"},
            "name": {"type": "str"},
            "label_selector": {"type": "str"},
            "expected_count": {"type": "int"},
            "min_ready_endpoints": {"type": "int"},
            "condition": {
                "type": "dict",
                "options": {
                    "type": {"type": "str", "required": True},
                    "status": {"type": "str", "choices": ["True", "False", "Unknown"], "default": "True"},
                    "reason": {"type": "str"},
                },
            },
            "ready_when": {"type": "str"},
            "timeout_seconds": {"type": "int"},
        },
        "mutually_exclusive": [["name", "label_selector"], ["condition", "ready_when"]],
        "required_one_of": [["name", "label_selector"]],
    },
    "manifests": {"type": "list", "elements": "dict", "default": []},
    "helm_releases": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {"name": {"type": "str", "required": True}, "namespace": {"type": "str", "required": True}},
    },
    "stable_seconds": {"type": "int", "default": 0},
}


def connection_options(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: params.get(name) for name in AUTH_ARG_SPEC}


def invocation(params: Mapping[str, Any]) -> dict[str, Any]:
    """What a module's result may say about its arguments: manifests hold secrets, and verbose output shows it."""
    hidden = ("nodes", "manifests", *(name for name, spec in AUTH_ARG_SPEC.items() if spec.get("no_log")))
    return {"module_args": {name: value for name, value in params.items() if name not in hidden}}


def rollout_options(params: Mapping[str, Any], check_mode: bool, diff: bool) -> rollout.Options:
    return rollout.Options(
        nodes=params["nodes"],
        timeout_seconds=float(params["timeout_seconds"]),
        apply_set=params.get("apply_set"),
        force_conflicts=params["force_conflicts"],
        on_failure=params["on_failure"],
        fail_fast=_fail_fast(params),
        check_mode=check_mode,
        diff=diff,
    )


def readiness_gate_options(params: Mapping[str, Any], check_mode: bool) -> readiness.Options:
    return readiness.Options(
        objects=params["objects"],
        manifests=params["manifests"],
        helm_releases=params["helm_releases"],
        timeout_seconds=float(params["timeout_seconds"]),
        stable_seconds=float(params["stable_seconds"]),
        fail_fast=_fail_fast(params),
        check_mode=check_mode,
    )


def _fail_fast(params: Mapping[str, Any]) -> FailFast:
    wanted = params["fail_fast"]
    return FailFast(
        enabled=wanted["enabled"],
        crash_loop_restarts=wanted["crash_loop_restarts"],
        image_pull_seconds=float(wanted["image_pull_seconds"]),
        # An autoscaler that is still adding a node is no failure, however long it takes.
        unschedulable_seconds=None if params["node_autoscaling"] else float(wanted["unschedulable_seconds"]),
    )
