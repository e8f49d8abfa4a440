"""The main job: `ansible-playbook site.yml -i inventories/dev`, verbatim, against the sandbox."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
NAMESPACE = "erp-dev"
SERVICES = ("approval-request-service", "approval-processing-service", "notification-service")
TARGET_GROUPS = {
    "erp-dev-approval-req-nlb-tg": "approval-request-service",
    "erp-dev-approval-proc-nlb-tg": "approval-processing-service",
    "erp-dev-notification-nlb-tg": "notification-service",
}

pytestmark = pytest.mark.timeout(900)


def changed(run) -> int:
    """The number of changed tasks that the play recap counts."""
    return int(re.search(r"changed=(\d+)", run.stdout.rsplit("PLAY RECAP", 1)[1]).group(1))


def succeeded(run):
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    return run


@pytest.fixture(scope="module")
def checked_before(empty_sandbox):
    return empty_sandbox.ansible_playbook("site.yml", "--check", "--diff")


@pytest.fixture(scope="module")
def deployed(empty_sandbox, checked_before):
    succeeded(empty_sandbox.ansible_playbook("site.yml"))
    return empty_sandbox


@pytest.fixture
def inventory(tmp_path: Path) -> Callable[..., Path]:
    """A copy of inventories/dev in which `old` in one file has become `new`."""

    def edited(file: str, old: str, new: str) -> Path:
        copy = tmp_path / "dev"
        if not copy.exists():
            shutil.copytree(REPOSITORY / "inventories/dev", copy)
        path = copy / "group_vars/clusters" / file
        text = path.read_text()
        assert text.count(old) == 1, f"{old!r} must occur once in {file}"
        path.write_text(text.replace(old, new))
        return copy

    return edited


def pods_of(sandbox, app: str) -> dict[str, str]:
    """Pods that stay, by uid, with their addresses."""
    pods = json.loads(sandbox.kubectl("-n", NAMESPACE, "get", "pods", "-l", f"app={app}", "-o", "json").stdout)
    return {
        pod["metadata"]["uid"]: pod["status"].get("podIP", "")
        for pod in pods["items"]
        if "deletionTimestamp" not in pod["metadata"]
    }


def test_check_mode_succeeds_on_an_empty_cluster_and_changes_nothing(checked_before, empty_sandbox):
    succeeded(checked_before)
    assert "would create" in checked_before.stdout


def test_every_object_of_the_documents_is_there_after_the_first_run(deployed):
    names = deployed.kubectl(
        "-n", NAMESPACE, "get", "deployment,statefulset,hpa,targetgroupbinding,externalsecret,service,pdb", "-o", "name"
    ).stdout.split()
    for service in SERVICES:
        assert f"deployment.apps/{service}" in names
        assert f"service/{service}" in names
        assert f"poddisruptionbudget.policy/{service}" in names
        assert f"horizontalpodautoscaler.autoscaling/{service}-hpa" in names
        binding = service.removesuffix("-service")
        assert f"targetgroupbinding.elbv2.k8s.aws/{binding}-tgb" in names
    for name in (
        "statefulset.apps/kafka",
        "statefulset.apps/zookeeper",
        "service/kafka-service",
        "service/kafka-headless",
    ):
        assert name in names
    assert "externalsecret.external-secrets.io/mysql-secret" in names


def test_the_target_groups_hold_exactly_the_addresses_of_the_ready_pods(deployed):
    for group, service in TARGET_GROUPS.items():
        groups = json.loads(deployed.aws("elbv2", "describe-target-groups", "--names", group).stdout)["TargetGroups"]
        arn = groups[0]["TargetGroupArn"]
        targets = json.loads(deployed.aws("elbv2", "describe-target-health", "--target-group-arn", arn).stdout)
        registered = {
            target["Target"]["Id"]: target["TargetHealth"]["State"] for target in targets["TargetHealthDescriptions"]
        }
        assert registered == dict.fromkeys(pods_of(deployed, service).values(), "healthy")


def test_the_external_secret_is_synced_and_its_value_never_printed(deployed):
    keys = json.loads(deployed.kubectl("-n", NAMESPACE, "get", "secret", "mysql-secret", "-o", "json").stdout)["data"]
    assert set(keys) == {"username", "password"}


def test_the_second_run_changes_nothing(deployed):
    assert changed(succeeded(deployed.ansible_playbook("site.yml"))) == 0


def test_check_mode_on_the_deployed_platform_reports_no_change(deployed):
    assert changed(succeeded(deployed.ansible_playbook("site.yml", "--check", "--diff"))) == 0


@pytest.mark.parametrize("phase", ["preflight", "prerequisites", "base", "infra", "apps", "exposure", "verify"])
def test_each_phase_runs_alone(deployed, phase):
    assert changed(succeeded(deployed.ansible_playbook(f"{phase}.yml"))) == 0


def test_one_phase_runs_by_its_tag(deployed):
    run = succeeded(deployed.ansible_playbook("site.yml", "--tags", "infra"))
    assert "Roll out infrastructure" in run.stdout
    assert "Roll out the services" not in run.stdout


def test_a_changed_config_map_value_rolls_exactly_the_pods_that_use_it(deployed, inventory):
    before = {service: pods_of(deployed, service) for service in SERVICES}
    edited = inventory(
        "base.yml",
        "GRPC_ADDRESS: approval-processing-service:9090",
        "GRPC_ADDRESS: dns:///approval-processing-service:9090",
    )
    succeeded(deployed.ansible_playbook("site.yml", "--tags", "base,apps", inventory=edited))
    after = {service: pods_of(deployed, service) for service in SERVICES}
    assert not before["approval-request-service"].keys() & after["approval-request-service"].keys()
    for service in ("approval-processing-service", "notification-service"):
        assert before[service].keys() == after[service].keys()


def test_a_rotated_secret_rolls_exactly_the_pods_that_use_it(deployed):
    before = {service: pods_of(deployed, service) for service in SERVICES}
    secret = {"username": "erp", "password": "rotated"}
    deployed.aws(
        "secretsmanager", "put-secret-value", "--secret-id", "erp/dev/mysql", "--secret-string", json.dumps(secret)
    )
    # ExternalSecrets are refreshed hourly; an annotation asks for it now, as ESO documents.
    deployed.kubectl("-n", NAMESPACE, "annotate", "externalsecret", "mysql-secret", "force-sync=rotated", "--overwrite")
    deployed.kubectl(
        "-n", NAMESPACE, "wait", "secret/mysql-secret", "--for=jsonpath={.data.password}=cm90YXRlZA==", "--timeout=60s"
    )
    run = succeeded(deployed.ansible_playbook("site.yml", "--tags", "apps", "--diff"))
    assert "rotated" not in run.stdout
    after = {service: pods_of(deployed, service) for service in SERVICES}
    assert not before["approval-request-service"].keys() & after["approval-request-service"].keys()
    assert before["notification-service"].keys() == after["notification-service"].keys()


def test_a_key_removed_from_the_inventory_is_removed_from_the_cluster(deployed, inventory):
    inventory(
        "base.yml",
        "    KAFKA_BOOTSTRAP_SERVERS: kafka-service:9092\n",
        '    KAFKA_BOOTSTRAP_SERVERS: kafka-service:9092\n    EXTRA: "1"\n',
    )
    edited = inventory("services.yml", "    ports: {http: 8084}\n", '    ports: {http: 8084}\n    env: {EXTRA: "1"}\n')
    succeeded(deployed.ansible_playbook("site.yml", "--tags", "base,apps", inventory=edited))
    config = json.loads(deployed.kubectl("-n", NAMESPACE, "get", "configmap", "erp-config", "-o", "json").stdout)
    assert config["data"]["EXTRA"] == "1"
    succeeded(deployed.ansible_playbook("site.yml", "--tags", "base,apps"))
    config = json.loads(deployed.kubectl("-n", NAMESPACE, "get", "configmap", "erp-config", "-o", "json").stdout)
    assert "EXTRA" not in config["data"]
    deployment = deployed.kubectl("-n", NAMESPACE, "get", "deployment", "notification-service", "-o", "json").stdout
    assert "EXTRA" not in deployment


def test_autoscaling_removed_from_the_inventory_removes_the_hpas_and_keeps_the_pods(deployed, inventory):
    before = {service: pods_of(deployed, service) for service in SERVICES}
    edited = inventory("services.yml", "  autoscaling: {min: 2, max: 3, cpu: 70}\n", "")
    succeeded(deployed.ansible_playbook("site.yml", "--tags", "apps,exposure", inventory=edited))
    assert deployed.kubectl("-n", NAMESPACE, "get", "hpa", "-o", "name").stdout == ""
    assert {service: pods_of(deployed, service) for service in SERVICES} == before
    succeeded(deployed.ansible_playbook("site.yml", "--tags", "apps,exposure"))
    assert len(deployed.kubectl("-n", NAMESPACE, "get", "hpa", "-o", "name").stdout.split()) == len(SERVICES)
    assert {service: pods_of(deployed, service) for service in SERVICES} == before


def test_a_service_removed_from_the_inventory_is_removed_from_the_cluster(deployed, inventory):
    services = (REPOSITORY / "inventories/dev/group_vars/clusters/services.yml").read_text()
    block = re.search(r"  notification-service:\n(?:    .*\n|\n)+?(?=  employee-service:)", services).group(0)
    edited = inventory("services.yml", block, "")
    succeeded(deployed.ansible_playbook("site.yml", "--tags", "apps,exposure", inventory=edited))
    names = deployed.kubectl(
        "-n",
        NAMESPACE,
        "get",
        "deployment,hpa,targetgroupbinding,service,serviceaccount,networkpolicy,pdb",
        "-o",
        "name",
    ).stdout
    assert "notification" not in names
    succeeded(deployed.ansible_playbook("site.yml", "--tags", "apps,exposure"))
    assert len(pods_of(deployed, "notification-service")) == 2
