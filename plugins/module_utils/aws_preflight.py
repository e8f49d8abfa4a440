"""Does AWS hold what the inventory names: the account, the EKS cluster, target groups, secrets?

Reads only, and never the value of a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .did_you_mean import did_you_mean
from .errors import PlatformError

if TYPE_CHECKING:
    from mypy_boto3_elbv2.type_defs import TargetGroupTypeDef

# Names per DescribeTargetGroups request.
_BATCH = 20
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_REJECTED = frozenset({"InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "AuthFailure"})
_DENIED = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError"})


@dataclass(frozen=True)
class TargetGroup:
    """A target group as a service names it (by name or by ARN), and what will be registered in it."""

    service: str
    runtime: str
    name: str = ""
    arn: str = ""

    @property
    def label(self) -> str:
        return self.name or self.arn


@dataclass(frozen=True)
class Wanted:
    """What the inventory says of AWS; what is empty is not checked."""

    account_id: str = ""
    cluster_name: str = ""
    target_groups: Sequence[TargetGroup] = ()
    secrets: Sequence[str] = ()


@dataclass(frozen=True)
class Cluster:
    """What EKS knows of a cluster; certificate_authority is base64 of PEM."""

    endpoint: str = ""
    certificate_authority: str = ""
    vpc_id: str = ""


@dataclass(frozen=True)
class Found:
    """What AWS answered."""

    problems: tuple[PlatformError, ...]
    account_id: str = ""
    cluster: Cluster = Cluster()


def check(client: Callable[[str], Any], wanted: Wanted) -> Found:
    """Return every difference between the inventory and AWS.

    client makes a boto3 client of a service. Without credentials, or in the wrong account, nothing else is asked: what
    is missing there would say nothing.
    """
    problems: list[PlatformError] = []
    account_id = _account(client, wanted.account_id, problems)
    if problems:
        return Found(tuple(problems), account_id)
    cluster = Cluster()
    if wanted.cluster_name:
        cluster = _cluster(client, wanted.cluster_name, problems)
    if wanted.target_groups:
        problems += _target_groups(client, wanted.target_groups, cluster.vpc_id)
    if wanted.secrets:
        problems += _secrets(client, wanted.secrets)
    return Found(tuple(problems), account_id, cluster)


def _account(client: Callable[[str], Any], expected: str, problems: list[PlatformError]) -> str:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        identity = client("sts").get_caller_identity()
    except (BotoCoreError, ClientError) as error:
        problems.append(_failed("AWS account", error, "aws sts get-caller-identity"))
        return ""
    account_id = str(identity["Account"])
    if expected and account_id != expected:
        problems.append(
            PlatformError(
                f"the credentials belong to account {account_id}, the inventory is for {expected}",
                object=f"AWS account {expected}",
                evidence=str(identity["Arn"]),
                next_command="aws sts get-caller-identity; choose another profile (erp_aws.profile) or credential",
            )
        )
    return account_id


def _cluster(client: Callable[[str], Any], name: str, problems: list[PlatformError]) -> Cluster:
    from botocore.exceptions import BotoCoreError, ClientError

    command = f"aws eks describe-cluster --name {name}"
    try:
        eks = client("eks")
        command += f" --region {eks.meta.region_name}"
        record = eks.describe_cluster(name=name)["cluster"]
    except (BotoCoreError, ClientError) as error:
        if _code(error) == "ResourceNotFoundException":
            problems.append(
                PlatformError(
                    "does not exist in this account and region",
                    object=f"EKS cluster {name}",
                    evidence=str(error),
                    next_command=f"aws eks list-clusters --region {eks.meta.region_name}",
                )
            )
        else:
            problems.append(_failed(f"EKS cluster {name}", error, command))
        return Cluster()
    status = record.get("status", "")
    if status not in ("ACTIVE", "UPDATING"):
        problems.append(PlatformError(f"is {status}, not ACTIVE", object=f"EKS cluster {name}", next_command=command))
    return Cluster(
        endpoint=record.get("endpoint") or "",
        certificate_authority=(record.get("certificateAuthority") or {}).get("data") or "",
        vpc_id=(record.get("resourcesVpcConfig") or {}).get("vpcId") or "",
    )


def _target_groups(client: Callable[[str], Any], wanted: Sequence[TargetGroup], vpc_id: str) -> Iterator[PlatformError]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        elbv2 = client("elbv2")
        existing = _existing(elbv2, wanted)
    except (BotoCoreError, ClientError) as error:
        yield _failed("target groups", error, "aws elbv2 describe-target-groups")
        return
    by_label = {group[key]: group for group in existing for key in ("TargetGroupName", "TargetGroupArn")}
    region = f"--region {elbv2.meta.region_name}"
    for group in wanted:
        by = "--names" if group.name else "--target-group-arns"
        command = f"aws elbv2 describe-target-groups {by} {group.label} {region}"
        record = by_label.get(group.label)
        if record is None:
            close = did_you_mean(group.name, [item["TargetGroupName"] for item in existing]) if group.name else ""
            yield PlatformError(
                f"does not exist in this account and region{close}",
                object=f"target group {group.label} of service {group.service}",
                next_command=command,
            )
        else:
            yield from _misfits(group, record, vpc_id, command)


def _existing(elbv2: Any, wanted: Sequence[TargetGroup]) -> list[TargetGroupTypeDef]:
    """Ask for exactly the wanted ones; when one is missing AWS tells nothing of the others, so list all then."""
    names = sorted({group.name for group in wanted if group.name})
    arns = sorted({group.arn for group in wanted if not group.name})
    queries = [{"Names": names[start : start + _BATCH]} for start in range(0, len(names), _BATCH)]
    queries += [{"TargetGroupArns": arns[start : start + _BATCH]} for start in range(0, len(arns), _BATCH)]
    paginator = elbv2.get_paginator("describe_target_groups")
    try:
        return [group for query in queries for page in paginator.paginate(**query) for group in page["TargetGroups"]]
    except elbv2.exceptions.TargetGroupNotFoundException:
        return [group for page in paginator.paginate() for group in page["TargetGroups"]]


def _misfits(group: TargetGroup, record: TargetGroupTypeDef, vpc_id: str, command: str) -> Iterator[PlatformError]:
    described = f"target group {group.label} of service {group.service}"
    kind = record.get("TargetType", "instance")
    evidence = f"target type {kind}, protocol {record.get('Protocol', 'none')}"
    if group.runtime == "lambda":
        if kind != "lambda":
            yield PlatformError(
                "is not for a Lambda function: an NLB cannot have one as its target;"
                " use API Gateway or an ALB target group of type lambda",
                object=described,
                evidence=evidence,
                next_command=command,
            )
        return
    if kind != "ip":
        reason = "takes a Lambda function, not pods" if kind == "lambda" else "takes no pods by their address"
        yield PlatformError(
            f"{reason}: a service of the cluster needs one of type ip",
            object=described,
            evidence=evidence,
            next_command=command,
        )
    elif vpc_id and record.get("VpcId") != vpc_id:
        yield PlatformError(
            "is in another VPC than the cluster: its pods could not be reached",
            object=described,
            evidence=f"target group {record.get('VpcId')}, cluster {vpc_id}",
            next_command=command,
        )


def _secrets(client: Callable[[str], Any], names: Sequence[str]) -> Iterator[PlatformError]:
    from botocore.exceptions import BotoCoreError, ClientError

    for name in dict.fromkeys(names):
        described, command = f"secret {name}", f"aws secretsmanager describe-secret --secret-id {name}"
        try:
            manager = client("secretsmanager")
            command += f" --region {manager.meta.region_name}"
            record = manager.describe_secret(SecretId=name)
        except (BotoCoreError, ClientError) as error:
            if _code(error) == "ResourceNotFoundException":
                cause = "does not exist in this account and region"
                yield PlatformError(cause, described, str(error), command)
            else:
                yield _failed(described, error, command)
            continue
        if record.get("DeletedDate"):
            yield PlatformError(
                "is scheduled for deletion",
                object=described,
                evidence=f"deleted on {record['DeletedDate']:%Y-%m-%d}",
                next_command=command.replace("describe-secret", "restore-secret"),
            )


def _code(error: Exception) -> str:
    response = getattr(error, "response", {})
    return str(response.get("Error", {}).get("Code", ""))


def _failed(described: str, error: Exception, command: str) -> PlatformError:
    """Say why AWS could not be asked, by the kind of error rather than by its text."""
    from botocore import exceptions

    code = _code(error)
    if isinstance(error, (exceptions.NoCredentialsError, exceptions.PartialCredentialsError)):
        cause = "there are no AWS credentials"
    elif isinstance(error, exceptions.ProfileNotFound):
        cause = "the AWS profile does not exist"
        command = "aws configure list-profiles"
    elif isinstance(error, exceptions.NoRegionError):
        cause = "no AWS region is set"
        command = "set erp_aws.region in the inventory, or AWS_REGION"
    elif isinstance(error, (exceptions.ConnectionError, exceptions.HTTPClientError)):
        cause = "AWS cannot be reached"
    elif code in _EXPIRED:
        cause = "the AWS credentials have expired: log in again"
    elif code in _REJECTED:
        cause = "AWS does not accept the credentials"
    elif code in _DENIED:
        cause = "the AWS credentials do not permit to look"
    else:
        cause = "AWS answers with an error"
    # An access denied message may carry an encoded authorization failure of many lines.
    evidence = re.sub(r"Encoded authorization failure message: \S+", "", str(error)).strip()
    return PlatformError(cause, described, evidence, command)
