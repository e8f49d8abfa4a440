"""What the gate says about pods that cannot run: cause, evidence and next command, by real situations."""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import yaml
from ansible_collections.erp.platform.plugins.module_utils.errors import PlatformError

from .conftest import Sandbox
from .manifests import Manifest, config_map, deployment
from .situations import Diagnose, apply, diagnose, diagnose_all, failing, pod_of

GATE = "target-health.elbv2.k8s.aws/web-tgb"
REGISTRY = "registry.example"
PASSWORD = "never-to-be-shown"
EXPECTED = yaml.safe_load((Path(__file__).parent / "diagnoses/pods.yml").read_text())


def pull_secret(namespace: str, name: str, *registries: str) -> Manifest:
    auths = {registry: {"auth": base64.b64encode(f"erp:{PASSWORD}".encode()).decode()} for registry in registries}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": json.dumps({"auths": auths})},
    }


def service(namespace: str, name: str, port: int, **selector: str) -> Manifest:
    metadata = {"name": name, "namespace": namespace}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"selector": selector or {"app": name}, "ports": [{"port": port}]},
    }


def env(**variables: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in variables.items()]


def crashing(namespace: str, name: str, container: str, **variables: str) -> Manifest:
    manifest = failing(namespace, name, "CrashLoopBackOff", container=container)
    pod_of(manifest)["spec"]["containers"][0]["env"] = env(**variables)
    return manifest


def with_image(manifest: Manifest, image: str) -> Manifest:
    pod_of(manifest)["spec"]["containers"][0]["image"] = image
    return manifest


def situations(ns: str) -> list[Manifest]:
    """All at once, so that those which take some seconds take them together."""
    names = [{"name": "regcred"}]
    wants_gpu = deployment(ns, "wants-gpu")
    pod_of(wants_gpu)["spec"]["nodeSelector"] = {"workload": "gpu"}
    wants_claim = deployment(ns, "wants-claim")
    claim = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    pod_of(wants_claim)["spec"]["volumes"] = [claim]
    on_kafka = deployment(ns, "on-kafka")
    pod_of(on_kafka)["spec"]["nodeSelector"] = {"workload": "kafka"}
    gated = deployment(ns, "gated")
    unhealthy = deployment(ns, "unhealthy")
    for manifest in (gated, unhealthy):
        pod_of(manifest)["spec"]["readinessGates"] = [{"conditionType": GATE}]
    kafka_broker = failing(ns, "kafka", "never-ready")
    kafka_broker["kind"] = "StatefulSet"
    kafka_broker["spec"].update(replicas=3, serviceName="kafka")
    needs_init = failing(ns, "init-fails", "init-crash", annotations={"sandbox.erp.platform/exit-code": "127"})
    pod_of(needs_init)["spec"]["initContainers"] = [{"name": "migrate", "image": f"{REGISTRY}/migrate:1"}]
    sidecar = failing(ns, "sidecar-fails", "init-crash")
    sidecars = [{"name": "xray", "image": f"{REGISTRY}/xray:1", "restartPolicy": "Always"}]
    pod_of(sidecar)["spec"]["initContainers"] = sidecars
    limited = failing(ns, "limited", "OOMKilled")
    pod_of(limited)["spec"]["containers"][0]["resources"] = {"limits": {"memory": "64Mi"}}
    asks_mongodb = crashing(ns, "asks-mongodb", "misses-mongodb")
    pod_of(asks_mongodb)["spec"]["containers"][0]["envFrom"] = [{"configMapRef": {"name": "mongo"}}]
    ecr = "806332783810.dkr.ecr.ap-northeast-2.amazonaws.com/erp/web:v9"
    return [
        pull_secret(ns, "hub-only", "docker.io"),
        pull_secret(ns, "right-registry", REGISTRY),
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "opaque", "namespace": ns}},
        with_image(failing(ns, "no-such-tag", "ErrImagePull-not-found"), ecr),
        failing(ns, "no-credentials", "ErrImagePull-unauthorized"),
        failing(ns, "no-secret", "ErrImagePull-unauthorized", imagePullSecrets=names),
        failing(ns, "wrong-registry", "ErrImagePull-forbidden", imagePullSecrets=[{"name": "hub-only"}]),
        failing(ns, "wrong-type", "ErrImagePull-unauthorized", imagePullSecrets=[{"name": "opaque"}]),
        failing(ns, "wrong-password", "ErrImagePull-forbidden", imagePullSecrets=[{"name": "right-registry"}]),
        failing(ns, "unreachable", "ImagePullBackOff"),
        failing(ns, "bad-name", "InvalidImageName"),
        failing(ns, "never-pulled", "ErrImageNeverPull"),
        failing(ns, "no-config", "CreateContainerConfigError"),
        failing(ns, "no-command", "CreateContainerError"),
        failing(ns, "not-started", "RunContainerError"),
        failing(ns, "not-ready", "never-ready"),
        limited,
        failing(ns, "no-program", "CrashLoopBackOff", annotations={"sandbox.erp.platform/exit-code": "127"}),
        needs_init,
        sidecar,
        crashing(ns, "asks-kafka", "misses-kafka", KAFKA_BOOTSTRAP="kafka-service:9092", DB_PASSWORD=PASSWORD),
        service(ns, "kafka-service", 9092, app="kafka"),
        crashing(ns, "asks-mysql", "misses-mysql"),
        config_map(ns, "mongo", MONGODB_URI="mongodb://erp:pw@mongodb:27017/erp"),
        asks_mongodb,
        service(ns, "mongodb", 27017),
        deployment(ns, "mongodb"),
        wants_gpu,
        wants_claim,
        on_kafka,
        gated,
        unhealthy,
        kafka_broker,
    ]


