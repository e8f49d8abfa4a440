"""Plays that the tests of rollout and readiness_gate write and run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .manifests import Manifest, deployment

Task = dict[str, Any]

# Where a play gets its connection to the cluster from: its own options, never what the sandbox exports.
NO_CONNECTION = {"KUBECONFIG": "/nonexistent", "K8S_AUTH_KUBECONFIG": ""}


def written_play(path: Path, kubeconfig: str, *tasks: Task, **keywords: Any) -> Path:
    """A play of these tasks against the cluster of the kubeconfig, on all hosts of whatever inventory."""
    play = {
        "hosts": "all",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"},
        "module_defaults": {"group/erp.platform.kubernetes": {"kubeconfig": kubeconfig}},
    }
    path.write_text(json.dumps([{**play, **keywords, "tasks": list(tasks)}]))
    return path


def rollout(*manifests: Manifest, **options: Any) -> Task:
    nodes = [{"name": "all", "manifests": list(manifests)}]
    return {"erp.platform.rollout": {"nodes": nodes, "timeout_seconds": 30, **options}}


def gate(namespace: str, *names: str, **options: Any) -> Task:
    """Wait for Deployments."""
    objects = [{"api_version": "apps/v1", "kind": "Deployment", "namespace": namespace, "name": name} for name in names]
    return {"erp.platform.readiness_gate": {"objects": objects, "timeout_seconds": 30, **options}}


def starting(namespace: str, name: str, seconds: float) -> Manifest:
    """A Deployment of one pod that is ready so long after it was scheduled."""
    manifest = deployment(namespace, name)
    template = manifest["spec"]["template"]["metadata"]
    template["annotations"] = {"sandbox.erp.platform/start-seconds": str(seconds)}
    return manifest
