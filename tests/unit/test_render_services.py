"""The manifests of the services, as the role renders them: one entry, many objects (B3)."""

from __future__ import annotations

import json
from collections import Counter

import boto3
import pytest
import yaml
from ansible_collections.erp.platform.plugins.module_utils.services import INFRASTRUCTURE
from moto.server import ThreadedMotoServer

from tests.unit.render import REPOSITORY, container, environment_of, nulls, one, render, restricted_violations

REGION = "ap-northeast-2"
REGISTRY = f"806332783810.dkr.ecr.{REGION}.amazonaws.com/erp"
TARGET_GROUP = (
    f"arn:aws:elasticloadbalancing:{REGION}:806332783810:targetgroup/erp-dev-approval-proc-nlb-tg/0123456789abcdef"
)
DIGEST = "sha256:" + 64 * "a"
DEFAULTS = {
    "replicas": 2,
    "autoscaling": {"min": 2, "max": 3, "cpu": 70},
    "resources": {"requests": {"cpu": "200m", "memory": "256Mi"}, "limits": {"cpu": "500m", "memory": "512Mi"}},
    "tracing": {"xray": "sidecar"},
}
SERVICES = {
    "approval-request-service": {
        "image": {"repository": f"{REGISTRY}/approval-request-service", "tag": "v1.0.0"},
        "ports": {"http": 8082},
        "depends_on": ["kafka", "mongodb", "approval-processing-service", "employee-service"],
        "env": {"SPRING_PROFILES_ACTIVE": "dev", "NO": "yes", "POOL_SIZE": 10},
        "config_env": {"KAFKA_BOOTSTRAP_SERVERS": {"config_map": "erp-config", "key": "KAFKA_BOOTSTRAP_SERVERS"}},
        "secret_env": {"MYSQL_PASSWORD": {"secret": "mysql-secret", "key": "password"}},
    },
    "approval-processing-service": {
        "image": {"repository": f"{REGISTRY}/approval-processing-service", "tag": "v1.0.0", "digest": DIGEST},
        "ports": {"http": 8083, "grpc": 9090},
        "resources": {"limits": {"cpu": "1"}},
        "service_account": {"role_arn": "arn:aws:iam::806332783810:role/erp-dev-xray"},
        "expose": {"target_group": {"arn": TARGET_GROUP}},
        "termination": {"pre_stop_seconds": 20, "grace_seconds": 90},
        "health": {"startup_seconds": 121},
        "disruption": {"min_available": 1},
    },
    "notification-service": {
        "image": {"repository": f"{REGISTRY}/notification-service", "tag": "v1.0.0"},
        "ports": {"http": 8084},
        "start_after": ["approval-request-service"],
        "tracing": {"xray": "none"},
        "writable_paths": [],
        "placement": {"node_selector": {"workload": "web"}, "tolerations": [{"operator": "Exists"}]},
    },
    "employee-service": {
        "runtime": "lambda",
        "image": {"repository": f"{REGISTRY}/employee-service", "tag": "v1.0.0"},
        "lambda": {"role_arn": "arn:aws:iam::806332783810:role/erp-dev-employee-service"},
    },
}
DEV = {
    "microservices_namespace": "erp-dev",
    "microservices_environment": "dev",
    "microservices_service_defaults": DEFAULTS,
    "microservices_services": SERVICES,
    "microservices_external_dependencies": {
        "mongodb": {"ports": [27017], "cidrs": ["0.0.0.0/0"]},
        "employee-service": {"ports": [8081], "cidrs": ["10.0.0.0/16"]},
    },
}
PLAIN = {"image": {"repository": "example.com/plain", "tag": "v1"}, "ports": {"http": 8080}}

SCALED = {
    **PLAIN,
    "replicas": 3,
    "autoscaling": {"min": 2, "max": 5, "cpu": 70, "memory": 80},
    "resources": {"requests": {"cpu": "200m", "memory": "256Mi"}},
}


CONFIG = {"erp-config": {"KAFKA_BOOTSTRAP_SERVERS": "kafka-service:9092", "PROFILE": "dev"}}
SECRETS = {"mysql-secret": ["password", "username"]}
REFERENCES = {
    "config_env": {
        "KAFKA": {"config_map": "erp-config", "key": "KAFKA_SERVERS"},
        "GRPC": {"config_map": "erp-confg", "key": "GRPC"},
        "NOTHING": {"config_map": "none-yet", "key": "GRPC"},
    }
}
REFERENCES_OF_ALL = {"secret_env": {"MYSQL_PASSWORD": {"secret": "mysql-secret", "key": "pasword"}}}


