"""What a fresh sandbox holds, and how its pods behave."""

from __future__ import annotations

import json
import time

import pytest

ACCOUNT = "806332783810"
WAIT = ("--timeout=50s",)


def get(sandbox, *arguments):
    return json.loads(sandbox.kubectl("get", "-o", "json", *arguments).stdout)


def aws(sandbox, *arguments):
    return json.loads(sandbox.aws(*arguments, "--output", "json").stdout)


def apply(sandbox, *objects):
    sandbox.kubectl("apply", "-f", "-", stdin="\n---\n".join(json.dumps(item) for item in objects))


def pod(name, namespace, annotations=None, **spec):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations or {}},
        "spec": {"containers": [{"name": "app", "image": "registry.example/app:1"}], **spec},
    }


def container_status(sandbox, namespace, name):
    return get(sandbox, "pod", name, "-n", namespace)["status"]["containerStatuses"][0]


def test_the_nodes_are_two_for_services_and_two_tainted_ones_for_kafka_in_both_zones(sandbox):
    nodes = get(sandbox, "nodes", "-l", "eks.amazonaws.com/nodegroup")["items"]
    found = {
        (
            node["metadata"]["labels"].get("workload"),
            node["metadata"]["labels"]["topology.kubernetes.io/zone"],
            *(f"{taint['key']}={taint['value']}:{taint['effect']}" for taint in node["spec"].get("taints", [])),
        )
        for node in nodes
    }
    assert found == {
        (None, "ap-northeast-2a"),
        (None, "ap-northeast-2c"),
        ("kafka", "ap-northeast-2a", "workload=kafka:NoSchedule"),
        ("kafka", "ap-northeast-2c", "workload=kafka:NoSchedule"),
    }


def test_each_node_is_an_instance_of_the_cloud(sandbox):
    nodes = get(sandbox, "nodes", "-l", "eks.amazonaws.com/nodegroup")["items"]
    reservations = aws(sandbox, "ec2", "describe-instances")["Reservations"]
    instances = {
        f"aws:///{instance['Placement']['AvailabilityZone']}/{instance['InstanceId']}"
        for reservation in reservations
        for instance in reservation["Instances"]
    }
    assert {node["spec"]["providerID"] for node in nodes} <= instances


def test_the_eks_record_names_this_cluster_and_its_network(sandbox):
    cluster = aws(sandbox, "eks", "describe-cluster", "--name", "erp-dev-cluster")["cluster"]
    kubeconfig = json.loads(sandbox.kubectl("config", "view", "--raw", "--minify", "-o", "json").stdout)
    context = kubeconfig["clusters"][0]
    assert kubeconfig["current-context"] == cluster["arn"]
    assert context["cluster"]["server"] == cluster["endpoint"]
    assert context["cluster"]["certificate-authority-data"] == cluster["certificateAuthority"]["data"]
    assert cluster["status"] == "ACTIVE"
    vpcs = {vpc["VpcId"] for vpc in aws(sandbox, "ec2", "describe-vpcs")["Vpcs"] if vpc["CidrBlock"] == "10.42.0.0/16"}
    assert {cluster["resourcesVpcConfig"]["vpcId"]} == vpcs


def test_the_account_and_what_terraform_owns_are_there(sandbox):
    assert aws(sandbox, "sts", "get-caller-identity")["Account"] == ACCOUNT
    groups = aws(sandbox, "elbv2", "describe-target-groups")["TargetGroups"]
    assert {(group["TargetGroupName"], group.get("Port"), group["TargetType"]) for group in groups} >= {
        ("erp-dev-approval-req-nlb-tg", 8082, "ip"),
        ("erp-dev-approval-proc-nlb-tg", 8083, "ip"),
        ("erp-dev-notification-nlb-tg", 8084, "ip"),
        ("erp-dev-employee-alb-tg", None, "lambda"),
    }
    balancers = aws(sandbox, "elbv2", "describe-load-balancers")["LoadBalancers"]
    assert {(balancer["LoadBalancerName"], balancer["Type"]) for balancer in balancers} >= {
        ("erp-dev-nlb", "network"),
        ("erp-dev-alb", "application"),
    }
    secret = aws(sandbox, "secretsmanager", "get-secret-value", "--secret-id", "erp/dev/mysql")["SecretString"]
    assert set(json.loads(secret)) == {"username", "password"}