@pytest.fixture(scope="module")
def space(sandbox: Sandbox) -> Iterator[str]:
    """A namespace in which all of it has gone wrong."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    sandbox.kubectl("create", "namespace", name)
    apply(sandbox, situations(name))
    yield name
    sandbox.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def said(sandbox: Sandbox, space: str) -> Diagnose:
    return diagnose(sandbox, space)


@pytest.fixture(scope="module")
def failures(sandbox: Sandbox, space: str) -> Mapping[str, PlatformError]:
    """What one gate says about all of them, by name."""
    # These take some seconds; a gate reports only what has failed soon after the first failure.
    crashing = {"limited", "no-program", "asks-kafka", "asks-mysql", "asks-mongodb"}
    one = diagnose(sandbox, space)
    crashed = {name: one("Deployment", name, timeout_seconds=60.0) for name in sorted(crashing)}
    return {**crashed, **diagnose_all(sandbox, space, "Deployment", EXPECTED.keys() - crashing)}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_pod_that_cannot_run_is_explained(
    sandbox: Sandbox, failures: Mapping[str, PlatformError], space: str, name: str
) -> None:
    (pod,) = json.loads(sandbox.kubectl("-n", space, "get", "pods", "-l", f"app={name}", "-o", "json").stdout)["items"]
    words = {
        "ns": space,
        "pod": pod["metadata"]["name"],
        "node": pod["spec"].get("nodeName"),
        "kafka_nodes": kafka(sandbox),
    }
    expected = {key: text.format(**words) for key, text in EXPECTED[name].items()}
    error = failures[name]
    assert error.object == f"Deployment {space}/{name}"
    assert error.cause == expected["cause"]
    assert expected["evidence"] in error.evidence
    assert error.next_command == expected["next"]


def kafka(sandbox: Sandbox) -> str:
    nodes = json.loads(sandbox.kubectl("get", "nodes", "-l", "workload=kafka", "-o", "json").stdout)["items"]
    return ", ".join(node["metadata"]["name"] for node in nodes)


@pytest.fixture(scope="module")
def late(sandbox: Sandbox, space: str) -> Mapping[str, PlatformError]:
    """What a gate says at its deadline about pods that run but never get ready, by name."""
    pod = ("pod", "-l", "app=unhealthy")
    sandbox.kubectl("-n", space, "wait", *pod, "--for=condition=ContainersReady", "--timeout=60s")
    name = sandbox.kubectl("-n", space, "get", *pod, "-o", "name").stdout.strip()
    gate = {"type": GATE, "status": "False", "reason": "Target.Timeout", "message": "Request timed out"}
    conditions = json.dumps({"status": {"conditions": [gate]}})
    sandbox.kubectl("-n", space, "patch", name, "--subresource=status", "-p", conditions)
    sandbox.kubectl("-n", space, "wait", "pod/kafka-0", "--for=jsonpath={.status.phase}=Running", "--timeout=60s")
    deployments = diagnose_all(sandbox, space, "Deployment", ["not-ready", "gated", "unhealthy"], timeout_seconds=6.0)
    return {**deployments, **diagnose_all(sandbox, space, "StatefulSet", ["kafka"], timeout_seconds=4.0)}


def test_at_the_deadline_a_failing_probe_is_the_reason(late: Mapping[str, PlatformError], space: str) -> None:
    error = late["not-ready"]
    assert because(error) == "the readiness probe of container web fails"
    assert "Readiness probe failed: HTTP probe failed with statuscode: 503" in error.evidence
    assert "log of container web:\n  simulated container" in error.evidence
    assert re.fullmatch(rf"kubectl -n {space} logs not-ready-\S+ -c web", error.next_command)


def test_at_the_deadline_an_unmet_readiness_gate_is_the_reason(late: Mapping[str, PlatformError], space: str) -> None:
    error = late["gated"]
    registered = "the AWS Load Balancer Controller has not registered the pod"
    assert because(error) == f"its readiness gate {GATE} is not met: {registered}"
    assert f"{GATE}: nobody has set this condition" in error.evidence
    assert error.next_command == f"kubectl -n {space} describe targetgroupbinding web-tgb"


def test_an_unhealthy_target_is_said_to_be_unhealthy(late: Mapping[str, PlatformError]) -> None:
    error = late["unhealthy"]
    assert because(error).endswith("the load balancer's health check does not pass: Request timed out")
    assert "Target.Timeout: Request timed out" in error.evidence
    assert error.next_command.startswith("aws elbv2 describe-target-health --target-group-arn ")


def test_pods_of_a_stateful_set_that_wait_for_a_lower_one_say_so(late: Mapping[str, PlatformError], space: str) -> None:
    error = late["kafka"]
    assert because(error) == "2 of 3 pods are not made until pod kafka-0 is ready"
    assert "pod kafka-0 ContainersNotReady" in error.evidence
    assert error.next_command == f"kubectl -n {space} describe pod kafka-0"


def because(error: PlatformError) -> str:
    after, _colon, rest = error.cause.partition(": ")
    assert re.fullmatch(r"not ready after \d+ s", after)
    return rest


def test_a_pod_that_wants_more_than_any_node_has_is_told_how_much_that_is(
    sandbox: Sandbox, said: Diagnose, space: str
) -> None:
    apply(sandbox, [wanting(space, "too-big", "1000"), wanting(space, "half-a-node", "5", replicas=4)])
    error = said("Deployment", "too-big")
    assert error.cause == "no node can take the pod: it wants cpu 1000, more than any node for it has (8)"
    assert re.search(r"cpu: ip-10-\S+ \S+ of 8, ip-10-\S+ \S+ of 8 free", error.evidence)
    command = f"kubectl -n {space} set resources deployment too-big --requests=cpu=…, or larger nodes"
    assert error.next_command == command


def test_a_pod_for_which_all_nodes_are_too_full_is_told_where_most_is_free(said: Diagnose) -> None:
    error = said("Deployment", "half-a-node")
    found = re.fullmatch(
        r"no node can take the pod: it wants cpu 5, most free: (\S+) ([\d.]+) of 8, (\S+) ([\d.]+) of 8", error.cause
    )
    assert found, error.cause
    assert 0 < float(found[4]) <= float(found[2]) < 5
    assert error.next_command == f"kubectl describe node {found[1]}  (Allocated resources), or add a node"


def test_a_job_that_failed_shows_how_its_container_ended(sandbox: Sandbox, said: Diagnose, space: str) -> None:
    annotations = {"sandbox.erp.platform/failure": "error", "sandbox.erp.platform/start-seconds": "0.1"}
    template = {
        "metadata": {"annotations": annotations},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "misses-mysql", "image": f"{REGISTRY}/migrate:1"}]},
    }
    metadata = {"name": "migrate", "namespace": space}
    spec = {"backoffLimit": 0, "template": template}
    apply(sandbox, [{"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}])
    error = said("Job", "migrate")
    assert error.cause == (
        "the Job failed: its pods failed too often; container misses-mysql ended with exit code 1: "
        "it probably cannot reach mysql-service: the namespace has no Service of that name"
    )
    assert "UnknownHostException: mysql-service" in error.evidence
    assert error.next_command == f"kubectl -n {space} get services"


def test_no_secret_is_in_any_of_it(failures: Mapping[str, PlatformError]) -> None:
    for error in failures.values():
        text = json.dumps(error.as_dict())
        assert "not-for-eyes" not in text
        assert PASSWORD not in text
        assert base64.b64encode(f"erp:{PASSWORD}".encode()).decode() not in text
    assert "jdbc:mysql://********:********@mysql:3306/erp" in failures["asks-kafka"].evidence


def wanting(namespace: str, name: str, cpu: str, *, replicas: int = 1) -> Manifest:
    """A Deployment on the nodes for services, whose pods want this many CPUs."""
    manifest = deployment(namespace, name, replicas=replicas)
    pod_of(manifest)["spec"]["containers"][0]["resources"] = {"requests": {"cpu": cpu}}
    return manifest
