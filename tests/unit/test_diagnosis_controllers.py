"""Why controllers do not get their objects ready: HPA, ExternalSecret, TargetGroupBinding, claims, APIs."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.erp.platform.plugins.module_utils import diagnosis_controllers as controllers
from ansible_collections.erp.platform.plugins.module_utils.objects import Ref

from .explaining import Cluster, Object, endpoint_slice, finding, obj, pod, reads, service

ESO = "external-secrets.io/v1"
ARN = "arn:aws:elasticloadbalancing:ap-northeast-2:806332783810:targetgroup/erp-dev-web/0123456789abcdef"
IAM_ROLE = "arn:aws:iam::806332783810:role/erp-dev-external-secrets"
ROLE = "arn:aws:sts::806332783810:assumed-role/erp-dev-external-secrets/session"


def condition(type_: str, status: str, reason: str = "", message: str = "") -> Object:
    return {"type": type_, "status": status, "reason": reason, "message": message}


def api_service(available: str, reason: str, message: str) -> Object:
    return obj(
        "APIService",
        "v1beta1.metrics.k8s.io",
        "apiregistration.k8s.io/v1",
        namespace="",
        spec={"service": {"name": "metrics-server", "namespace": "erp"}},
        status={"conditions": [condition("Available", available, reason, message)]},
    )


def autoscaler(**spec: Any) -> Object:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    return obj("HorizontalPodAutoscaler", "web", "autoscaling/v2", spec={"scaleTargetRef": target, **spec})


def deployment(name: str, **requests: str) -> Object:
    template = {"spec": {"containers": [{"name": "web", "resources": {"requests": requests}}]}}
    return obj("Deployment", name, "apps/v1", spec={"template": template})


def test_a_metrics_server_that_is_not_there_is_told_from_one_that_is_not_ready() -> None:
    absent = controllers.explain_metrics(finding("metrics-server", autoscaler()), reads(Cluster()))
    assert absent.because == ("no APIService v1beta1.metrics.k8s.io is registered: metrics-server is not installed")
    down = Cluster(
        api_service("False", "MissingEndpoints", "endpoints for service/metrics-server have no addresses"),
        service("metrics-server", app="ms"),
        pod("ms-1", labels={"app": "ms"}, status={"state": {"waiting": {"reason": "ImagePullBackOff"}}}),
    )
    unready = controllers.explain_metrics(finding("metrics-server", autoscaler()), reads(down))
    assert unready.because == "Service erp/metrics-server has no ready endpoint"
    assert any("MissingEndpoints: endpoints for service/metrics-server" in line for line in unready.evidence)
    assert "pod ms-1 container web: ImagePullBackOff" in unready.evidence
    assert unready.next_command == "kubectl -n erp describe pod ms-1"


def test_the_container_without_requests_is_named() -> None:
    metrics = [{"type": "Resource", "resource": {"name": "memory"}}]
    hpa = autoscaler(metrics=metrics)
    found = controllers.explain_requests(finding("requests", hpa), reads(Cluster(deployment("web", cpu="1"))))
    assert found.because == "without requests: web (memory)"
    assert found.next_command == "kubectl -n erp set resources deployment web -c web --requests=memory=…"


def test_a_target_that_is_misspelt_is_recognized() -> None:
    cluster = Cluster(deployment("webb"))
    found = controllers.explain_scale_target(finding("scale-target", autoscaler()), reads(cluster))
    assert found.because == "scaleTargetRef names it wrongly; did you mean 'webb'?"
    assert found.evidence == ["Deployment objects of namespace erp: webb"]


def external_secret(**spec: Any) -> Object:
    return obj("ExternalSecret", "db", ESO, spec={"secretStoreRef": {"name": "aws", "kind": "SecretStore"}, **spec})


def store(status: str = "True", message: str = "store validated") -> Object:
    aws = {"service": "SecretsManager", "region": "ap-northeast-2"}
    return obj(
        "SecretStore",
        "aws",
        ESO,
        spec={"provider": {"aws": aws}},
        status={"conditions": [condition("Ready", status, "InvalidProviderConfig", message)]},
    )


@pytest.mark.parametrize(
    ("cluster", "said", "because", "command"),
    [
        (
            [obj("SecretStore", "aws2", ESO)],
            'could not get SecretStore "aws"',
            "its SecretStore aws does not exist; did you mean 'aws2'?",
            "kubectl -n erp get secretstore.external-secrets.io",
        ),
        (
            [store("False", "unable to create client")],
            'SecretStore "aws" is not ready',
            "its SecretStore erp/aws is not ready",
            "kubectl -n erp describe secretstore.external-secrets.io aws",
        ),
        (
            [store()],
            "error processing spec.data[0] (key: erp/dev/mysql), err: Secret does not exist",
            "the secret erp/dev/mysql does not exist in AWS Secrets Manager in ap-northeast-2",
            "aws secretsmanager list-secrets --query 'SecretList[].Name' --region ap-northeast-2",
        ),
        (
            [store()],
            "(key: erp/dev/mysql), err: key passwd does not exist in secret erp/dev/mysql",
            "the secret erp/dev/mysql has no property passwd",
            (
                "aws secretsmanager describe-secret --secret-id erp/dev/mysql --region ap-northeast-2  "
                "(and the property in the ExternalSecret's remoteRef)"
            ),
        ),
        (
            [store()],
            (
                f"(key: erp/dev/mysql), err: AccessDeniedException: User: {ROLE} is not authorized to perform: "
                "secretsmanager:GetSecretValue on resource: erp/dev/mysql because no identity-based policy allows it"
            ),
            f"IAM does not allow {ROLE} secretsmanager:GetSecretValue on erp/dev/mysql",
            (
                f"aws iam simulate-principal-policy --policy-source-arn {IAM_ROLE} "
                "--action-names secretsmanager:GetSecretValue --resource-arns erp/dev/mysql"
            ),
        ),
    ],
    ids=["no store", "store not ready", "no secret", "no property", "denied"],
)
def test_an_external_secret_says_what_is_missing_where(
    cluster: list[Object], said: str, because: str, command: str
) -> None:
    found = controllers.explain_external_secret(
        finding("external-secret", external_secret(), said), reads(Cluster(*cluster))
    )
    assert (found.because, found.next_command) == (because, command)


def test_a_store_whose_service_account_has_no_role_is_told_so() -> None:
    jwt = {"serviceAccountRef": {"name": "external-secrets"}}
    asking = store("False")
    asking["spec"]["provider"]["aws"]["auth"] = {"jwt": jwt}
    without = controllers.explain_secret_store(finding("secret-store", asking), reads(Cluster()))
    assert without.because == "its ServiceAccount external-secrets does not exist"
    account = obj("ServiceAccount", "external-secrets")
    roleless = controllers.explain_secret_store(finding("secret-store", asking), reads(Cluster(account)))
    assert roleless.because == ("its ServiceAccount external-secrets has no annotation eks.amazonaws.com/role-arn")


def binding() -> Object:
    return obj("TargetGroupBinding", "web-tgb", "elbv2.k8s.aws/v1beta1", spec={"targetGroupARN": ARN})


def controller(*, ready: bool) -> list[Object]:
    status = "True" if ready else "False"
    running = pod("lbc-1")
    running["spec"]["containers"][0]["name"] = "controller"
    running["status"]["conditions"] = [condition("Ready", status, "ContainersNotReady")]
    return [deployment("aws-load-balancer-controller"), running]


@pytest.mark.parametrize(
    ("cluster", "log", "because", "command"),
    [
        (
            [],
            "",
            "no AWS Load Balancer Controller is installed",
            "helm list --all-namespaces --filter aws-load-balancer-controller",
        ),
        (
            controller(ready=False),
            "",
            "the AWS Load Balancer Controller has no ready pod (pod lbc-1 in erp)",
            "kubectl -n erp describe pod lbc-1",
        ),
        (
            controller(ready=True),
            f'{{"level":"error","name":"web-tgb","error":"TargetGroupNotFound: {ARN}"}}',
            f"its target group does not exist: {ARN}",
            f"aws elbv2 describe-target-groups --target-group-arns {ARN}",
        ),
        (
            controller(ready=True),
            (
                f'{{"level":"error","name":"web-tgb","error":"AccessDenied: User: {ROLE} is not authorized to perform: '
                f'elasticloadbalancing:DescribeTargetHealth on resource: {ARN} because no policy allows it"}}'
            ),
            f"IAM does not allow {ROLE} elasticloadbalancing:DescribeTargetHealth on {ARN}",
            (
                f"aws iam simulate-principal-policy --policy-source-arn {IAM_ROLE} "
                f"--action-names elasticloadbalancing:DescribeTargetHealth --resource-arns {ARN}"
            ),
        ),
        (
            controller(ready=True),
            "",
            "",
            "kubectl -n erp logs -l app.kubernetes.io/name=aws-load-balancer-controller --tail=200 | grep web-tgb",
        ),
    ],
    ids=["no controller", "not ready", "wrong arn", "denied", "silent"],
)
def test_a_binding_is_explained_by_its_controller(cluster: list[Object], log: str, because: str, command: str) -> None:
    asking = reads(Cluster(*cluster, logs={"controller": log}))
    found = controllers.explain_target_group_binding(finding("target-group-binding", binding()), asking)
    assert (found.because, found.next_command) == (because, command)


def test_a_target_that_is_not_healthy_says_what_the_load_balancer_says() -> None:
    gate = "target-health.elbv2.k8s.aws/web-tgb"
    subject = pod()
    asked = finding("readiness-gate", subject, container=gate)
    unregistered = controllers.explain_readiness_gate(asked, reads(Cluster()))
    assert unregistered.because == "the AWS Load Balancer Controller has not registered the pod"
    subject["status"]["conditions"] = [condition(gate, "False", "Target.Timeout", "Request timed out")]
    unhealthy = controllers.explain_readiness_gate(asked, reads(Cluster()))
    assert unhealthy.because == "the load balancer's health check does not pass: Request timed out"


def test_a_claim_whose_provisioner_is_not_installed_says_so() -> None:
    claim = obj("PersistentVolumeClaim", "data", spec={"storageClassName": "gp3"})
    gp3 = obj("StorageClass", "gp3", "storage.k8s.io/v1", namespace="", provisioner="ebs.csi.aws.com")
    found = controllers.explain_provisioning(finding("provisioning", claim), reads(Cluster(gp3)))
    assert found.because == "the provisioner of its storage class gp3, ebs.csi.aws.com, is not installed"
    driver = obj("CSIDriver", "ebs.csi.aws.com", "storage.k8s.io/v1", namespace="")
    said = "UnauthorizedOperation: You are not authorized"
    denied = controllers.explain_provisioning(finding("provisioning", claim, said), reads(Cluster(gp3, driver)))
    assert denied.because == "AWS denies the access"


def test_an_api_whose_service_has_endpoints_again_says_so() -> None:
    cluster = Cluster(service("metrics-server", app="ms"), endpoint_slice("metrics-server", "10.0.0.1"))
    down = api_service("False", "FailedDiscoveryCheck", "x509")
    found = controllers.explain_api_service(finding("api-service", down), reads(cluster))
    assert found.because == "Service erp/metrics-server has ready endpoints now"


def test_an_ingress_of_a_class_that_does_not_exist_is_told_the_classes() -> None:
    ingress = obj("Ingress", "web", "networking.k8s.io/v1", spec={"ingressClassName": "albb"})
    alb = obj("IngressClass", "alb", "networking.k8s.io/v1", namespace="")
    found = controllers.explain_load_balancer(finding("load-balancer", ingress), reads(Cluster(alb)))
    assert found.because == "its IngressClass albb does not exist; did you mean 'alb'?"


def test_a_definition_whose_names_are_taken_names_the_one_that_has_them() -> None:
    def definition(name: str, plural: str, short: str) -> Object:
        names = {"plural": plural, "kind": plural.title(), "shortNames": [short]}
        api = "apiextensions.k8s.io/v1"
        return obj("CustomResourceDefinition", name, api, namespace="", spec={"group": "example.com", "names": names})

    mine, other = definition("tasks.example.com", "tasks", "t"), definition("tests.example.com", "tests", "t")
    found = controllers.explain_names(finding("names", mine), reads(Cluster(mine, other)))
    assert found.because == "its names are taken by tests.example.com"


def test_a_name_that_does_not_exist_is_looked_for_among_those_that_do() -> None:
    found = controllers.explain_not_found(Ref("apps/v1", "Deployment", "erp", "wbe"), reads(Cluster(deployment("web"))))
    assert found.because == "did you mean 'web'?"
    selected = controllers.explain_not_found(Ref("apps/v1", "Deployment", "erp", "app=x"), reads(Cluster()))
    assert selected.evidence == ["there is no Deployment in namespace erp"]