def test_a_claim_binds_once_its_pod_has_a_node_to_a_volume_in_that_zone(sandbox, namespace):
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Gi"}}},
    }
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    apply(sandbox, claim, pod("user", namespace, volumes=volumes))
    sandbox.kubectl("wait", "-n", namespace, "pod/user", "--for=condition=Ready", *WAIT)
    bound = get(sandbox, "pvc", "data", "-n", namespace)
    assert bound["spec"]["storageClassName"] == "gp3"
    volume = get(sandbox, "pv", bound["spec"]["volumeName"])
    node = get(sandbox, "node", get(sandbox, "pod", "user", "-n", namespace)["spec"]["nodeName"])
    required = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]
    assert required["values"] == [node["metadata"]["labels"]["topology.kubernetes.io/zone"]]


def test_a_pod_is_ready_when_its_start_seconds_are_over_and_not_before(sandbox, namespace):
    apply(sandbox, pod("slow", namespace, {"sandbox.erp.platform/start-seconds": "4"}))
    started = time.monotonic()
    sandbox.kubectl("wait", "-n", namespace, "pod/slow", "--for=condition=Ready", *WAIT)
    assert time.monotonic() - started > 3


@pytest.mark.parametrize(
    ("failure", "reason", "message"),
    [
        ("CrashLoopBackOff", "CrashLoopBackOff", "back-off"),
        ("ImagePullBackOff", "ImagePullBackOff", "i/o timeout"),
        ("ErrImagePull-not-found", "ImagePullBackOff", "registry.example/app:1: not found"),
        ("CreateContainerConfigError", "CreateContainerConfigError", 'configmap "missing" not found'),
    ],
)
def test_a_pod_fails_as_its_annotation_says(sandbox, namespace, failure, reason, message):
    apply(sandbox, pod("fails", namespace, {"sandbox.erp.platform/failure": failure}))
    waiting = "jsonpath={.status.containerStatuses[0].state.waiting.reason}=" + reason
    sandbox.kubectl("wait", "-n", namespace, "pod/fails", f"--for={waiting}", *WAIT)
    described = sandbox.kubectl("get", "pod", "fails", "-n", namespace, "-o", "json").stdout
    assert message in json.dumps(json.loads(described)["status"]).replace('\\"', '"')


def test_a_container_out_of_memory_restarts_again_and_again_with_its_exit_code(sandbox, namespace):
    apply(sandbox, pod("hungry", namespace, {"sandbox.erp.platform/failure": "OOMKilled"}))
    restarted = "jsonpath={.status.containerStatuses[0].restartCount}=2"
    sandbox.kubectl("wait", "-n", namespace, "pod/hungry", f"--for={restarted}", *WAIT)
    last = container_status(sandbox, namespace, "hungry")["lastState"]["terminated"]
    assert (last["reason"], last["exitCode"]) == ("OOMKilled", 137)


def test_a_pod_whose_probe_fails_runs_and_says_so_but_is_never_ready(sandbox, namespace):
    apply(sandbox, pod("unready", namespace, {"sandbox.erp.platform/failure": "never-ready"}))
    started = "jsonpath={.status.containerStatuses[0].started}=true"
    sandbox.kubectl("wait", "-n", namespace, "pod/unready", f"--for={started}", *WAIT)
    assert container_status(sandbox, namespace, "unready")["ready"] is False
    events = get(sandbox, "events", "-n", namespace, "--field-selector", "involvedObject.name=unready")["items"]
    assert "Unhealthy" in {event["reason"] for event in events}


