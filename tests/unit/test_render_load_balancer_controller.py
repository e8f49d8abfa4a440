"""What the role of AWS Load Balancer Controller asks the webhook for, and which answer it takes as the proof."""

from __future__ import annotations

import pytest

from tests.unit.render import evaluate

DENIED = 'admission webhook "vtargetgroupbinding.elbv2.k8s.aws" denied the request: unable to get target group: '
ANSWERS = {
    "not-found": DENIED + "TargetGroupNotFound: One or more target groups not found\n\tstatus code: 400, request id: 1",
    "not-found-2": DENIED + "operation error Elastic Load Balancing v2: DescribeTargetGroups, https response error"
    " StatusCode: 400, RequestID: 1, TargetGroupNotFoundException: One or more target groups not found",
    "no-oidc-provider": DENIED + "WebIdentityErr: failed to retrieve credentials\ncaused by: InvalidIdentityToken:"
    " No OpenIDConnect provider found in your account\n\tstatus code: 400, request id: 1",
    "denied": DENIED + "AccessDenied: not authorized to perform DescribeTargetGroups\n\tstatus code: 403",
    "no-endpoint": 'failed calling webhook "vtargetgroupbinding.elbv2.k8s.aws": no endpoints available for service',
}
ROLE = "aws_load_balancer_controller"
ARN = "(lookup('ansible.builtin.template', 'proof-targetgroupbinding.yaml.j2') | from_yaml).spec.targetGroupARN"


@pytest.fixture(scope="module")
def answered():
    scenarios = {name: {f"__{ROLE}_binding": {"msg": message}} for name, message in ANSWERS.items()}
    return evaluate(ROLE, f"__{ROLE}_answered", scenarios)


@pytest.mark.parametrize("name", ["not-found", "not-found-2"])
def test_aws_not_knowing_the_target_group_is_the_proof(answered, name):
    assert answered[name] is True


@pytest.mark.parametrize("name", ["no-oidc-provider", "denied", "no-endpoint"])
def test_no_other_answer_is_a_proof_whatever_its_status(answered, name):
    assert answered[name] is False


def test_the_proof_asks_in_the_clusters_own_region_and_account():
    region = {f"{ROLE}_region": "ap-northeast-2"}
    arns = evaluate(
        ROLE,
        ARN,
        {
            "irsa": {**region, f"{ROLE}_role_arn": "arn:aws:iam::806332783810:role/controller"},
            "pod-identity": {**region, f"{ROLE}_account_id": "111122223333"},
            "china": {
                f"{ROLE}_region": "cn-north-1",
                f"{ROLE}_role_arn": "arn:aws-cn:iam::806332783810:role/controller",
            },
            "unknown": region,
        },
    )
    assert {name: arn.split(":")[1:5] for name, arn in arns.items()} == {
        "irsa": ["aws", "elasticloadbalancing", "ap-northeast-2", "806332783810"],
        "pod-identity": ["aws", "elasticloadbalancing", "ap-northeast-2", "111122223333"],
        "china": ["aws-cn", "elasticloadbalancing", "cn-north-1", "806332783810"],
        "unknown": ["aws", "elasticloadbalancing", "ap-northeast-2", "000000000000"],
    }
