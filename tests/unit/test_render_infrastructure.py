"""The manifests of ZooKeeper, Kafka and X-Ray, as the roles render them."""

from __future__ import annotations

import pytest

from tests.unit.render import container, environment_of, nulls, one, render, restricted_violations

KAFKA_NODES = {
    "node_selector": {"workload": "kafka"},
    "tolerations": [{"key": "workload", "operator": "Equal", "value": "kafka", "effect": "NoSchedule"}],
}
ZONE_SPREAD = {
    "podAntiAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {
                "weight": 100,
                "podAffinityTerm": {
                    "labelSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["kafka"]}]},
                    "topologyKey": "topology.kubernetes.io/zone",
                },
            }
        ]
    }
}


@pytest.fixture(scope="module")
def zookeeper():
    def of(**variables):
        return {"zookeeper_namespace": "erp-dev", **variables}

    placement = {f"zookeeper_{key}": value for key, value in KAFKA_NODES.items()}
    return render(
        "zookeeper",
        {
            "dev": of(**placement),
            "single": of(zookeeper_replicas=1),
            "even": of(zookeeper_replicas=2, zookeeper_image={"repository": "zookeeper"}),
        },
    )


@pytest.fixture(scope="module")
def kafka():
    def of(**variables):
        return {"kafka_namespace": "erp-dev", **variables}

    placement = {f"kafka_{key}": value for key, value in KAFKA_NODES.items()}
    digest = "sha256:" + 64 * "a"
    return render(
        "kafka",
        {
            "dev": of(kafka_storage={"size": "10Gi", "storage_class": "gp3"}, **placement),
            "brokers1": of(
                kafka_replicas=1, kafka_image={"repository": "registry.example.com/kafka", "digest": digest}
            ),
            "brokers2": of(kafka_replicas=2),
            "brokers5": of(kafka_replicas=5),
            "external": of(kafka_external_bootstrap_servers=["b-1.msk.example.com:9098"], kafka_zookeeper_connect=""),
            "refused": of(
                kafka_external_bootstrap_servers=["b-1.msk.example.com"],
                kafka_replicas=0,
                kafka_image={"repository": "kafka", "tag": "1", "digest": digest},
            ),
        },
    )


@pytest.fixture(scope="module")
def xray():
    return render(
        "xray",
        {
            "dev": {"xray_role_arn": "arn:aws:iam::806332783810:role/erp-dev-xray", "xray_region": "ap-northeast-2"},
            "refused": {"xray_role_arn": "erp-dev-xray"},
        },
    )


def test_zookeeper_server_ids_are_the_ordinals_counted_from_one(zookeeper):
    servers = one(zookeeper["dev"]["manifests"], "StatefulSet", "zookeeper")
    environment = environment_of(servers, "zookeeper")
    assert servers["spec"]["ordinals"] == {"start": 1}
    assert environment["ZOOKEEPER_SERVER_ID"] == {
        "fieldRef": {"fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']"}
    }
    assert environment["ZOOKEEPER_SERVERS"] == ";".join(
        f"zookeeper-{number}.zookeeper-headless.erp-dev.svc:2888:3888" for number in (1, 2, 3)
    )


def test_zookeeper_servers_start_together_and_find_each_other_before_they_are_ready(zookeeper):
    manifests = zookeeper["dev"]["manifests"]
    assert one(manifests, "StatefulSet", "zookeeper")["spec"]["podManagementPolicy"] == "Parallel"
    headless = one(manifests, "Service", "zookeeper-headless")["spec"]
    assert headless["clusterIP"] == "None"
    assert headless["publishNotReadyAddresses"] is True
    assert [port["port"] for port in headless["ports"]] == [2181, 2888, 3888]
    assert [port["port"] for port in one(manifests, "Service", "zookeeper")["spec"]["ports"]] == [2181]


