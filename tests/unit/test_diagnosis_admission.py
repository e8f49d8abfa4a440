"""What the API server's refusals mean, and what is behind a webhook that does not answer."""

from __future__ import annotations

import pytest
from ansible_collections.erp.platform.plugins.module_utils.diagnosis_admission import (
    explain_pods_refused,
    explain_refusal,
)
from ansible_collections.erp.platform.plugins.module_utils.objects import Ref

from .explaining import Cluster, endpoint_slice, finding, obj, pod, reads, service

WEB = Ref("apps/v1", "Deployment", "erp", "web")
POD_SECURITY = (
    'pods "web-1" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false '
    '(container "web" must set securityContext.allowPrivilegeEscalation=false), host namespaces (hostNetwork=true)'
)
DENIED = "AccessDenied: User: arn:aws:iam::1:role/x is not authorized to perform: elasticloadbalancing:DescribeRules"
UNANSWERED = (
    'Internal error occurred: failed calling webhook "mpod.elbv2.k8s.aws": failed to call webhook: Post '
    '"https://lbc-webhook.kube-system.svc:443/mutate?timeout=10s": no endpoints available for service "lbc-webhook"'
)


@pytest.mark.parametrize(
    ("message", "cause", "command"),
    [
        (
            'pods "web-1" is forbidden: exceeded quota: compute, requested: cpu=2, used: cpu=3, limited: cpu=4',
            "quota compute allows cpu=4, cpu=3 is used and cpu=2 more is wanted",
            "kubectl -n erp describe resourcequota compute",
        ),
        (
            'pods "web-1" is forbidden: failed quota: compute: must specify limits.cpu for: web',
            "quota compute wants every container to specify limits.cpu for: web",
            "kubectl -n erp describe resourcequota compute",
        ),
        (
            'pods "web-1" is forbidden: [minimum memory usage per Pod is 1Gi, but request is 64Mi]',
            "minimum memory usage per Pod is 1Gi, but request is 64Mi",
            "kubectl -n erp describe limitrange",
        ),
        (
            POD_SECURITY,
            "the restricted standard forbids: allowPrivilegeEscalation != false, host namespaces",
            "kubectl get namespace erp --show-labels; correct the securityContext as the evidence says",
        ),
        (
            'admission webhook "policy.example.com" denied the request: image must be signed',
            "admission webhook policy.example.com denied it: image must be signed",
            (
                "kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations -o yaml | grep -B 20 "
                "policy.example.com"
            ),
        ),
        (
            'admission webhook "mtargetgroupbinding.elbv2.k8s.aws" denied the request: TargetGroupNotFound: not found',
            "admission webhook mtargetgroupbinding.elbv2.k8s.aws denied it: TargetGroupNotFound: not found",
            "aws elbv2 describe-target-groups --query 'TargetGroups[].TargetGroupArn'",
        ),
        (
            f'admission webhook "tgb.elbv2.k8s.aws" denied the request: {DENIED}',
            f"admission webhook tgb.elbv2.k8s.aws denied it: {DENIED}",
            (
                "aws iam simulate-principal-policy --policy-source-arn arn:aws:iam::1:role/x "
                "--action-names elasticloadbalancing:DescribeRules"
            ),
        ),
        (
            'pods "web-1" is forbidden: no PriorityClass with name high was found',
            "PriorityClass high does not exist",
            "kubectl get priorityclass",
        ),
    ],
)
def test_a_refusal_names_the_rule_and_where_to_look(message: str, cause: str, command: str) -> None:
    error = explain_refusal(WEB, message, reads(Cluster()))
    assert error is not None
    assert error.object == "Deployment erp/web"
    assert error.cause == f"the API server refuses it: {cause}"
    assert error.next_command == command
    assert message in error.evidence


def test_a_refusal_of_another_form_is_left_to_the_caller() -> None:
    assert (
        explain_refusal(WEB, 'Deployment.apps "web" is invalid: spec.replicas: Invalid value: -1', reads(Cluster()))
        is None
    )


def test_the_fixes_for_pod_security_are_evidence() -> None:
    error = explain_refusal(WEB, POD_SECURITY, reads(Cluster()))
    assert error is not None
    assert 'container "web" must set securityContext.allowPrivilegeEscalation=false' in error.evidence.splitlines()
    assert "hostNetwork=true" in error.evidence.splitlines()


def test_a_webhook_that_does_not_answer_leads_to_its_unready_pods() -> None:
    served = service("lbc-webhook", app="lbc")
    served["metadata"]["namespace"] = "kube-system"
    dead = pod("lbc-1", labels={"app": "lbc"}, status={"state": {"waiting": {"reason": "ImagePullBackOff"}}})
    dead["metadata"]["namespace"] = "kube-system"
    error = explain_refusal(WEB, UNANSWERED, reads(Cluster(served, dead)))
    assert error is not None
    assert error.cause == (
        "the API server refuses it: admission webhook mpod.elbv2.k8s.aws does not answer: "
        "Service kube-system/lbc-webhook has no ready endpoint"
    )
    assert "pod lbc-1 container web: ImagePullBackOff" in error.evidence
    assert error.next_command == "kubectl -n kube-system describe pod lbc-1"


def test_the_service_of_a_webhook_is_also_found_by_its_configuration() -> None:
    configuration = obj(
        "MutatingWebhookConfiguration",
        "lbc",
        "admissionregistration.k8s.io/v1",
        namespace="",
        webhooks=[{"name": "mpod.elbv2.k8s.aws", "clientConfig": {"service": {"namespace": "erp", "name": "hook"}}}],
    )
    message = 'failed calling webhook "mpod.elbv2.k8s.aws": context deadline exceeded'
    cluster = Cluster(configuration, service("hook", app="hook"), endpoint_slice("hook", "10.0.0.1"))
    error = explain_refusal(WEB, message, reads(cluster))
    assert error is not None
    assert error.cause.endswith("Service erp/hook has ready endpoints now")


def test_pods_that_are_refused_are_explained_in_the_same_way() -> None:
    replica_set = obj("ReplicaSet", "web-5d9f", "apps/v1")
    explained = explain_pods_refused(finding("pods-refused", replica_set, POD_SECURITY), reads(Cluster()))
    assert explained.because.startswith("the restricted standard forbids: ")