def of(services, **variables):
    return {**DEV, "microservices_service_defaults": {}, "microservices_services": services, **variables}


@pytest.fixture(scope="module")
def rendered():
    return render(
        "microservices",
        {
            "dev": DEV,
            "plain": of({"plain": PLAIN, "pair": SCALED}),
            "circle": of(
                {"one": {**PLAIN, "depends_on": ["two"]}, "two": {**PLAIN, "depends_on": ["one"]}, "three": PLAIN}
            ),
            "none": of({}),
            "exposed": of(
                {"plain": {**PLAIN, "expose": {"target_group": {"arn": TARGET_GROUP}}}},
                microservices_exposure_cidrs=["10.0.0.0/24"],
            ),
            "regional": of({"plain": {**PLAIN, "tracing": {"xray": "sidecar"}}}, microservices_region="ap-northeast-2"),
            "managed": of(
                {"plain": {**PLAIN, "depends_on": ["kafka", "mongodb"]}},
                microservices_external_dependencies={},
                microservices_infrastructure=[],
            ),
            "own": of({"plain": {**PLAIN, "depends_on": ["redis"]}}, microservices_infrastructure=["redis"]),
            "referring": {**DEV, "microservices_config": CONFIG, "microservices_secrets": SECRETS},
            "misreferring": of(
                {"plain": {**PLAIN, **REFERENCES}},
                microservices_service_defaults=REFERENCES_OF_ALL,
                microservices_config={"none-yet": None, **CONFIG},
                microservices_secrets=SECRETS,
            ),
            "mistakes": of(
                {**SERVICES, "plain": {**PLAIN, "replicaz": 2, "depends_on": ["kafka", "nobody"]}},
                microservices_external_dependencies={"mongodb": {"ports": [27017]}},
                microservices_xray_image={"repository": "xray"},
            ),
        },
    )


@pytest.fixture(scope="module")
def dev(rendered):
    return [manifest for node in rendered["dev"]["nodes"] for manifest in node["manifests"]]


def test_one_entry_yields_every_object_of_a_service(rendered):
    kinds = {node["name"]: Counter(item["kind"] for item in node["manifests"]) for node in rendered["dev"]["nodes"]}
    every = ("ServiceAccount", "NetworkPolicy", "Service", "Deployment", "PodDisruptionBudget")
    assert kinds["approval-processing-service"] == Counter((*every, "TargetGroupBinding"))
    assert kinds["notification-service"] == Counter(every)
    assert kinds.keys() == SERVICES.keys() - {"employee-service"}
    assert {node["name"] for node in rendered["dev"]["exposure_nodes"]} == kinds.keys()


def test_what_others_depend_on_comes_first_and_only_start_after_waits(rendered):
    nodes = {node["name"]: node["depends_on"] for node in rendered["dev"]["nodes"]}
    assert list(nodes) == ["approval-processing-service", "approval-request-service", "notification-service"]
    assert nodes == {
        "approval-processing-service": [],
        "approval-request-service": [],
        "notification-service": ["approval-request-service"],
    }


def test_services_that_depend_on_each_other_are_all_rolled_out(rendered):
    assert [node["name"] for node in rendered["circle"]["nodes"]] == ["three", "one", "two"]


def test_no_services_are_no_nodes(rendered):
    assert (rendered["none"]["nodes"], rendered["none"]["exposure_nodes"]) == ([], [])


def test_a_scaled_deployment_leaves_the_number_of_pods_to_its_autoscaler(dev, rendered):
    deployment = one(dev, "Deployment", "approval-request-service")
    assert "replicas" not in deployment["spec"]
    assert deployment["metadata"]["annotations"] == {"erp.platform/initial-replicas": "2"}
    (scaler,) = next(
        node["manifests"] for node in rendered["dev"]["exposure_nodes"] if node["name"] == "approval-request-service"
    )
    assert scaler["metadata"]["name"] == "approval-request-service-hpa"
    assert scaler["spec"]["scaleTargetRef"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": "approval-request-service",
    }
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (2, 3)
    assert [metric["resource"]["name"] for metric in scaler["spec"]["metrics"]] == ["cpu"]


def test_an_autoscaler_starts_from_the_entrys_replicas_and_may_watch_memory(rendered):
    manifests = [manifest for node in rendered["plain"]["nodes"] for manifest in node["manifests"]]
    assert one(manifests, "Deployment", "pair")["metadata"]["annotations"] == {"erp.platform/initial-replicas": "3"}
    (node,) = rendered["plain"]["exposure_nodes"]
    targets = {
        metric["resource"]["name"]: metric["resource"]["target"]["averageUtilization"]
        for metric in node["manifests"][0]["spec"]["metrics"]
    }
    assert targets == {"cpu": 70, "memory": 80}


