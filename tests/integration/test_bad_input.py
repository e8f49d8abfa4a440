"""Bad input: the real playbook says one clear message and changes nothing."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[2]
CLUSTERS = "group_vars/clusters"

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class BadInput:
    """An edit of one inventory file, and what the message must say of it."""

    file: str
    old: str
    new: str
    says: tuple[str, ...]
    environment: str = "dev"


BAD_INPUTS = {
    "misspelt_key_in_a_service": BadInput(
        "services.yml",
        "    ports: {http: 8084}\n",
        "    ports: {http: 8084}\n    replicaz: 2\n",
        ("erp_services.notification-service", "replicaz", "replicas", "services.yml:"),
    ),
    "unknown_key_in_a_service": BadInput(
        "services.yml",
        "    ports: {http: 8084}\n",
        "    ports: {http: 8084}\n    colour: blue\n",
        ("erp_services.notification-service", "colour", "services.yml:"),
    ),
    "port_collision": BadInput(
        "services.yml",
        "ports: {http: 8083, grpc: 9090}",
        "ports: {http: 8083, grpc: 8083}",
        ("erp_services.approval-processing-service.ports", "8083", "http", "grpc"),
    ),
    "hpa_min_above_max": BadInput(
        "services.yml",
        "autoscaling: {min: 2, max: 3, cpu: 70}",
        "autoscaling: {min: 4, max: 3, cpu: 70}",
        ("autoscaling", "4", "3"),
    ),
    "request_above_limit": BadInput(
        "services.yml",
        "requests: {cpu: 200m, memory: 256Mi}",
        "requests: {cpu: 200m, memory: 1Gi}",
        ("resources", "1Gi", "512Mi"),
    ),
    "even_zookeeper_ensemble": BadInput(
        "kafka.yml", "zookeeper_replicas: 3", "zookeeper_replicas: 2", ("zookeeper_replicas", "2", "odd")
    ),
    "target_group_that_does_not_exist": BadInput(
        "services.yml",
        "erp-dev-notification-nlb-tg",
        "erp-dev-notificaton-nlb-tg",
        ("erp-dev-notificaton-nlb-tg", "ap-northeast-2"),
    ),
    "secret_that_does_not_exist": BadInput(
        "base.yml",
        "password: {key: erp/dev/mysql, property: password}",
        "password: {key: erp/dev/mysqll, property: password}",
        ("erp/dev/mysqll",),
    ),
    "unknown_image_tag_format": BadInput(
        "services.yml",
        "erp/notification-service\n      tag: latest",
        "erp/notification-service\n      tag: 'v1 final'",
        ("erp_services.notification-service.image.tag", "v1 final"),
    ),
    "latest_in_prod": BadInput(
        "services.yml",
        "erp/notification-service\n      tag: v1.0.0",
        "erp/notification-service\n      tag: latest",
        ("erp_services.notification-service.image.tag", "latest", "digest"),
        environment="prod",
    ),
    "lambda_service_on_a_target_group_of_the_nlb": BadInput(
        "services.yml",
        "erp-dev-employee-alb-tg",
        "erp-dev-notification-nlb-tg",
        ("employee-service", "erp-dev-notification-nlb-tg", "lambda"),
    ),
}


def resource_versions(sandbox) -> dict[str, str]:
    """Every object that a run could touch, with its resourceVersion (leases and events change by themselves)."""
    workloads = "deployment,statefulset,daemonset,hpa"
    kinds = f"namespace,{workloads},service,configmap,secret,serviceaccount,networkpolicy,role,rolebinding"
    items = json.loads(sandbox.kubectl("get", kinds, "-A", "-o", "json").stdout)["items"]
    return {
        "/".join((item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"])): json.dumps(
            {key: value for key, value in item.items() if key not in ("status", "metadata")}, sort_keys=True
        )
        for item in items
    }


def edited_inventory(bad: BadInput, folder: Path) -> Path:
    copy = folder / bad.environment
    shutil.copytree(REPOSITORY / "inventories" / bad.environment, copy)
    path = copy / CLUSTERS / bad.file
    text = path.read_text()
    assert text.count(bad.old) == 1, f"{bad.old!r} must occur once in {bad.file}"
    path.write_text(text.replace(bad.old, bad.new))
    return copy


@pytest.mark.parametrize("bad", BAD_INPUTS.values(), ids=BAD_INPUTS.keys())
def test_bad_inventory_is_refused_with_a_clear_message_and_nothing_is_changed(bad, sandbox, tmp_path):
    before = resource_versions(sandbox)
    run = sandbox.ansible_playbook("site.yml", inventory=edited_inventory(bad, tmp_path))
    assert run.returncode != 0
    said = run.stdout + run.stderr
    for words in bad.says:
        assert words in said, said[-4000:]
    assert "Traceback" not in said
    assert resource_versions(sandbox) == before


def test_all_problems_of_an_inventory_are_reported_at_once(sandbox, tmp_path):
    copy = tmp_path / "dev"
    shutil.copytree(REPOSITORY / "inventories/dev", copy)
    names = ("misspelt_key_in_a_service", "even_zookeeper_ensemble", "secret_that_does_not_exist", "port_collision")
    bad = [BAD_INPUTS[name] for name in names]
    for one in bad:
        path = copy / CLUSTERS / one.file
        path.write_text(path.read_text().replace(one.old, one.new))
    run = sandbox.ansible_playbook("site.yml", inventory=copy)
    assert run.returncode != 0
    for one in bad:
        for words in one.says:
            assert words in run.stdout


def connection(kubeconfig: str) -> dict[str, str]:
    """The variables by which kubectl and helm, and kubernetes.core, find the kubeconfig."""
    return {"KUBECONFIG": kubeconfig, "K8S_AUTH_KUBECONFIG": kubeconfig}


def kubeconfig_with(sandbox, folder: Path, **changes: str) -> str:
    config = yaml.safe_load(Path(sandbox.env["KUBECONFIG"]).read_text())
    context = next(one for one in config["contexts"] if one["name"] == config["current-context"])
    cluster = next(one for one in config["clusters"] if one["name"] == context["context"]["cluster"])
    user = next(one for one in config["users"] if one["name"] == context["context"]["user"])
    if "server" in changes:
        cluster["cluster"]["server"] = changes["server"]
    if "token" in changes:
        user["user"] = {"token": changes["token"]}
    if "context" in changes:
        context["name"] = config["current-context"] = changes["context"]
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return str(path)


# 127.0.0.1:9 is the discard service, which nothing serves: a connection to it is refused at once.
BAD_CONNECTIONS = {
    "dead_api_server": ({"server": "https://127.0.0.1:9"}, ("127.0.0.1:9",)),
    "wrong_context": ({"context": "some-other-cluster"}, ("erp-dev-cluster", "some-other-cluster")),
    "rejected_token": ({"token": "expired-or-never-valid"}, ("401",)),
}


@pytest.mark.parametrize(("changes", "says"), BAD_CONNECTIONS.values(), ids=BAD_CONNECTIONS.keys())
def test_a_bad_connection_is_refused_with_a_clear_message(changes, says, sandbox, tmp_path):
    run = sandbox.ansible_playbook("site.yml", environment=connection(kubeconfig_with(sandbox, tmp_path, **changes)))
    assert run.returncode != 0
    said = run.stdout + run.stderr
    for words in says:
        assert words in said, said[-4000:]
    assert "Traceback" not in said


def test_an_expired_token_is_named_as_such(sandbox, tmp_path):
    sandbox.kubectl("create", "serviceaccount", "short-lived", "-n", "default")
    # Ten minutes is the shortest life that the API server grants; the token of a deleted account ends at once.
    token = sandbox.kubectl("-n", "default", "create", "token", "short-lived").stdout.strip()
    sandbox.kubectl("delete", "serviceaccount", "short-lived", "-n", "default")
    run = sandbox.ansible_playbook("site.yml", environment=connection(kubeconfig_with(sandbox, tmp_path, token=token)))
    assert run.returncode != 0
    assert "401" in run.stdout
    assert "expired" in run.stdout


def test_the_wrong_aws_account_is_refused(sandbox, tmp_path):
    run = sandbox.ansible_playbook("site.yml", "-e", "erp_aws_account_id=111111111111")
    assert run.returncode != 0
    assert "806332783810" in run.stdout
    assert "111111111111" in run.stdout


def test_a_phase_that_runs_alone_refuses_the_wrong_account_too(sandbox):
    run = sandbox.ansible_playbook("apps.yml", "-e", "erp_aws_account_id=111111111111")
    assert run.returncode != 0
    assert "111111111111" in run.stdout
    assert "Roll out the services" not in run.stdout
