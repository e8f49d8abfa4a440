"""The preflight modules and the role against a real API server and a cloud's API."""

from __future__ import annotations

import base64
import ssl
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import REPOSITORY, Sandbox

pytestmark = pytest.mark.timeout(300)

VARIABLES: dict[str, Any] = {
    "preflight_namespace": "erp-dev",
    "preflight_environment": "dev",
    "preflight_aws_account_id": "806332783810",
    "preflight_cluster_name": "erp-dev-cluster",
    "preflight_secrets": ["erp/dev/mysql"],
}
SERVICE: dict[str, Any] = {
    "image": {"repository": "erp/x-service", "tag": "v1.0.0"},
    "ports": {"http": 8082},
    "expose": {"target_group": {"name": "erp-dev-approval-req-nlb-tg"}},
}


def preflight(
    sandbox: Sandbox, folder: Path, *arguments: str, environment: dict[str, str] | None = None, **variables: Any
) -> Any:
    """Run the role alone; return the process."""
    playbook = folder / "preflight.yml"
    play = {
        "hosts": "localhost",
        "connection": "local",
        "vars": {"ansible_python_interpreter": "{{ ansible_playbook_python }}"},
        "gather_facts": False,
        "tasks": [{"ansible.builtin.import_role": {"name": "erp.platform.preflight"}}],
    }
    playbook.write_text(yaml.safe_dump([play]))
    return sandbox.ansible_playbook(
        playbook, *arguments, inventory="localhost,", extra_vars={**VARIABLES, **variables}, environment=environment
    )


def problems(run: Any) -> str:
    """What the one failing task says."""
    assert run.returncode == 2, run.stdout
    assert "Traceback" not in run.stdout + run.stderr
    return run.stdout[run.stdout.index("fatal: ") :]


def token_of(sandbox: Sandbox, namespace: str) -> str:
    """A token that is known and may do nothing."""
    sandbox.kubectl("-n", namespace, "create", "serviceaccount", "nobody")
    return sandbox.kubectl("-n", namespace, "create", "token", "nobody").stdout.strip()


def kubeconfig(sandbox: Sandbox, folder: Path, **changes: Any) -> dict[str, str]:
    """The environment of a copy of the kubeconfig with keys of its cluster or user replaced."""
    config = yaml.safe_load(Path(sandbox.env["KUBECONFIG"]).read_text())
    for key, value in changes.items():
        if key == "token":
            config["users"][0]["user"] = {"token": value}
        else:
            config["clusters"][0]["cluster"][key] = value
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    return {"KUBECONFIG": str(file), "K8S_AUTH_KUBECONFIG": str(file)}


@pytest.mark.parametrize("arguments", [(), ("--check",)], ids=["run", "check mode"])
def test_a_platform_without_problems_is_told_in_one_line_and_nothing_is_changed(sandbox, tmp_path, arguments):
    run = preflight(sandbox, tmp_path, *arguments, preflight_services={"x-service": SERVICE})
    assert run.returncode == 0, run.stdout
    said = " ".join(run.stdout.split())
    assert "preflight: erp-dev-cluster, Kubernetes v1.34" in said
    assert "AWS account 806332783810, 1 services" in said
    assert "changed=0" in said