def test_an_entry_of_the_bare_minimum_is_one_pod_without_extras(rendered):
    node = next(node for node in rendered["plain"]["nodes"] if node["name"] == "plain")
    assert [item["kind"] for item in node["manifests"]] == ["ServiceAccount", "NetworkPolicy", "Service", "Deployment"]
    deployment = one(node["manifests"], "Deployment", "plain")
    assert deployment["spec"]["replicas"] == 1
    assert "annotations" not in deployment["metadata"]
    assert [each["name"] for each in deployment["spec"]["template"]["spec"]["containers"]] == ["plain"]
    assert container(deployment, "plain")["readinessProbe"]["httpGet"] == {"path": "/actuator/health", "port": "http"}
    assert "egress" not in one(node["manifests"], "NetworkPolicy", "plain")["spec"]


def test_the_role_implies_what_the_schema_of_the_services_says():
    definitions = json.loads((REPOSITORY / "plugins/module_utils/schemas/services.schema.json").read_text())["$defs"]
    implied = yaml.safe_load((REPOSITORY / "roles/microservices/vars/main.yml").read_text())["__microservices_implied"]
    assert implied["runtime"] == definitions["service"]["properties"]["runtime"]["default"]
    for group in ("health", "termination", "tracing"):
        stated = {
            key: value["default"] for key, value in definitions[group]["properties"].items() if "default" in value
        }
        assert implied[group] == stated


def test_an_entry_wins_over_the_defaults_key_by_key(dev):
    deployment = one(dev, "Deployment", "approval-processing-service")
    assert container(deployment, "approval-processing-service")["resources"] == {
        "requests": {"cpu": "200m", "memory": "256Mi"},
        "limits": {"cpu": "1", "memory": "512Mi"},
    }


def test_a_digest_wins_over_a_tag(dev):
    images = {
        item["metadata"]["name"]: container(item, item["metadata"]["name"])["image"]
        for item in dev
        if item["kind"] == "Deployment"
    }
    assert images["approval-processing-service"] == f"{REGISTRY}/approval-processing-service@{DIGEST}"
    assert images["notification-service"] == f"{REGISTRY}/notification-service:v1.0.0"


def test_environment_variables_are_text_or_point_to_their_source(dev):
    environment = environment_of(one(dev, "Deployment", "approval-request-service"), "approval-request-service")
    assert environment["NO"] == "yes"
    assert environment["POOL_SIZE"] == "10"
    assert environment["KAFKA_BOOTSTRAP_SERVERS"] == {
        "configMapKeyRef": {"name": "erp-config", "key": "KAFKA_BOOTSTRAP_SERVERS"}
    }
    assert environment["MYSQL_PASSWORD"] == {"secretKeyRef": {"name": "mysql-secret", "key": "password"}}


def test_the_xray_sidecar_is_the_one_of_the_documents(dev):
    deployment = one(dev, "Deployment", "approval-request-service")
    sidecar = container(deployment, "xray-daemon")
    environment = environment_of(deployment, "approval-request-service")
    assert environment["AWS_XRAY_DAEMON_ADDRESS"] == "127.0.0.1:2000"
    assert environment["AWS_XRAY_CONTEXT_MISSING"] == "LOG_ERROR"
    assert sidecar["ports"] == [{"name": "xray", "protocol": "UDP", "containerPort": 2000}]
    assert sidecar["resources"] == {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}}
    assert sidecar["securityContext"]["runAsUser"] == 1337
    assert not sidecar["image"].endswith(":latest")


def test_the_sidecar_alone_is_told_the_region(dev, rendered):
    (node,) = rendered["regional"]["nodes"]
    deployment = one(node["manifests"], "Deployment", "plain")
    assert environment_of(deployment, "xray-daemon") == {"AWS_REGION": "ap-northeast-2"}
    assert "AWS_REGION" not in environment_of(deployment, "plain")
    assert environment_of(one(dev, "Deployment", "approval-request-service"), "xray-daemon") == {}


def test_a_service_without_tracing_has_no_sidecar(dev):
    deployment = one(dev, "Deployment", "notification-service")
    assert len(deployment["spec"]["template"]["spec"]["containers"]) == 1
    assert environment_of(deployment, "notification-service") == {}


def test_a_pod_outlasts_its_deregistration(dev):
    pod = one(dev, "Deployment", "approval-processing-service")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 90
    assert pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", "20"]


