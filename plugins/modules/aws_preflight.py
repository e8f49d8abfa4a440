#!/usr/bin/python
# Copyright: erp.platform contributors
# MIT License (see LICENSE)
"""Compare AWS with what the inventory says."""

from __future__ import annotations

DOCUMENTATION = r"""
module: aws_preflight
short_description: Whether AWS holds what the inventory names
version_added: 0.1.0
description:
  - Compares account, EKS cluster, target groups and secrets with what the inventory says.
  - Values of secrets are never read.
  - Changes nothing and does not fail; it returns every problem at once.
author: erp.platform maintainers (@erp)
extends_documentation_fragment:
  - erp.platform.read_only
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
options:
  account_id:
    description: Account that the credentials must belong to.
    type: str
  cluster_name:
    description: EKS cluster that must exist and be active.
    type: str
  target_groups:
    description: Target groups that must exist and suit the service that will be registered.
    type: list
    elements: dict
    default: []
    suboptions:
      service:
        description: Name of the service.
        type: str
        required: true
      runtime:
        description: Where the service runs; pods need a target group of type ip, a function one of type lambda.
        type: str
        choices: [kubernetes, lambda]
        default: kubernetes
      name:
        description: Name of the target group.
        type: str
      arn:
        description: ARN of the target group, instead of its name.
        type: str
  secrets:
    description: Names of the Secrets Manager secrets that must exist.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Look at AWS before changing the cluster
  erp.platform.aws_preflight:
    region: ap-northeast-2
    account_id: "806332783810"
    cluster_name: erp-dev-cluster
    target_groups:
      - {service: approval-request-service, name: erp-dev-approval-req-nlb-tg}
    secrets: [erp/dev/mysql]
  register: aws
"""

RETURN = r"""
problems:
  description: One text per problem, with object, cause, evidence and next command.
  type: list
  elements: str
  returned: always
account_id:
  description: Account of the credentials; empty if it could not be asked.
  type: str
  returned: always
endpoint:
  description: Address of the cluster's API server; empty without a cluster.
  type: str
  returned: always
certificate_authority:
  description: The cluster's certificate authority, base64 of PEM; empty without a cluster.
  type: str
  returned: always
vpc_id:
  description: VPC of the cluster; empty without a cluster.
  type: str
  returned: always
"""

from typing import Any

from ansible_collections.amazon.aws.plugins.module_utils.botocore import boto3_inventory_conn, get_aws_connection_info
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule
from ansible_collections.erp.platform.plugins.module_utils.aws_preflight import TargetGroup, Wanted, check

ARGUMENT_SPEC = {
    "account_id": {"type": "str"},
    "cluster_name": {"type": "str"},
    "target_groups": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "service": {"type": "str", "required": True},
            "runtime": {"type": "str", "choices": ["kubernetes", "lambda"], "default": "kubernetes"},
            "name": {"type": "str"},
            "arn": {"type": "str"},
        },
        "required_one_of": [("name", "arn")],
        "mutually_exclusive": [("name", "arn")],
    },
    "secrets": {"type": "list", "elements": "str", "default": [], "no_log": False},
}
# Seconds to connect and to answer; a dead network must not be waited for.
CLIENT_CONFIG = {"connect_timeout": 5, "read_timeout": 10, "retries": {"mode": "standard", "max_attempts": 3}}


def main() -> None:
    module = AnsibleAWSModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    region, endpoint_url, connection = get_aws_connection_info(module)

    def client(service: str) -> Any:
        # The one for inventories raises what the one for modules would turn into a failure, and not all problems.
        return boto3_inventory_conn("client", service, region, endpoint_url, config=CLIENT_CONFIG, **connection)

    groups = [
        TargetGroup(group["service"], group["runtime"], group["name"] or "", group["arn"] or "")
        for group in module.params["target_groups"]
    ]
    wanted = Wanted(
        module.params["account_id"] or "", module.params["cluster_name"] or "", groups, module.params["secrets"]
    )
    found = check(client, wanted)
    module.exit_json(
        changed=False,
        problems=[str(problem) for problem in found.problems],
        account_id=found.account_id,
        endpoint=found.cluster.endpoint,
        certificate_authority=found.cluster.certificate_authority,
        vpc_id=found.cluster.vpc_id,
    )


if __name__ == "__main__":
    main()
