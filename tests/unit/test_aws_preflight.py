"""What the inventory says of AWS is compared with AWS, and each difference is told with what to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from ansible_collections.erp.platform.plugins.module_utils.aws_preflight import Found, TargetGroup, Wanted, check
from botocore import exceptions
from botocore.stub import Stubber
from moto import mock_aws

ACCOUNT = "123456789012"
REGION = "ap-northeast-2"


def client(service: str) -> Any:
    return boto3.client(service, region_name=REGION)


@pytest.fixture(scope="module")
def vpcs() -> Iterator[list[str]]:
    """An account with a cluster, target groups and secrets; the VPC of the cluster and another one."""
    with pytest.MonkeyPatch.context() as environment, mock_aws():
        for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL"):
            environment.delenv(name, raising=False)
        ec2, elbv2, secrets = client("ec2"), client("elbv2"), client("secretsmanager")
        ids = [ec2.create_vpc(CidrBlock=cidr)["Vpc"]["VpcId"] for cidr in ("10.42.0.0/16", "10.43.0.0/16")]
        client("eks").create_cluster(name="erp", roleArn=f"arn:aws:iam::{ACCOUNT}:role/eks", resourcesVpcConfig={})
        elbv2.create_target_group(Name="tg-ip", Protocol="TCP", Port=8082, VpcId=ids[0], TargetType="ip")
        elbv2.create_target_group(Name="tg-instance", Protocol="TCP", Port=8082, VpcId=ids[0], TargetType="instance")
        elbv2.create_target_group(Name="tg-lambda", TargetType="lambda")
        for name in ("erp/mysql", "erp/deleted"):
            secrets.create_secret(Name=name, SecretString="hunter2")
        secrets.delete_secret(SecretId="erp/deleted")
        yield ids


def group(name: str, runtime: str = "kubernetes") -> Wanted:
    return Wanted(target_groups=[TargetGroup("x-service", runtime, name=name)])


def only_problem(found: Found) -> str:
    (problem,) = found.problems
    return str(problem)


def test_an_account_that_holds_everything_has_no_problems_and_its_cluster_is_returned(vpcs):
    groups = [
        TargetGroup("x-service", "kubernetes", name="tg-ip"),
        TargetGroup("employee-service", "lambda", "tg-lambda"),
    ]
    found = check(client, Wanted(ACCOUNT, "erp", groups, ["erp/mysql"]))
    assert found.problems == ()
    assert found.account_id == ACCOUNT
    assert found.cluster.endpoint.startswith("https://")


def test_the_wrong_account_is_the_only_problem_since_nothing_else_can_be_judged_there(vpcs):
    said = only_problem(check(client, Wanted("999999999999", "none", [], ["none"])))
    assert f"belong to account {ACCOUNT}, the inventory is for 999999999999" in said


def test_everything_that_is_missing_is_told_at_once(vpcs):
    groups = [TargetGroup("a", "kubernetes", "tg-none"), TargetGroup("b", "kubernetes", "tg-instance")]
    found = check(client, Wanted(ACCOUNT, "none", groups, ["erp/none", "erp/deleted"]))
    assert [problem.object for problem in found.problems] == [
        "EKS cluster none",
        "target group tg-none of service a",
        "target group tg-instance of service b",
        "secret erp/none",
        "secret erp/deleted",
    ]


def test_a_misspelt_target_group_is_told_with_the_name_that_is_close_and_the_command_to_look(vpcs):
    said = only_problem(check(client, group("tg-ipp")))
    assert "does not exist in this account and region; did you mean 'tg-ip'?" in said
    assert f"aws elbv2 describe-target-groups --names tg-ipp --region {REGION}" in said


def test_a_target_group_may_be_named_by_its_arn(vpcs):
    arn = client("elbv2").describe_target_groups(Names=["tg-ip"])["TargetGroups"][0]["TargetGroupArn"]
    assert check(client, Wanted(target_groups=[TargetGroup("x", "kubernetes", arn=arn)])).problems == ()
    said = only_problem(check(client, Wanted(target_groups=[TargetGroup("x", "kubernetes", arn=arn[:-1] + "x")])))
    assert "--target-group-arns" in said


@pytest.mark.parametrize(
    ("name", "runtime", "words"),
    [
        (
            "tg-ip",
            "lambda",
            "an NLB cannot have one as its target; use API Gateway or an ALB target group of type lambda",
        ),
        ("tg-lambda", "kubernetes", "takes a Lambda function, not pods: a service of the cluster needs one of type ip"),
        ("tg-instance", "kubernetes", "takes no pods by their address: a service of the cluster needs one of type ip"),
    ],
)
def test_a_target_group_of_the_wrong_type_for_the_runtime_is_refused_with_the_reason(vpcs, name, runtime, words):
    assert words in only_problem(check(client, group(name, runtime)))


def test_a_target_group_in_another_vpc_than_the_cluster_is_refused(vpcs):
    client("elbv2").create_target_group(Name="tg-elsewhere", Protocol="TCP", Port=80, VpcId=vpcs[1], TargetType="ip")

    def with_vpc(service: str) -> Any:
        # moto's EKS does not tell the VPC of a cluster.
        made = client(service)
        if service == "eks":
            stub = Stubber(made)
            record = {"name": "erp", "status": "ACTIVE", "resourcesVpcConfig": {"vpcId": vpcs[0]}}
            stub.add_response("describe_cluster", {"cluster": record})
            stub.activate()
        return made

    groups = [TargetGroup("x", "kubernetes", name) for name in ("tg-ip", "tg-elsewhere")]
    found = check(with_vpc, Wanted(ACCOUNT, "erp", groups))
    assert [problem.object for problem in found.problems] == ["target group tg-elsewhere of service x"]
    assert f"target group {vpcs[1]}, cluster {vpcs[0]}" in only_problem(found)


def test_more_target_groups_than_one_request_takes_are_all_found(vpcs):
    names = [f"tg-{number}" for number in range(45)]
    for name in names:
        client("elbv2").create_target_group(Name=name, Protocol="TCP", Port=80, VpcId=vpcs[0], TargetType="ip")
    assert check(client, Wanted(target_groups=[TargetGroup("x", "kubernetes", name) for name in names])).problems == ()


def test_the_value_of_a_secret_is_never_asked_for(vpcs):
    asked: list[str] = []

    def recording(service: str) -> Any:
        made = client(service)
        made.meta.events.register("before-call", lambda model, **_: asked.append(model.name))
        return made

    check(recording, Wanted(secrets=["erp/mysql", "erp/none"]))
    assert asked == ["GetCallerIdentity", "DescribeSecret", "DescribeSecret"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("ExpiredToken", "the AWS credentials have expired: log in again"),
        ("InvalidClientTokenId", "AWS does not accept the credentials"),
        ("AccessDenied", "do not permit to look"),
        ("InternalFailure", "AWS answers with an error"),
    ],
)
def test_rejected_credentials_are_told_by_their_kind(code, words):
    made = boto3.client("sts", region_name=REGION, aws_access_key_id="x", aws_secret_access_key="x")
    with Stubber(made) as stub:
        stub.add_client_error("get_caller_identity", code, "said AWS")
        said = only_problem(check(lambda service: made, Wanted(ACCOUNT, "erp")))
    assert words in said
    assert "said AWS" in said
    assert "aws sts get-caller-identity" in said


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (exceptions.NoCredentialsError(), "there are no AWS credentials"),
        (exceptions.ProfileNotFound(profile="none"), "the AWS profile does not exist"),
        (exceptions.NoRegionError(), "no AWS region is set"),
        (exceptions.EndpointConnectionError(endpoint_url="https://x"), "AWS cannot be reached"),
        (exceptions.ConnectTimeoutError(endpoint_url="https://x"), "AWS cannot be reached"),
    ],
)
def test_a_connection_that_cannot_be_made_is_told_by_its_cause(error, words):
    def failing(service: str) -> Any:
        raise error

    assert words in only_problem(check(failing, Wanted(ACCOUNT)))
