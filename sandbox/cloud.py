"""The fake AWS: starts the server and puts into it what Terraform would own."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from typing import Any

from . import names
from .errors import SandboxError
from .layout import CLONE, Layout
from .processes import marked, start
from .record import Instance, Record

VPC_CIDR = "10.42.0.0/16"
# Zone: the subnet that NLB, nodes and pods of the zone share. Instances take its first addresses, pods those of NODES.
SUBNETS = {"a": "10.42.0.0/18", "c": "10.42.64.0/18"}
# Node group and zone of each node (B7), with the range its pods get their addresses from.
NODES = (
    ("services", "a", "10.42.16.0/22"),
    ("services", "c", "10.42.80.0/22"),
    ("kafka", "a", "10.42.32.0/22"),
    ("kafka", "c", "10.42.96.0/22"),
)


def environment(record: Record) -> dict[str, str]:
    """What makes an AWS client talk to the sandbox."""
    return {
        "AWS_ENDPOINT_URL": record.cloud_url,
        "AWS_ACCESS_KEY_ID": names.ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": names.SECRET_KEY,
        "AWS_REGION": names.REGION,
        "AWS_DEFAULT_REGION": names.REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def start_cloud(layout: Layout, record: Record, inherited: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Starts the server; `wait_for_cloud` says when it answers."""
    command = [
        sys.executable, "-P", "-m", "sandbox.cloud_server",
        "--port", str(record.ports["cloud"]),
        "--eks-endpoint", record.api_url,
        "--eks-certificate-authority", str(layout.certificate_authority),
    ]  # fmt: skip
    own = {"PYTHONPATH": str(CLONE), "MOTO_ACCOUNT_ID": names.ACCOUNT, "AWS_DEFAULT_REGION": names.REGION}
    return start(command, layout.logs / "cloud.log", marked({**inherited, **own}, layout.state), layout.state)


def cloud_answers(record: Record) -> bool:
    try:
        with urllib.request.urlopen(f"{record.cloud_url}/moto-api/", timeout=2):
            return True
    except OSError:
        return False


def wait_for_cloud(
    process: subprocess.Popen[bytes], layout: Layout, record: Record, timeout_seconds: float = 60
) -> None:
    deadline = time.monotonic() + timeout_seconds
    while not cloud_answers(record):
        if process.poll() is not None or time.monotonic() > deadline:
            raise SandboxError(f"the fake AWS did not start; see {layout.logs / 'cloud.log'}")
        time.sleep(0.1)


def seed(record: Record) -> tuple[str, tuple[Instance, ...]]:
    """Creates what Terraform owns, names.py lists it; returns the VPC's id and the nodes' instances."""
    vpc, subnets = _network(record)
    instances = _instances(record, vpc, subnets)
    _load_balancers(record, vpc, list(subnets.values()))
    _secret(record)
    _repositories(record)
    _roles_and_cluster(record, list(subnets.values()))
    return vpc, instances


def _client(record: Record, service: str) -> Any:
    import boto3

    # The stubs type every service by its literal name.
    client: Any = boto3.client
    return client(
        service,
        endpoint_url=record.cloud_url,
        region_name=names.REGION,
        aws_access_key_id=names.ACCESS_KEY,
        aws_secret_access_key=names.SECRET_KEY,
    )


def _network(record: Record) -> tuple[str, dict[str, str]]:
    ec2 = _client(record, "ec2")
    vpc = ec2.create_vpc(CidrBlock=VPC_CIDR)["Vpc"]["VpcId"]
    ec2.create_tags(Resources=[vpc], Tags=_tags({"Name": "erp-dev-vpc"}))
    subnets = {}
    for zone, cidr in SUBNETS.items():
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock=cidr, AvailabilityZone=f"{names.REGION}{zone}")["Subnet"][
            "SubnetId"
        ]
        # The load balancer controller finds its subnets by these tags.
        roles = {
            f"kubernetes.io/cluster/{names.CLUSTER}": "shared",
            "kubernetes.io/role/internal-elb": "1",
            "kubernetes.io/role/elb": "1",
        }
        ec2.create_tags(Resources=[subnet], Tags=_tags({"Name": f"erp-dev-private-2{zone}", **roles}))
        subnets[zone] = subnet
    return vpc, subnets