def test_a_single_zookeeper_server_is_allowed(zookeeper):
    servers = one(zookeeper["single"]["manifests"], "StatefulSet", "zookeeper")
    assert servers["spec"]["replicas"] == 1
    assert ";" not in environment_of(servers, "zookeeper")["ZOOKEEPER_SERVERS"]


def test_an_even_zookeeper_ensemble_is_refused_with_the_reason_and_the_other_problems(zookeeper):
    message = zookeeper["even"]["refused"]
    assert "zookeeper_replicas: 2" in message
    assert "quorum" in message
    assert "odd" in message
    assert "zookeeper_image" in message


def test_kafka_broker_ids_are_the_ordinals(kafka):
    environment = environment_of(one(kafka["dev"]["manifests"], "StatefulSet", "kafka"), "kafka")
    assert environment["KAFKA_BROKER_ID"] == {
        "fieldRef": {"fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']"}
    }


def test_each_kafka_broker_is_advertised_by_its_own_name(kafka):
    brokers = one(kafka["dev"]["manifests"], "StatefulSet", "kafka")
    environment = environment_of(brokers, "kafka")
    assert brokers["spec"]["serviceName"] == "kafka-headless"
    assert environment["KAFKA_ADVERTISED_LISTENERS"] == "PLAINTEXT://$(POD_NAME).kafka-headless.erp-dev.svc:9092"
    # $(POD_NAME) is only expanded if it is defined before.
    assert list(environment).index("POD_NAME") < list(environment).index("KAFKA_ADVERTISED_LISTENERS")


def test_kafka_has_the_names_ports_and_volume_of_the_documents(kafka):
    manifests = kafka["dev"]["manifests"]
    brokers = one(manifests, "StatefulSet", "kafka")["spec"]
    (claim,) = brokers["volumeClaimTemplates"]
    assert [port["port"] for port in one(manifests, "Service", "kafka-service")["spec"]["ports"]] == [9092]
    assert brokers["replicas"] == 3
    assert claim["metadata"]["name"] == "kafka-data"
    assert claim["spec"]["storageClassName"] == "gp3"
    assert claim["spec"]["resources"] == {"requests": {"storage": "10Gi"}}
    mounts = {
        mount["name"]: mount["mountPath"] for mount in brokers["template"]["spec"]["containers"][0]["volumeMounts"]
    }
    assert mounts["kafka-data"] == "/var/lib/kafka/data"


def test_kafka_and_zookeeper_run_on_their_own_nodes_and_prefer_spreading_over_zones(kafka, zookeeper):
    for manifests, name in ((kafka["dev"]["manifests"], "kafka"), (zookeeper["dev"]["manifests"], "zookeeper")):
        pod = one(manifests, "StatefulSet", name)["spec"]["template"]["spec"]
        assert pod["nodeSelector"] == KAFKA_NODES["node_selector"]
        assert pod["tolerations"] == KAFKA_NODES["tolerations"]
    assert one(kafka["dev"]["manifests"], "StatefulSet", "kafka")["spec"]["template"]["spec"]["affinity"] == ZONE_SPREAD


@pytest.mark.parametrize(
    ("scenario", "replication", "in_sync"),
    [("brokers1", "1", "1"), ("brokers2", "2", "1"), ("dev", "3", "2"), ("brokers5", "3", "2")],
)
def test_replication_factors_follow_from_the_number_of_brokers(kafka, scenario, replication, in_sync):
    environment = environment_of(one(kafka[scenario]["manifests"], "StatefulSet", "kafka"), "kafka")
    assert environment["KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR"] == replication
    assert environment["KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR"] == replication
    assert environment["KAFKA_DEFAULT_REPLICATION_FACTOR"] == replication
    assert environment["KAFKA_TRANSACTION_STATE_LOG_MIN_ISR"] == in_sync
    assert environment["KAFKA_MIN_INSYNC_REPLICAS"] == in_sync


def test_a_digest_takes_the_place_of_the_tag(kafka):
    brokers = one(kafka["brokers1"]["manifests"], "StatefulSet", "kafka")
    assert container(brokers, "kafka")["image"] == "registry.example.com/kafka@sha256:" + 64 * "a"


