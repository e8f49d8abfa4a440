"""Renders roles as the playbooks do: by their manifests entry point, in a real run of Ansible."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]

Manifest = dict[str, Any]


def render(
    role: str,
    scenarios: Mapping[str, Mapping[str, Any]],
    module_defaults: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> dict[str, dict[str, Any]]:
    """Render the role once per scenario, all in one run; scenarios are the role's variables by a name of the test's.

    Returns, by scenario, the facts that the role sets, or {"refused": message}.
    """
    with TemporaryDirectory() as folder:
        playbook, inventory = Path(folder, "playbook.yml"), Path(folder, "inventory.yml")
        playbook.write_text(yaml.safe_dump([_play(role, folder, module_defaults or {})], sort_keys=False))
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        hosts = {name: {**local, **variables} for name, variables in scenarios.items()}
        inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts}}, sort_keys=False))
        run = subprocess.run(
            [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, playbook],
            cwd=REPOSITORY,
            env={**os.environ, "TMPDIR": folder, "ANSIBLE_REMOTE_TMP": folder, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        return {name: json.loads(Path(folder, f"{name}.json").read_text()) for name in scenarios}


def _play(role: str, folder: str, module_defaults: Mapping[str, Any]) -> dict[str, Any]:
    facts = ("manifests", "namespace_manifests", "nodes", "exposure_nodes")
    rendered = ", ".join(f"'{fact}': {role}_{fact} | default([])" for fact in facts)
    return {
        "hosts": "all",
        "gather_facts": False,
        "module_defaults": dict(module_defaults),
        "tasks": [
            {
                "block": [
                    {"import_role": {"name": f"erp.platform.{role}", "tasks_from": "manifests"}},
                    {"set_fact": {"outcome": "{{ {" + rendered + "} }}"}},
                ],
                "rescue": [{"set_fact": {"outcome": {"refused": "{{ ansible_failed_result.msg }}"}}}],
            },
            {"copy": {"dest": folder + "/{{ inventory_hostname }}.json", "content": "{{ outcome | to_json }}"}},
        ],
    }


def one(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    """Return the one object of this kind and name."""
    (found,) = [item for item in manifests if (item["kind"], item["metadata"]["name"]) == (kind, name)]
    return found


def container(workload: Manifest, name: str) -> Manifest:
    """Return the container of this name in the workload's pod template."""
    (found,) = [item for item in workload["spec"]["template"]["spec"]["containers"] if item["name"] == name]
    return found


def environment_of(workload: Manifest, name: str) -> dict[str, Any]:
    """Return the environment of the container: variable -> value, or where it comes from."""
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in container(workload, name).get("env", [])}


def nulls(value: Any, path: str = "") -> Iterator[str]:
    """Yield the path of each null: server-side apply would own the field without a value."""
    if value is None:
        yield path
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from nulls(item, f"{path}.{key}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from nulls(item, f"{path}[{index}]")


def restricted_violations(workload: Manifest) -> Iterator[str]:
    """Yield what breaks the restricted Pod Security Standard, or leaves the root file system writable."""
    pod = workload["spec"]["template"]["spec"]
    context = pod["securityContext"]
    if context.get("runAsNonRoot") is not True:
        yield "runAsNonRoot"
    if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield "seccompProfile"
    if pod.get("automountServiceAccountToken") is not False:
        yield "automountServiceAccountToken"
    if pod.get("enableServiceLinks") is not False:
        yield "enableServiceLinks"
    wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    for each in pod["containers"]:
        if any(each["securityContext"].get(key) != value for key, value in wanted.items()):
            yield f"securityContext of {each['name']}"
