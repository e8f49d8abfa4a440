"""Why a container ends: its exit code, its log, and the dependency that it probably misses."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.erp.platform.plugins.module_utils.diagnosis_crashes import (
    Trouble,
    dependencies_of,
    explain_crash,
    trouble_in,
)

from .explaining import Cluster, endpoint_slice, finding, obj, pod, reads, service

REFUSED, UNRESOLVED, SILENT = "refuses the connection", "cannot be resolved", "does not answer"


def crashed(code: int = 1, reason: str = "Error", **container: Any) -> dict[str, Any]:
    last = {"terminated": {"exitCode": code, "reason": reason}}
    status = {"restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": last}
    return pod(status=status, **container)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (
            "Connection to node -1 (kafka-service/172.20.1.1:9092) could not be established. Node may not be avail",
            Trouble("kafka-service", 9092, REFUSED),
        ),
        ("Caused by: java.net.UnknownHostException: mysql-service", Trouble("mysql-service", 0, UNRESOLVED)),
        (
            "UnknownHostException: mysql-service: Name or service not known",
            Trouble("mysql-service", 0, UNRESOLVED),
        ),
        (
            "dial tcp: lookup mongodb on 172.20.0.10:53: no such host",
            Trouble("mongodb", 0, UNRESOLVED),
        ),
        ("dial tcp 172.20.1.1:6379: connect: connection refused", Trouble("172.20.1.1", 6379, REFUSED)),
        ("dial tcp 172.20.1.1:6379: i/o timeout", Trouble("172.20.1.1", 6379, SILENT)),
        ("Error: connect ECONNREFUSED 172.20.1.1:27017", Trouble("172.20.1.1", 27017, REFUSED)),
        ("Error: getaddrinfo ENOTFOUND redis", Trouble("redis", 0, UNRESOLVED)),
        ("curl: (6) Could not resolve host: api.example.com", Trouble("api.example.com", 0, UNRESOLVED)),
        ('could not translate host name "postgres" to address', Trouble("postgres", 0, UNRESOLVED)),
        ("urllib3: Failed to resolve 'kafka' ([Errno -2])", Trouble("kafka", 0, UNRESOLVED)),
        (
            "pymongo ServerSelectionTimeoutError: mongodb:27017: [Errno 111] Connection refused",
            Trouble("mongodb", 27017, REFUSED),
        ),
        ("Connection refused: eureka/10.0.0.7:8761", Trouble("eureka", 8761, REFUSED)),
        ("CommunicationsException: Communications link failure", Trouble("", 0, REFUSED, "mysql")),
        ("com.mongodb.MongoSocketOpenException: Exception opening socket", Trouble("", 0, REFUSED, "mongo")),
        ("Access denied for user 'erp'@'10.0.0.1' (using password: YES)", Trouble("", 0, "login", "mysql")),
        ("java.net.ConnectException: Connection refused", Trouble("", 0, REFUSED)),
        ("socket.gaierror: [Errno -2] Name or service not known", Trouble("", 0, UNRESOLVED)),
        ("dial tcp localhost:8080: connect: connection refused", Trouble("", 0, REFUSED)),
        ("NullPointerException at Main.java:12", None),
    ],
)
def test_what_clients_say_of_failed_connections_is_understood(line: str, expected: Trouble | None) -> None:
    assert trouble_in(["Starting", line, "Shutting down"]) == expected


def test_the_address_in_an_earlier_line_tells_more_than_a_later_line_without_one() -> None:
    log = ["UnknownHostException: mysql-service", "CommunicationsException: Communications link failure"]
    assert trouble_in(log) == Trouble("mysql-service", 0, UNRESOLVED)


@pytest.mark.parametrize(
    ("code", "because"),
    [
        (0, "it ends without an error, but must not end"),
        (1, "the application reports an error"),
        (126, "its command cannot be executed: no permission, or no program for this architecture"),
        (127, "its command does not exist in the image"),
        (137, "it was killed (SIGKILL): out of memory, or it did not stop in time after its liveness probe failed"),
        (139, "it accessed memory that is not its own (SIGSEGV): a bug, or an image for another architecture"),
        (143, "it was asked to stop (SIGTERM), as after a liveness probe that failed"),
        (3, ""),
    ],
)
def test_an_exit_code_is_said_in_words(code: int, because: str) -> None:
    assert explain_crash(finding("crash-loop", crashed(code)), reads(Cluster())).because == because


def test_the_last_twenty_lines_of_the_previous_log_are_shown() -> None:
    log = "\n".join(f"line {number}" for number in range(60))
    evidence = explain_crash(finding("crash-loop", crashed()), reads(Cluster(logs={"web/previous": log}))).evidence
    assert evidence == ["previous log of container web:", *(f"  line {number}" for number in range(40, 60))]


def test_without_a_previous_log_the_present_one_is_shown() -> None:
    asking = reads(Cluster(logs={"web": "hello"}))
    assert explain_crash(finding("crash-loop", crashed()), asking).evidence == ["log of container web:", "  hello"]


def test_a_secret_is_masked_before_a_long_line_is_cut() -> None:
    line = "x" * 380 + " eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.SflKxwRJSMeKKF2QT4fwpMeJf36"
    explained = explain_crash(finding("crash-loop", crashed()), reads(Cluster(logs={"web/previous": line})))
    assert "eyJ" not in "\n".join(explained.evidence)


@pytest.mark.parametrize(
    ("objects", "because", "command"),
    [
        (
            [],
            "it probably cannot reach kafka-service:9092: the namespace has no Service of that name",
            "kubectl -n erp get services",
        ),
        (
            [service("kafka-service", 9092, app="kafka"), endpoint_slice("kafka-service", "10.0.0.1", ready=False)],
            "it probably cannot reach kafka-service:9092: the Service has no ready endpoint",
            "kubectl -n erp get pods -l app=kafka",
        ),
        (
            [service("kafka-service", 29092, app="kafka"), endpoint_slice("kafka-service", "10.0.0.1")],
            "it probably cannot reach kafka-service:9092: the Service has no port 9092, but 29092",
            "kubectl -n erp describe service kafka-service",
        ),
        (
            [service("kafka-service", 9092, app="kafka"), endpoint_slice("kafka-service", "10.0.0.1", "10.0.0.2")],
            (
                "it probably cannot reach kafka-service:9092: "
                "it refuses the connection, though the Service has 2 ready endpoints now"
            ),
            "kubectl -n erp logs -l app=kafka --tail=20",
        ),
    ],
)
def test_the_dependency_is_looked_up_among_the_services(
    objects: list[dict[str, Any]], because: str, command: str
) -> None:
    said = "Connection to node -1 (kafka-service/172.20.1.1:9092) could not be established."
    explained = explain_crash(finding("crash-loop", crashed()), reads(Cluster(*objects, logs={"web/previous": said})))
    assert (explained.because, explained.next_command) == (because, command)


def test_an_address_is_led_back_to_the_service_that_has_it() -> None:
    cluster = Cluster(
        service("redis", 6379), logs={"web/previous": "dial tcp 10.0.0.9:6379: connect: connection refused"}
    )
    explained = explain_crash(finding("crash-loop", crashed()), reads(cluster))
    assert explained.because == "it probably cannot reach redis:6379: the Service has no ready endpoint"


def test_a_client_that_names_no_address_means_the_one_in_the_environment() -> None:
    settings = obj("ConfigMap", "erp", data={"SPRING_DATASOURCE_URL": "jdbc:mysql://mysql:3306/erp?useSSL=false"})
    env = [{"name": "KAFKA", "value": "kafka-service:9092"}]
    subject = crashed(env=env, envFrom=[{"configMapRef": {"name": "erp"}}])
    cluster = Cluster(settings, logs={"web/previous": "Communications link failure"})
    explained = explain_crash(finding("crash-loop", subject), reads(cluster))
    assert explained.because == "it probably cannot reach mysql:3306: the namespace has no Service of that name"
    assert "environment variable SPRING_DATASOURCE_URL names mysql:3306" in explained.evidence


def test_a_login_that_is_refused_is_no_missing_service() -> None:
    subject = crashed(env=[{"name": "MYSQL_URL", "value": "jdbc:mysql://mysql:3306/erp"}])
    cluster = Cluster(logs={"web/previous": "Access denied for user 'erp'@'10.0.0.1'"})
    explained = explain_crash(finding("crash-loop", subject), reads(cluster))
    assert explained.because == "mysql:3306 probably refuses its login"


def test_a_host_outside_the_cluster_is_looked_up_by_name() -> None:
    cluster = Cluster(logs={"web/previous": "UnknownHostException: db.example.com"})
    explained = explain_crash(finding("crash-loop", crashed()), reads(cluster))
    assert explained.because == "it probably cannot reach db.example.com: it cannot be resolved"
    assert explained.next_command == "getent hosts db.example.com  (in a pod of namespace erp)"


def test_addresses_are_read_from_variables_but_never_from_secrets() -> None:
    env = [
        {"name": "BROKERS", "value": "kafka-0:9092,kafka-1:9092"},
        {"name": "URI", "value": "mongodb://erp:pw@mongodb:27017/erp"},
        {"name": "PW", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "FROM_MAP", "valueFrom": {"configMapKeyRef": {"name": "erp", "key": "redis"}}},
    ]
    found = dependencies_of(pod(env=env), "web", {"erp": {"data": {"redis": "redis:6379"}}})
    assert [(entry.variable, entry.host, entry.port) for entry in found] == [
        ("BROKERS", "kafka-0", 9092),
        ("BROKERS", "kafka-1", 9092),
        ("URI", "mongodb", 27017),
        ("FROM_MAP", "redis", 6379),
    ]


def test_out_of_memory_names_the_limit() -> None:
    explained = explain_crash(
        finding("oom", crashed(137, "OOMKilled", resources={"limits": {"memory": "64Mi"}})), reads(Cluster())
    )
    assert explained.because == "its limit is 64Mi"
    assert explained.next_command == (
        "kubectl -n erp set resources deployment web -c web --limits=memory=…  (more than 64Mi)"
    )