def test_a_pod_recovers_when_its_annotation_is_removed(sandbox, namespace):
    apply(sandbox, pod("ill", namespace, {"sandbox.erp.platform/failure": "ErrImagePull-not-found"}))
    waiting = "jsonpath={.status.containerStatuses[0].state.waiting.reason}=ImagePullBackOff"
    sandbox.kubectl("wait", "-n", namespace, "pod/ill", f"--for={waiting}", *WAIT)
    sandbox.kubectl("annotate", "-n", namespace, "pod/ill", "sandbox.erp.platform/failure-")
    sandbox.kubectl("wait", "-n", namespace, "pod/ill", "--for=condition=Ready", *WAIT)


def test_a_pod_with_a_readiness_gate_follows_the_condition_of_the_gate(sandbox, namespace):
    apply(sandbox, pod("gated", namespace, readinessGates=[{"conditionType": "example.com/gate"}]))
    sandbox.kubectl("wait", "-n", namespace, "pod/gated", "--for=condition=ContainersReady", *WAIT)
    conditions = get(sandbox, "pod", "gated", "-n", namespace)["status"]["conditions"]
    ready = next(condition for condition in conditions if condition["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "ReadinessGatesNotReady")
    for status in ("True", "False"):
        patch = {"status": {"conditions": [{"type": "example.com/gate", "status": status}]}}
        sandbox.kubectl("patch", "pod", "gated", "-n", namespace, "--subresource=status", "-p", json.dumps(patch))
        sandbox.kubectl("wait", "-n", namespace, "pod/gated", f"--for=condition=Ready={status}", *WAIT)


@pytest.mark.parametrize(
    ("annotations", "condition"), [({}, "Complete"), ({"sandbox.erp.platform/failure": "CrashLoopBackOff"}, "Failed")]
)
def test_a_job_ends_as_its_pods_do(sandbox, namespace, annotations, condition):
    template = {
        "metadata": {"annotations": annotations},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "app", "image": "app"}]},
    }
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "task", "namespace": namespace},
        "spec": {"backoffLimit": 0, "template": template},
    }
    apply(sandbox, job)
    sandbox.kubectl("wait", "-n", namespace, "job/task", f"--for=condition={condition}", *WAIT)


def test_the_log_of_a_pod_can_be_read_and_says_that_it_is_simulated(sandbox, namespace):
    apply(sandbox, pod("talks", namespace))
    sandbox.kubectl("wait", "-n", namespace, "pod/talks", "--for=condition=Ready", *WAIT)
    assert "simulated container" in sandbox.kubectl("logs", "-n", namespace, "talks").stdout


def test_the_health_of_a_target_is_what_a_tag_says(sandbox):
    group = aws(
        sandbox,
        "elbv2",
        "create-target-group",
        "--name",
        "test-health",
        "--target-type",
        "ip",
        "--protocol",
        "TCP",
        "--port",
        "80",
        "--vpc-id",
        _vpc(sandbox),
    )
    arn = group["TargetGroups"][0]["TargetGroupArn"]
    sandbox.aws("elbv2", "register-targets", "--target-group-arn", arn, "--targets", "Id=10.42.1.1,Port=80")
    key = "sandbox.erp.platform/health/10.42.1.1"
    sandbox.aws("elbv2", "add-tags", "--resource-arns", arn, "--tags", f"Key={key},Value=unhealthy:Target.Timeout")
    assert _health(sandbox, arn) == ("unhealthy", "Target.Timeout")
    sandbox.aws("elbv2", "remove-tags", "--resource-arns", arn, "--tag-keys", key)
    assert _health(sandbox, arn)[0] == "healthy"
    sandbox.aws("elbv2", "delete-target-group", "--target-group-arn", arn)


def _vpc(sandbox):
    return aws(sandbox, "eks", "describe-cluster", "--name", "erp-dev-cluster")["cluster"]["resourcesVpcConfig"][
        "vpcId"
    ]


def _health(sandbox, arn):
    found = aws(sandbox, "elbv2", "describe-target-health", "--target-group-arn", arn)["TargetHealthDescriptions"]
    return found[0]["TargetHealth"]["State"], found[0]["TargetHealth"].get("Reason")