def test_problems_of_every_kind_come_in_one_message(sandbox, namespace, tmp_path):
    said = problems(
        preflight(
            sandbox,
            tmp_path,
            environment=kubeconfig(sandbox, tmp_path, token=token_of(sandbox, namespace)),
            preflight_services={
                "x-service": {
                    **SERVICE,
                    "replicaz": 2,
                    "expose": {"target_group": {"name": "erp-dev-approval-req-nlb"}},
                },
                "employee-service": {
                    "runtime": "lambda",
                    "image": SERVICE["image"],
                    "lambda": {"role_arn": "arn:aws:iam::806332783810:role/erp-dev-employee-service"},
                    "expose": {"target_group": {"name": "erp-dev-notification-nlb-tg"}},
                },
            },
            preflight_secrets=["erp/dev/none"],
            preflight_binaries=["helm", "no-such-program"],
            preflight_python_packages=["kubernetes>=31", "no-such-package"],
            preflight_kubernetes_versions={"minimum": "1.20", "maximum": "1.21"},
            preflight_roles=["erp.platform.zookeeper"],
            zookeeper_namespace="erp-dev",
            zookeeper_replicas=2,
            preflight_problems=["found by the playbook"],
        )
    )
    for words in (
        "11 problems, nothing was changed:",
        "found by the playbook",
        "Python package no-such-package: is not installed",
        "program no-such-program: is not installed",
        "erp_services.x-service.replicaz: unknown key; did you mean 'replicas'?",
        "zookeeper_replicas: 2",
        "did you mean 'erp-dev-approval-req-nlb-tg'?",
        "of service employee-service: is not for a Lambda function",
        "secret erp/dev/none: does not exist",
        "is too new: 1.20 to 1.21 are supported",
        f"user system:serviceaccount:{namespace}:nobody: lacks permissions in the cluster",
        "lacks permissions in namespace erp-dev",
        "deployments.apps: get, list, watch, create, patch, delete",
    ):
        assert words in said


def test_a_token_that_is_not_accepted_is_told(sandbox, tmp_path):
    expired = kubeconfig(sandbox, tmp_path, token="expired-or-never-valid")
    said = problems(preflight(sandbox, tmp_path, environment=expired))
    assert "does not accept the credentials: the token or certificate has expired" in said


def test_another_cluster_is_refused_before_it_is_asked_anything(sandbox, tmp_path):
    # The authority must be another's as well: a known authority at another address is a tunnel to the right cluster.
    config = yaml.safe_load(Path(sandbox.env["KUBECONFIG"]).read_text())
    known = ssl.PEM_cert_to_DER_cert(
        base64.b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
    )
    other = base64.b64encode(ssl.DER_cert_to_PEM_cert(known + b"\0").encode()).decode()
    changes = {"server": "https://127.0.0.1:9", "certificate-authority-data": other}
    said = problems(preflight(sandbox, tmp_path, environment=kubeconfig(sandbox, tmp_path, **changes)))
    assert "API server https://127.0.0.1:9: is not the cluster that the inventory names" in said


def test_a_server_that_is_down_is_told_within_seconds(sandbox, tmp_path):
    down = kubeconfig(sandbox, tmp_path, server="https://127.0.0.1:9")
    started = time.monotonic()
    assert "API server https://127.0.0.1:9: cannot be reached" in problems(
        preflight(sandbox, tmp_path, environment=down)
    )
    assert time.monotonic() - started < 60


def test_a_cloud_that_cannot_be_reached_is_told_within_seconds_and_the_cluster_is_looked_at_nevertheless(
    sandbox, tmp_path
):
    started = time.monotonic()
    run = preflight(
        sandbox,
        tmp_path,
        environment={"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
        preflight_kubernetes_versions={"minimum": "1.20", "maximum": "1.21"},
    )
    said = problems(run)
    assert "AWS account: AWS cannot be reached" in said
    assert "is too new" in said
    assert time.monotonic() - started < 90


def test_the_default_permissions_are_enough_for_an_administrator_and_each_is_asked_of_a_nobody(
    sandbox, namespace, tmp_path
):
    defaults = yaml.safe_load((REPOSITORY / "roles/preflight/defaults/main.yml").read_text())
    said = problems(
        preflight(sandbox, tmp_path, environment=kubeconfig(sandbox, tmp_path, token=token_of(sandbox, namespace)))
    )
    for permission in defaults["preflight_permissions"]:
        resource = (
            f"{permission['resource']}.{permission['group']}" if "group" in permission else permission["resource"]
        )
        assert f"{resource}: {', '.join(permission['verbs'])}" in said