def test_a_startup_probe_gives_at_least_the_time_asked_for(dev):
    probe = container(one(dev, "Deployment", "approval-processing-service"), "approval-processing-service")[
        "startupProbe"
    ]
    assert probe["periodSeconds"] * probe["failureThreshold"] == 125


def test_pods_prefer_spreading_over_zones_and_go_where_they_are_placed(dev):
    pod = one(dev, "Deployment", "notification-service")["spec"]["template"]["spec"]
    (preference,) = pod["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert preference["weight"] == 100
    assert preference["podAffinityTerm"]["topologyKey"] == "topology.kubernetes.io/zone"
    assert preference["podAffinityTerm"]["labelSelector"]["matchExpressions"] == [
        {"key": "app", "operator": "In", "values": ["notification-service"]}
    ]
    assert pod["nodeSelector"] == {"workload": "web"}
    assert pod["tolerations"] == [{"operator": "Exists"}]


def test_a_target_group_binding_is_named_after_the_service_and_binds_its_port(dev):
    binding = one(dev, "TargetGroupBinding", "approval-processing-tgb")
    assert binding["apiVersion"] == "elbv2.k8s.aws/v1beta1"
    assert binding["spec"] == {
        "serviceRef": {"name": "approval-processing-service", "port": 8083},
        "targetGroupARN": TARGET_GROUP,
        "targetType": "ip",
    }


def test_the_network_lets_through_the_edges_of_depends_on_and_nothing_else(dev):
    policy = one(dev, "NetworkPolicy", "approval-request-service")["spec"]
    port = {"protocol": "TCP"}
    (users,) = policy["ingress"]
    assert users["from"] == [{"podSelector": {"matchLabels": {"erp.platform/uses-approval-request-service": "true"}}}]
    assert users["ports"] == [{**port, "port": 8082}]
    assert policy["egress"] == [
        {"to": [{"podSelector": {"matchLabels": {"app": "kafka"}}}]},
        {"to": [{"podSelector": {"matchLabels": {"app": "approval-processing-service"}}}]},
        {"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": [{**port, "port": 27017}]},
        {"to": [{"ipBlock": {"cidr": "10.0.0.0/16"}}], "ports": [{**port, "port": 8081}]},
        {"ports": [{**port, "port": 443}]},
        {
            "to": [{"ipBlock": {"cidr": "169.254.170.23/32"}}, {"ipBlock": {"cidr": "169.254.169.254/32"}}],
            "ports": [{**port, "port": 80}],
        },
    ]


def test_a_pod_is_labelled_with_what_it_uses(dev):
    labels = one(dev, "Deployment", "approval-request-service")["spec"]["template"]["metadata"]["labels"]
    used = {label.removeprefix("erp.platform/uses-") for label, value in labels.items() if value == "true"}
    assert used == set(SERVICES["approval-request-service"]["depends_on"])


def test_a_service_with_a_role_of_its_own_cannot_use_the_nodes(dev):
    egress = one(dev, "NetworkPolicy", "approval-processing-service")["spec"]["egress"]
    assert egress == [{"ports": [{"protocol": "TCP", "port": 443}]}]
    account = one(dev, "ServiceAccount", "approval-processing-service")
    assert account["metadata"]["annotations"] == {
        "eks.amazonaws.com/role-arn": "arn:aws:iam::806332783810:role/erp-dev-xray"
    }


@pytest.mark.parametrize(
    ("scenario", "name", "cidr", "port"),
    [("dev", "approval-processing-service", "0.0.0.0/0", 8083), ("exposed", "plain", "10.0.0.0/24", 8080)],
)
def test_the_load_balancer_reaches_the_exposed_port_only(rendered, scenario, name, cidr, port):
    manifests = [manifest for node in rendered[scenario]["nodes"] for manifest in node["manifests"]]
    exposed = one(manifests, "NetworkPolicy", name)["spec"]["ingress"][1]
    assert exposed == {"from": [{"ipBlock": {"cidr": cidr}}], "ports": [{"protocol": "TCP", "port": port}]}


def test_grpc_is_announced_as_http2_without_tls(dev):
    ports = {port["name"]: port for port in one(dev, "Service", "approval-processing-service")["spec"]["ports"]}
    assert ports["grpc"] == {
        "name": "grpc",
        "protocol": "TCP",
        "port": 9090,
        "targetPort": 9090,
        "appProtocol": "kubernetes.io/h2c",
    }
    assert "appProtocol" not in ports["http"]


def test_every_pod_is_restricted_and_no_field_is_null(dev, rendered):
    for deployment in dev:
        if deployment["kind"] == "Deployment":
            assert list(restricted_violations(deployment)) == []
    assert list(nulls(rendered)) == []


def test_every_object_carries_the_recommended_labels(dev):
    for manifest in dev:
        name = manifest["metadata"]["labels"]["app"]
        assert manifest["metadata"]["labels"] == {
            "app": name,
            "app.kubernetes.io/name": name,
            "app.kubernetes.io/instance": name,
            "app.kubernetes.io/part-of": "erp",
            "app.kubernetes.io/managed-by": "erp.platform",
        }


@pytest.mark.parametrize(
    "problem",
    [
        "erp_services.plain",  # the schema's judgement
        "replicaz",
        "nobody",
        "erp_services.approval-request-service.depends_on: employee-service runs on Lambda",
        "microservices_external_dependencies.mongodb:",
        "microservices_xray_image:",
    ],
)
def test_every_mistake_is_told_in_one_message(rendered, problem):
    assert problem in rendered["mistakes"]["refused"]


def test_a_dependency_that_neither_runs_in_the_cluster_nor_has_an_address_is_refused(rendered):
    refused = rendered["managed"]["refused"]
    for name in ("kafka", "mongodb"):
        assert f"erp_services.plain.depends_on: {name} does not run in the cluster" in refused
        assert f"microservices_external_dependencies.{name}" in refused


def test_infrastructure_in_the_cluster_may_have_any_name(rendered):
    (node,) = rendered["own"]["nodes"]
    egress = one(node["manifests"], "NetworkPolicy", "plain")["spec"]["egress"]
    assert egress == [{"to": [{"podSelector": {"matchLabels": {"app": "redis"}}}]}]


def test_the_role_knows_the_infrastructure_that_the_rules_of_the_services_accept():
    variables = yaml.safe_load((REPOSITORY / "roles/microservices/vars/main.yml").read_text())
    assert tuple(variables["__microservices_well_known_infrastructure"]) == INFRASTRUCTURE


def test_references_to_config_and_secrets_that_exist_are_accepted(rendered):
    assert {node["name"] for node in rendered["referring"]["nodes"]} == SERVICES.keys() - {"employee-service"}


@pytest.mark.parametrize(
    "problem",
    [
        "config_env.KAFKA.key: ConfigMap erp-config has no key KAFKA_SERVERS; it has KAFKA_BOOTSTRAP_SERVERS, PROFILE",
        "config_env.GRPC.config_map: there is no ConfigMap erp-confg; there are erp-config, none-yet",
        "config_env.NOTHING.key: ConfigMap none-yet has no key GRPC; it has none",
        "secret_env.MYSQL_PASSWORD.key: Secret mysql-secret has no key pasword; it has password, username",
    ],
)
def test_a_reference_to_what_does_not_exist_is_refused_naming_what_does(rendered, problem):
    assert f"erp_services.plain.{problem}" in rendered["misreferring"]["refused"].splitlines()


@pytest.fixture(scope="module")
def rendered_with_aws():
    """Renderings against an AWS that has one target group, "known"."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
    }
    try:
        session = boto3.Session("testing", "testing", region_name=REGION)
        ec2, elbv2 = (session.client(name, endpoint_url=environment["AWS_ENDPOINT_URL"]) for name in ("ec2", "elbv2"))
        vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        known = elbv2.create_target_group(Name="known", Protocol="TCP", Port=8080, TargetType="ip", VpcId=vpc)
        found = of({"plain": {**PLAIN, "expose": {"target_group": {"name": "known"}}}})
        lost = of(
            {
                "plain": {**PLAIN, "expose": {"target_group": {"name": "known"}}},
                "other": {**PLAIN, "expose": {"target_group": {"name": "unknown"}}},
            }
        )
        defaults = {"group/community.aws.aws": {"region": REGION}}
        rendered = render("microservices", {"found": found, "lost": lost}, defaults, environment)
    finally:
        server.stop()
    return {**rendered, "arn": known["TargetGroups"][0]["TargetGroupArn"]}


def test_a_target_group_given_by_name_is_looked_up(rendered_with_aws):
    (node,) = rendered_with_aws["found"]["nodes"]
    assert (
        one(node["manifests"], "TargetGroupBinding", "plain-tgb")["spec"]["targetGroupARN"] == rendered_with_aws["arn"]
    )


def test_a_target_group_that_does_not_exist_is_refused_naming_service_name_region_and_what_there_is(rendered_with_aws):
    assert rendered_with_aws["lost"]["refused"] == (
        f"erp_services.other.expose.target_group.name: there is no target group unknown in region {REGION};"
        " there are known"
    )
