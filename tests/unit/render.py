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
    facts = ("manifests", "namespace_manifests", "nodes", "exposure_nodes")
    rendered = ", ".join(f"'{fact}': {role}_{fact} | default([])" for fact in facts)
    tasks = [
        {
            "block": [
                {"import_role": {"name": f"erp.platform.{role}", "tasks_from": "manifests"}},
                {"set_fact": {"outcome": "{{ {" + rendered + "} }}"}},
            ],
            "rescue": [{"set_fact": {"outcome": {"refused": "{{ ansible_failed_result.msg }}"}}}],
        }
    ]
    return _outcomes({"tasks": tasks, "module_defaults": dict(module_defaults or {})}, scenarios, environment or {})


def evaluate(role: str, expression: str, scenarios: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Evaluate a Jinja expression once per scenario with the role's defaults, vars and templates."""
    folder = REPOSITORY / "roles" / role
    of_the_role = {
        name: value
        for path in (folder / "defaults/main.yml", folder / "vars/main.yml")
        if path.exists()
        for name, value in yaml.safe_load(path.read_text()).items()
    }
    tasks = [{"set_fact": {"outcome": f"{{{{ {expression} }}}}"}}]
    return _outcomes(
        {"tasks": tasks}, {name: of_the_role | dict(given) for name, given in scenarios.items()}, {}, folder
    )


def _outcomes(
    play: Mapping[str, Any],
    scenarios: Mapping[str, Mapping[str, Any]],
    environment: Mapping[str, str],
    templates_of: Path | None = None,
) -> dict[str, Any]:
    """Run the play, one host per scenario; return by scenario what it leaves in the fact 'outcome'."""
    with TemporaryDirectory() as folder:
        playbook, inventory = Path(folder, "playbook.yml"), Path(folder, "inventory.yml")
        write = {"copy": {"dest": folder + "/{{ inventory_hostname }}.json", "content": "{{ outcome | to_json }}"}}
        whole = {"hosts": "all", "gather_facts": False, **play, "tasks": [*play["tasks"], write]}
        playbook.write_text(yaml.safe_dump([whole], sort_keys=False))
        if templates_of:
            Path(folder, "templates").symlink_to(templates_of / "templates")
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        hosts = {name: {**local, **variables} for name, variables in scenarios.items()}
        inventory.write_text(yaml.safe_dump({"all": {"hosts": hosts}}, sort_keys=False))
        run = subprocess.run(
            [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, playbook],
            cwd=REPOSITORY,
            env={**os.environ, "TMPDIR": folder, "ANSIBLE_REMOTE_TMP": folder, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        return {name: json.loads(Path(folder, f"{name}.json").read_text()) for name in scenarios}


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