def test_an_update_gives_the_replicas_time_to_catch_up_before_the_next_broker_restarts(kafka):
    assert one(kafka["dev"]["manifests"], "StatefulSet", "kafka")["spec"]["minReadySeconds"] == 10


def test_services_name_the_ports_of_their_pods_by_number(kafka, zookeeper):
    for manifests in (kafka["dev"]["manifests"], zookeeper["dev"]["manifests"]):
        ports = [port for item in manifests if item["kind"] == "Service" for port in item["spec"]["ports"]]
        assert [port["targetPort"] for port in ports] == [port["port"] for port in ports]


def test_nothing_is_deployed_for_brokers_that_are_elsewhere(kafka):
    assert kafka["external"]["manifests"] == []


def test_kafka_tells_every_problem_of_its_input_at_once(kafka):
    message = kafka["refused"]["refused"]
    assert "kafka_external_bootstrap_servers: b-1.msk.example.com" in message
    assert "kafka_replicas: 0" in message
    assert "kafka_image" in message


def test_kafka_lets_its_users_in_and_reaches_zookeeper(kafka, zookeeper):
    policy = one(kafka["dev"]["manifests"], "NetworkPolicy", "kafka")["spec"]
    (clients,) = policy["ingress"]
    assert {"podSelector": {"matchLabels": {"erp.platform/uses-kafka": "true"}}} in clients["from"]
    assert clients["ports"] == [{"protocol": "TCP", "port": 9092}]
    to_zookeeper = {
        "to": [{"podSelector": {"matchLabels": {"app": "zookeeper"}}}],
        "ports": [{"protocol": "TCP", "port": 2181}],
    }
    assert to_zookeeper in policy["egress"]
    from_users = one(zookeeper["dev"]["manifests"], "NetworkPolicy", "zookeeper")["spec"]["ingress"][0]
    (selector,) = from_users["from"]
    broker_labels = one(kafka["dev"]["manifests"], "StatefulSet", "kafka")["spec"]["template"]["metadata"]["labels"]
    assert selector["podSelector"]["matchLabels"].items() <= broker_labels.items()


def test_the_xray_daemon_takes_traces_on_port_2000_of_every_node(xray):
    daemon = one(xray["dev"]["manifests"], "DaemonSet", "xray-daemon")
    pod = daemon["spec"]["template"]["spec"]
    assert pod["hostNetwork"] is True
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert container(daemon, "xray-daemon")["ports"] == [
        {"name": "xray", "protocol": "UDP", "containerPort": 2000, "hostPort": 2000}
    ]
    assert environment_of(daemon, "xray-daemon") == {"AWS_REGION": "ap-northeast-2"}


def test_the_xray_daemon_has_a_privileged_namespace_of_its_own_and_a_role(xray):
    manifests = xray["dev"]["manifests"]
    namespace = one(manifests, "Namespace", "aws-xray")
    account = one(manifests, "ServiceAccount", "xray-daemon")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "privileged"
    assert account["metadata"]["annotations"] == {
        "eks.amazonaws.com/role-arn": "arn:aws:iam::806332783810:role/erp-dev-xray"
    }


def test_a_role_that_is_no_arn_is_refused(xray):
    assert "xray_role_arn: erp-dev-xray" in xray["refused"]["refused"]


def test_every_workload_of_ours_is_restricted_complete_and_free_of_nulls(zookeeper, kafka, xray):
    for rendered in (zookeeper, kafka, xray):
        manifests = rendered["dev"]["manifests"]
        assert list(nulls(manifests)) == []
        for workload in manifests:
            if workload["kind"] in ("StatefulSet", "DaemonSet"):
                assert list(restricted_violations(workload)) == []
                (only,) = workload["spec"]["template"]["spec"]["containers"]
                assert {"startupProbe", "livenessProbe", "readinessProbe", "resources"} <= only.keys()
