"""How each tool rolls out a workload: it writes the files that the tool takes and returns the script to be measured.

Each tool gets the form its documentation gives for "apply and wait", with its own defaults, and orders the stages by
its own means: annotations where it has them, else one command after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .workload import Manifest, Workload


@dataclass(frozen=True)
class Job:
    """A workload, where it goes, and the folder for the tool's files."""

    workload: Workload
    namespace: str
    folder: Path

    @property
    def stages(self) -> list[list[Manifest]]:
        return self.workload.manifests(self.namespace)

    @property
    def timeout(self) -> str:
        return f"{self.workload.timeout_seconds}s"

    def write(self, name: str, manifests: Iterable[Mapping[str, Any]]) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.dump_all(manifests, Dumper=yaml.CSafeDumper, sort_keys=False))
        return path

    def write_stages(self) -> list[Path]:
        return [self.write(f"stage-{number}.yaml", stage) for number, stage in enumerate(self.stages)]


def ours(job: Job) -> str:
    def node(name: str, manifests: list[Manifest], depends_on: Iterable[str]) -> dict[str, Any]:
        path = job.write(f"{name}.yaml", manifests)
        content = f"{{{{ lookup('ansible.builtin.file', '{path}') | from_yaml_all }}}}"
        return {"name": name, "manifests": content, "depends_on": list(depends_on)}

    if len(job.stages) == 1:
        nodes = [node("services", job.stages[0], ())]
    else:
        befores = [(), *job.workload.stages]
        nodes = [
            node(manifest["metadata"]["name"], [manifest], before)
            for stage, before in zip(job.stages, befores, strict=False)
            for manifest in stage
        ]
    task = {
        "name": "Roll out",
        "erp.platform.rollout": {"nodes": nodes, "timeout_seconds": job.workload.timeout_seconds},
    }
    return _playbook(job, [task])


def kubectl_rollout(job: Job) -> str:
    return _script(
        line
        for path in job.write_stages()
        for line in (f"kubectl apply -f {path}", f"kubectl rollout status -f {path} --timeout={job.timeout}")
    )


def kubectl_wait(job: Job) -> str:
    return _script(
        line
        for path in job.write_stages()
        for line in (
            f"kubectl apply -f {path}",
            f"kubectl wait -f {path} --for=condition=Available --timeout={job.timeout}",
        )
    )


def helm3(job: Job) -> str:
    return _helm("helm", job)


def helm4(job: Job) -> str:
    return _helm("helm4", job)


def kapp(job: Job) -> str:
    for number, stage in enumerate(job.stages):
        for manifest in stage:
            annotations = {"kapp.k14s.io/change-group": f"bench/stage-{number}"}
            if number:
                annotations["kapp.k14s.io/change-rule"] = f"upsert after upserting bench/stage-{number - 1}"
            manifest["metadata"]["annotations"] = annotations
        job.write(f"manifests/stage-{number}.yaml", stage)
    return _script(
        [f"kapp deploy --app bench --namespace {job.namespace} --file manifests --yes --wait-timeout {job.timeout}"]
    )


def kapply(job: Job) -> str:
    # What `kapply init` writes, with the namespace it would ask for.
    inventory = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "inventory",
            "namespace": job.namespace,
            "labels": {"cli-utils.sigs.k8s.io/inventory-id": job.namespace},
        },
    }
    job.write("manifests/inventory-template.yaml", [inventory])
    before: list[str] = []
    for number, stage in enumerate(job.stages):
        if before:
            for manifest in stage:
                manifest["metadata"]["annotations"] = {"config.kubernetes.io/depends-on": ",".join(before)}
        job.write(f"manifests/stage-{number}.yaml", stage)
        before = [f"apps/namespaces/{job.namespace}/Deployment/{name}" for name in job.workload.stages[number]]
    return _script([f"kapply apply manifests --reconcile-timeout {job.timeout}"])


def kubernetes_core(job: Job) -> str:
    return _playbook(
        job,
        [
            {
                "name": f"Apply {path.stem} and wait",
                "kubernetes.core.k8s": {"src": str(path), "wait": True, "wait_timeout": job.workload.timeout_seconds},
            }
            for path in job.write_stages()
        ],
    )


def empty_play(job: Job) -> str:
    return _playbook(job, [])


OURS = "ours"
KUBERNETES_CORE = "kubernetes.core"
TOOLS: Mapping[str, Callable[[Job], str]] = {
    OURS: ours,
    "kubectl-rollout": kubectl_rollout,
    "kubectl-wait": kubectl_wait,
    "helm3": helm3,
    "helm4": helm4,
    "kapp": kapp,
    "kapply": kapply,
    KUBERNETES_CORE: kubernetes_core,
}


def _helm(program: str, job: Job) -> str:
    lines = []
    for number, stage in enumerate(job.stages):
        job.write(f"chart-{number}/Chart.yaml", [{"apiVersion": "v2", "name": f"stage-{number}", "version": "1.0.0"}])
        job.write(f"chart-{number}/templates/stage.yaml", stage)
        lines.append(
            f"{program} upgrade --install stage-{number} chart-{number} --namespace {job.namespace} "
            f"--wait --timeout {job.timeout}"
        )
    return _script(lines)


def _playbook(job: Job, tasks: list[dict[str, Any]]) -> str:
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"},
        "tasks": tasks,
    }
    path = job.folder / "play.yml"
    path.write_text(yaml.safe_dump([play], sort_keys=False))
    return _script([f"exec ansible-playbook -i localhost, {path}"])


def _script(lines: Iterable[str]) -> str:
    return "\n".join(["set -eu", *lines, ""])
