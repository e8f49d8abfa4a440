"""How a pod of a controller's chart becomes a process of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from sandbox.controllers import CONTROLLERS, Arguments, Workspace, cloud_environment, command_arguments
from sandbox.pod_processes import _current, _groups
from sandbox.record import PORTS, Record

RECORD = Record(dict.fromkeys(PORTS, 15000), "192.0.2.7", vpc_id="vpc-1")
NOTHING = Arguments(forced={}, missing={})


def pod(name, *, created, template="a", app="metrics-server", **metadata):
    labels = {"app.kubernetes.io/name": app, "pod-template-hash": template}
    return {
        "metadata": {
            "name": name,
            "namespace": "kube-system",
            "creationTimestamp": created,
            "labels": labels,
            **metadata,
        },
        "status": {"podIP": "192.0.2.7"},
    }


def test_the_arguments_of_the_chart_come_first_and_the_sandbox_has_the_last_word():
    container = {"args": ["--metrics-addr=:8080", "--loglevel=info"]}
    added = Arguments(forced={"metrics-addr": "127.0.0.1:15000"}, missing={})
    assert command_arguments(container, {}, {}, added) == [
        "--metrics-addr=:8080",
        "--loglevel=info",
        "--metrics-addr=127.0.0.1:15000",
    ]


def test_what_the_chart_says_is_not_filled_in_again():
    container = {"args": ["--aws-region=eu-west-1"]}
    added = Arguments(forced={}, missing={"aws-region": "ap-northeast-2", "aws-vpc-id": "vpc-1"})
    assert command_arguments(container, {}, {}, added) == ["--aws-region=eu-west-1", "--aws-vpc-id=vpc-1"]


def test_the_path_of_a_mount_becomes_the_folder_behind_it():
    container = {"args": ["--cert-dir=/tmp/certs", "--other=/tmp/certsx", "--file=/tmp/certs/tls.crt"]}
    assert command_arguments(container, {}, {"/tmp/certs": Path("/state/certs")}, NOTHING) == [
        "--cert-dir=/state/certs",
        "--other=/tmp/certsx",
        "--file=/state/certs/tls.crt",
    ]


def test_the_longest_mount_wins():
    mounts = {"/tmp": Path("/state/tmp"), "/tmp/tls-certs": Path("/state/tls")}
    container = {"args": ["--tls-cert-file=/tmp/tls-certs/tls.crt", "--cert-dir=/tmp"]}
    assert command_arguments(container, {}, mounts, NOTHING) == [
        "--tls-cert-file=/state/tls/tls.crt",
        "--cert-dir=/state/tmp",
    ]


def test_a_file_of_this_machine_is_not_looked_for_in_a_volume_though_the_clone_lies_under_its_mount_path():
    added = Arguments(forced={}, missing={"kubelet-certificate-authority": Path("/tmp/clone/ca.crt")})
    assert command_arguments({"args": []}, {}, {"/tmp": Path("/state/tmp")}, added) == [
        "--kubelet-certificate-authority=/tmp/clone/ca.crt"
    ]


def test_variables_in_arguments_are_expanded_as_a_kubelet_does():
    container = {"command": ["/binary", "webhook"], "args": ["--name=$(POD_NAME)", "--odd=$(UNKNOWN)"]}
    assert command_arguments(container, {"POD_NAME": "x-1"}, {}, NOTHING) == [
        "webhook",
        "--name=x-1",
        "--odd=$(UNKNOWN)",
    ]


def test_a_service_account_with_a_role_gets_a_web_identity_and_no_keys():
    annotations = {"eks.amazonaws.com/role-arn": "arn:aws:iam::806332783810:role/x"}
    environment = cloud_environment(
        annotations, Path("/state/token"), RECORD, "ap-northeast-2", {"AWS_ACCESS_KEY_ID": "k"}
    )
    assert environment["AWS_ROLE_ARN"] == "arn:aws:iam::806332783810:role/x"
    assert environment["AWS_WEB_IDENTITY_TOKEN_FILE"] == "/state/token"
    assert "AWS_ACCESS_KEY_ID" not in environment


def test_a_service_account_without_a_role_gets_the_keys_of_the_node():
    environment = cloud_environment({}, Path("/state/token"), RECORD, "ap-northeast-2", {"AWS_ACCESS_KEY_ID": "k"})
    assert environment["AWS_ACCESS_KEY_ID"] == "k"
    assert "AWS_ROLE_ARN" not in environment


@pytest.mark.parametrize("name", CONTROLLERS)
def test_no_flag_of_a_controller_is_both_forced_and_filled_in(name):
    workspace = Workspace(Path("/state"), Path("/state/kubeconfig"), Path("/ca.crt"), "vpc-1", "ap-northeast-2", RECORD)
    arguments = CONTROLLERS[name].arguments(workspace)
    assert not arguments.forced.keys() & arguments.missing.keys()


def test_the_process_is_that_of_the_oldest_pod_of_the_newest_template():
    old = pod("old", created="2026-01-01T00:00:00Z", template="a")
    new = [pod(f"new-{number}", created=f"2026-01-01T00:00:0{number}Z", template="b") for number in (2, 1)]
    assert [found["metadata"]["name"] for found in _current([old, *new])] == ["new-1", "new-2"]


def test_a_pod_that_ends_or_is_annotated_to_fail_has_no_process():
    ending = pod("ending", created="2026-01-01T00:00:00Z", deletionTimestamp="2026-01-01T00:01:00Z")
    failing = pod(
        "failing", created="2026-01-01T00:00:00Z", annotations={"sandbox.erp.platform/failure": "never-ready"}
    )
    assert _groups([ending, failing]) == {}
