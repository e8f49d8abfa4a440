"""Names that the inventories know too: what Terraform owns in the real account (docs/architecture.md)."""

from __future__ import annotations

ACCOUNT = "806332783810"
REGION = "ap-northeast-2"
CLUSTER = "erp-dev-cluster"
CLUSTER_ARN = f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/{CLUSTER}"
KUBERNETES_VERSION = "1.34"

LOAD_BALANCER = "erp-dev-nlb"
TARGET_GROUPS = {
    "erp-dev-approval-req-nlb-tg": 8082,
    "erp-dev-approval-proc-nlb-tg": 8083,
    "erp-dev-notification-nlb-tg": 8084,
}
LAMBDA_LOAD_BALANCER = "erp-dev-alb"
LAMBDA_TARGET_GROUP = "erp-dev-employee-alb-tg"

SECRET = "erp/dev/mysql"
REPOSITORIES = (
    "erp/employee-service",
    "erp/approval-request-service",
    "erp/approval-processing-service",
    "erp/notification-service",
)
# Role name: the service account that may assume it (IRSA), or the AWS service.
SERVICE_ACCOUNT_ROLES = {
    "erp-dev-aws-load-balancer-controller": "kube-system:aws-load-balancer-controller",
    "erp-dev-external-secrets": "erp-dev:external-secrets",
    "erp-dev-xray": "erp-dev:*",
}
SERVICE_ROLES = {
    "erp-dev-employee-service": "lambda.amazonaws.com",
    "erp-dev-cluster": "eks.amazonaws.com",
}

# Credentials that mean nothing outside the sandbox; moto takes any.
ACCESS_KEY = "sandbox"
SECRET_KEY = "sandbox"