def _instances(record: Record, vpc: str, subnets: Mapping[str, str]) -> tuple[Instance, ...]:
    ec2 = _client(record, "ec2")
    group = ec2.create_security_group(GroupName="erp-dev-node", Description="EKS nodes", VpcId=vpc)["GroupId"]
    ec2.create_tags(Resources=[group], Tags=_tags({f"kubernetes.io/cluster/{names.CLUSTER}": "owned"}))
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    nodes = []
    for number, (node_group, zone, pod_cidr) in enumerate(NODES):
        address = f"{SUBNETS[zone].rsplit('.', 1)[0]}.{10 + number}"
        instance = ec2.run_instances(
            ImageId=image,
            MinCount=1,
            MaxCount=1,
            InstanceType="m5.2xlarge",
            SubnetId=subnets[zone],
            SecurityGroupIds=[group],
            PrivateIpAddress=address,
            TagSpecifications=[
                {
                    "ResourceType": "instance",
                    "Tags": _tags({"Name": f"erp-dev-{node_group}-2{zone}", "eks:nodegroup-name": node_group}),
                }
            ],
        )["Instances"][0]
        name = f"ip-{address.replace('.', '-')}.{names.REGION}.compute.internal"
        nodes.append(Instance(instance["InstanceId"], name, f"{names.REGION}{zone}", node_group, pod_cidr))
    return tuple(nodes)


def _load_balancers(record: Record, vpc: str, subnets: list[str]) -> None:
    elb = _client(record, "elbv2")
    network = elb.create_load_balancer(Name=names.LOAD_BALANCER, Type="network", Scheme="internal", Subnets=subnets)
    for name, port in names.TARGET_GROUPS.items():
        target_group = elb.create_target_group(
            Name=name,
            Protocol="TCP",
            Port=port,
            VpcId=vpc,
            TargetType="ip",
            HealthCheckProtocol="HTTP",
            HealthCheckPath="/actuator/health",
        )
        _forward(elb, network, target_group, "TCP", port)

    group = _client(record, "ec2").create_security_group(
        GroupName="erp-dev-alb", Description="ALB of employee-service", VpcId=vpc
    )["GroupId"]
    application = elb.create_load_balancer(
        Name=names.LAMBDA_LOAD_BALANCER, Type="application", Scheme="internal", Subnets=subnets, SecurityGroups=[group]
    )
    _forward(elb, application, elb.create_target_group(Name=names.LAMBDA_TARGET_GROUP, TargetType="lambda"), "HTTP", 80)


def _forward(elb: Any, load_balancer: Any, target_group: Any, protocol: str, port: int) -> None:
    elb.create_listener(
        LoadBalancerArn=load_balancer["LoadBalancers"][0]["LoadBalancerArn"],
        Protocol=protocol,
        Port=port,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": target_group["TargetGroups"][0]["TargetGroupArn"]}],
    )


def _secret(record: Record) -> None:
    value = {"username": "erp", "password": secrets.token_urlsafe(18)}
    _client(record, "secretsmanager").create_secret(Name=names.SECRET, SecretString=json.dumps(value))


def _repositories(record: Record) -> None:
    ecr = _client(record, "ecr")
    for repository in names.REPOSITORIES:
        ecr.create_repository(repositoryName=repository)


def _roles_and_cluster(record: Record, subnets: list[str]) -> None:
    iam = _client(record, "iam")
    for role, service in names.SERVICE_ROLES.items():
        iam.create_role(RoleName=role, AssumeRolePolicyDocument=_trust({"Service": service}, "sts:AssumeRole"))
    eks = _client(record, "eks")
    cluster = eks.create_cluster(
        name=names.CLUSTER,
        version=names.KUBERNETES_VERSION,
        roleArn=f"arn:aws:iam::{names.ACCOUNT}:role/erp-dev-cluster",
        resourcesVpcConfig={"subnetIds": subnets},
    )["cluster"]
    issuer = cluster["identity"]["oidc"]["issuer"].removeprefix("https://")
    provider = f"arn:aws:iam::{names.ACCOUNT}:oidc-provider/{issuer}"
    for role, service_account in names.SERVICE_ACCOUNT_ROLES.items():
        condition = {
            "StringLike": {
                f"{issuer}:sub": f"system:serviceaccount:{service_account}",
                f"{issuer}:aud": "sts.amazonaws.com",
            }
        }
        iam.create_role(
            RoleName=role,
            AssumeRolePolicyDocument=_trust({"Federated": provider}, "sts:AssumeRoleWithWebIdentity", condition),
        )


def _trust(principal: Mapping[str, str], action: str, condition: Mapping[str, Any] | None = None) -> str:
    statement = {"Effect": "Allow", "Principal": principal, "Action": action} | (
        {"Condition": condition} if condition else {}
    )
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _tags(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in values.items()]
