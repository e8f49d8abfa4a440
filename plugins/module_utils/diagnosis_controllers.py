"""Why a controller does not get its object ready: HPA, ExternalSecret, TargetGroupBinding, claims, aggregated APIs."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .diagnosis_aws import ACCESS_DENIED, NO_TARGET_GROUP, iam_denied
from .diagnosis_reads import Answer, Reads, by_name
from .diagnosis_services import behind
from .did_you_mean import did_you_mean
from .evidence import lower, message_of, pod_line
from .finding import Explanation, Finding, Object
from .objects import Ref, condition, labels_of, ref_of
from .workload_pods import containers_of, is_ready

METRICS_API = Ref("apiregistration.k8s.io/v1", "APIService", "", "v1beta1.metrics.k8s.io")
CONTROLLER_LABEL = "app.kubernetes.io/name=aws-load-balancer-controller"
_LOG_LINES = 200

_NO_PROPERTY = re.compile(r"key (?P<property>\S+) does not exist in secret (?P<secret>\S+)")
_DATA_KEY = re.compile(r"\(key: (?P<key>[^)]+)\)")


def explain_metrics(finding: Finding, reads: Reads) -> Explanation:
    api_service = reads.get(METRICS_API)
    if api_service.is_absent:
        because = "no APIService v1beta1.metrics.k8s.io is registered: metrics-server is not installed"
        return Explanation(because, (), "helm list --all-namespaces --filter metrics-server")
    if api_service.obj is None:
        return Explanation()
    return explain_api_service(Finding("", "", "", "", api_service.obj), reads)


def explain_api_service(finding: Finding, reads: Reads) -> Explanation:
    available = condition(finding.subject, "Available") or {}
    service = (finding.subject.get("spec") or {}).get("service") or {}
    if not service or available.get("status") == "True":
        return Explanation()
    state = behind(Ref("v1", "Service", str(service.get("namespace")), str(service.get("name"))), reads)
    name = ref_of(finding.subject).name
    lines = [f"APIService {name}: {available.get('reason')}: {message_of(available)}", *state.evidence]
    return Explanation(state.because, lines, state.next_command)


def explain_requests(finding: Finding, reads: Reads) -> Explanation:
    target = _scale_target(finding.subject, reads)
    metrics = (finding.subject.get("spec") or {}).get("metrics") or []
    resources = [str((entry.get("resource") or {}).get("name")) for entry in metrics if entry.get("resource")]
    return requests_explanation(finding.subject, target, resources or ["cpu"])


def requests_explanation(autoscaler: Object, target: Answer, resources: Sequence[str]) -> Explanation:
    ref = ref_of(autoscaler)
    named = (autoscaler.get("spec") or {}).get("scaleTargetRef") or {}
    template = ((target.obj or {}).get("spec") or {}).get("template") or {}
    missing = [
        (str(container.get("name")), resource)
        for container in containers_of(template)
        for resource in resources
        if resource not in ((container.get("resources") or {}).get("requests") or {})
    ]
    if not missing:
        return Explanation()
    shown = ", ".join(f"{container} ({resource})" for container, resource in missing)
    workload = f"{str(named.get('kind')).lower()} {named.get('name')}"
    command = f"kubectl -n {ref.namespace} set resources {workload} -c {missing[0][0]} --requests={missing[0][1]}=…"
    return Explanation(f"without requests: {shown}", (), command)


def explain_scale_target(finding: Finding, reads: Reads) -> Explanation:
    named = (finding.subject.get("spec") or {}).get("scaleTargetRef") or {}
    answer = _scale_target(finding.subject, reads)
    if not answer.is_absent:
        return Explanation()
    kind, namespace = str(named.get("kind")), ref_of(finding.subject).namespace
    others = by_name(reads.items(str(named.get("apiVersion") or "apps/v1"), kind, namespace))
    near = did_you_mean(str(named.get("name")), others)
    shown = ", ".join(sorted(others)[:5]) or "none"
    because = f"scaleTargetRef names it wrongly{near}" if near else ""
    return Explanation(because, [f"{kind} objects of namespace {namespace}: {shown}"])


def explain_external_secret(finding: Finding, reads: Reads) -> Explanation:
    """Of an ExternalSecret."""
    named = (finding.subject.get("spec") or {}).get("secretStoreRef") or {}
    kind = str(named.get("kind") or "SecretStore")
    namespace = "" if kind == "ClusterSecretStore" else ref_of(finding.subject).namespace
    version = str(finding.subject.get("apiVersion"))
    ref = Ref(version, kind, namespace, str(named.get("name")))
    store = reads.get(ref)
    others = by_name(reads.items(version, kind, namespace)) if store.is_absent else {}
    return external_secret_explanation(finding, ref, store, sorted(others))


def external_secret_explanation(finding: Finding, store_ref: Ref, store: Answer, others: Sequence[str]) -> Explanation:
    if store.is_absent:
        near = did_you_mean(store_ref.name, others)
        evidence = [f"{store_ref.kind} objects there: {', '.join(others) or 'none'}"]
        get = store_ref.kubectl("get").rpartition(" ")[0]
        return Explanation(f"its {store_ref.kind} {store_ref.name} does not exist{near}", evidence, get)
    ready = condition(store.obj or {}, "Ready") or {}
    region = _region(store.obj or {})
    if ready and ready.get("status") != "True":
        because = f"its {store_ref} is not ready"
        evidence = [f"{store_ref}: {ready.get('reason')}: {message_of(ready)}"]
        return Explanation(because, evidence, store_ref.kubectl("describe"))
    said = finding.evidence
    wanted = _DATA_KEY.search(said)
    key = wanted["key"] if wanted else _first_key(finding.subject)
    if property_ := _NO_PROPERTY.search(said):
        because = f"the secret {property_['secret']} has no property {property_['property']}"
        command = _aws(f"describe-secret --secret-id {property_['secret']}", region)
        return Explanation(because, (), f"{command}  (and the property in the ExternalSecret's remoteRef)")
    if "ResourceNotFoundException" in said or "Secret does not exist" in said:
        because = f"the secret {key} does not exist in AWS Secrets Manager{f' in {region}' if region else ''}"
        return Explanation(because, (), _aws("list-secrets --query 'SecretList[].Name'", region))
    if ACCESS_DENIED.search(said):
        return iam_denied(said, key)
    return Explanation("", (), finding.next_command)


def explain_secret_store(finding: Finding, reads: Reads) -> Explanation:
    """Of a SecretStore: how it logs in, and whether what it logs in with exists."""
    store = finding.subject
    said = finding.evidence
    auth = (((store.get("spec") or {}).get("provider") or {}).get("aws") or {}).get("auth") or {}
    account = ((auth.get("jwt") or {}).get("serviceAccountRef") or {}).get("name")
    namespace = ref_of(store).namespace
    if account and namespace:
        answer = reads.get(Ref("v1", "ServiceAccount", namespace, str(account)))
        if answer.is_absent:
            because = f"its ServiceAccount {account} does not exist"
            return Explanation(because, (), f"kubectl -n {namespace} get serviceaccounts")
        annotations = ((answer.obj or {}).get("metadata") or {}).get("annotations") or {}
        if answer.obj is not None and "eks.amazonaws.com/role-arn" not in annotations:
            because = f"its ServiceAccount {account} has no annotation eks.amazonaws.com/role-arn"
            command = f"kubectl -n {namespace} annotate serviceaccount {account} eks.amazonaws.com/role-arn=…"
            return Explanation(because, (), command)
    secret = ((auth.get("secretRef") or {}).get("accessKeyIDSecretRef") or {}).get("name")
    if secret and namespace and reads.get(Ref("v1", "Secret", namespace, str(secret))).is_absent:
        because = f"its Secret {secret} does not exist"
        return Explanation(because, (), f"kubectl -n {namespace} get secrets")
    if ACCESS_DENIED.search(said):
        return iam_denied(said, "")
    return Explanation()


def explain_target_group_binding(finding: Finding, reads: Reads) -> Explanation:
    deployments = reads.items("apps/v1", "Deployment", label_selector=CONTROLLER_LABEL)
    pods = reads.items("v1", "Pod", label_selector=CONTROLLER_LABEL)
    ready = next((pod for pod in pods or () if is_ready(pod)), None)
    log: Sequence[str] = ()
    if ready is not None:
        ref = ref_of(ready)
        name = str(containers_of(ready)[0].get("name"))
        log = reads.log(ref.namespace, ref.name, name, previous=False, lines=_LOG_LINES) or ()
    return binding_explanation(finding, deployments, pods or (), log)


def binding_explanation(
    finding: Finding, deployments: Sequence[Object] | None, pods: Sequence[Object], log: Sequence[str]
) -> Explanation:
    """``log`` is of the controller; it reports most errors of a TargetGroupBinding nowhere else."""
    if deployments is not None and not deployments:
        because = "no AWS Load Balancer Controller is installed"
        return Explanation(because, (), "helm list --all-namespaces --filter aws-load-balancer-controller")
    if pods or deployments:
        unready = [line for pod in pods if (line := pod_line(pod))]
        if not any(is_ready(pod) for pod in pods):
            where = ref_of((*pods, *(deployments or ()))[0])
            because = f"the AWS Load Balancer Controller has no ready pod ({lower(where)} in {where.namespace})"
            return Explanation(because, unready[:3], where.kubectl("describe"))
    arn = str((finding.subject.get("spec") or {}).get("targetGroupARN") or "")
    name = ref_of(finding.subject).name
    own = [line for line in log if (name in line and "error" in line.lower()) or (arn and arn in line)][-3:]
    said = "\n".join([finding.evidence, *own])
    evidence = [f"log of the controller: {line[:400]}" for line in own]
    describe = f"aws elbv2 describe-target-groups --target-group-arns {arn}"
    if NO_TARGET_GROUP.search(said):
        return Explanation(f"its target group does not exist: {arn}", evidence, describe)
    if ACCESS_DENIED.search(said):
        denied = iam_denied(said, arn)
        return Explanation(denied.because, evidence, denied.next_command)
    if "BackendNotFound" in said:
        service = ((finding.subject.get("spec") or {}).get("serviceRef") or {}).get("name")
        because = f"its Service {service}, or the port that it names, does not exist"
        return Explanation(because, evidence, f"kubectl -n {ref_of(finding.subject).namespace} get service {service}")
    if "FailedNetworkReconcile" in said:
        return Explanation("the controller cannot open the security groups of its pods", evidence)
    place = ref_of(pods[0]).namespace if pods else "kube-system"
    return Explanation("", evidence, f"kubectl -n {place} logs -l {CONTROLLER_LABEL} --tail=200 | grep {name}")


def explain_readiness_gate(finding: Finding, _reads: Reads) -> Explanation:
    """A load balancer's gate: the target's health is in the condition, as the controller wrote it."""
    gate = finding.container
    if not gate.startswith("target-health.elbv2.k8s.aws/"):
        return Explanation()
    binding = gate.partition("/")[2]
    found = condition(finding.subject, gate)
    ref = ref_of(finding.subject)
    if found is None:
        because = "the AWS Load Balancer Controller has not registered the pod"
        return Explanation(because, (), f"kubectl -n {ref.namespace} describe targetgroupbinding {binding}")
    because = f"the load balancer's health check does not pass: {message_of(found) or found.get('reason')}"
    query = "{.spec.targetGroupARN}"
    arn = f"$(kubectl -n {ref.namespace} get targetgroupbinding {binding} -o jsonpath='{query}')"
    return Explanation(because, (), f'aws elbv2 describe-target-health --target-group-arn "{arn}"')


def explain_provisioning(finding: Finding, reads: Reads) -> Explanation:
    storage_class = str((finding.subject.get("spec") or {}).get("storageClassName") or "")
    if not storage_class:
        return Explanation()
    provisioner = (reads.get(Ref("storage.k8s.io/v1", "StorageClass", "", storage_class)).obj or {}).get("provisioner")
    if not provisioner:
        return Explanation()
    driver = reads.get(Ref("storage.k8s.io/v1", "CSIDriver", "", str(provisioner)))
    return provisioning_explanation(finding, storage_class, str(provisioner), driver)


def provisioning_explanation(finding: Finding, storage_class: str, provisioner: str, driver: Answer) -> Explanation:
    if driver.is_absent and not provisioner.startswith("kubernetes.io/"):
        because = f"the provisioner of its storage class {storage_class}, {provisioner}, is not installed"
        command = "kubectl get csidrivers"
        if provisioner == "ebs.csi.aws.com":
            command = "aws eks describe-addon --addon-name aws-ebs-csi-driver --cluster-name …"
        return Explanation(because, (), command)
    if ACCESS_DENIED.search(finding.evidence):
        return iam_denied(finding.evidence, "")
    ref = ref_of(finding.subject)
    return Explanation("", [f"storage class {storage_class}, provisioner {provisioner}"], ref.kubectl("describe"))


def explain_storage_class(finding: Finding, reads: Reads) -> Explanation:
    """A class that does not exist is often one of another cloud, or misspelt."""
    wanted = re.search(r"storage class (\S+) does not exist|storageclass\S* \"(\S+)\" not found", _said(finding))
    classes = by_name(reads.items("storage.k8s.io/v1", "StorageClass"))
    near = did_you_mean((wanted[1] or wanted[2]) if wanted else "", classes)
    shown = f"storage classes that exist: {', '.join(sorted(classes)) or 'none'}"
    return Explanation(near.removeprefix("; "), [] if shown in finding.evidence else [shown])


def explain_load_balancer(finding: Finding, reads: Reads) -> Explanation:
    """Of an Ingress or a Service of type LoadBalancer."""
    obj, spec = finding.subject, finding.subject.get("spec") or {}
    if obj.get("kind") == "Ingress":
        classes = by_name(reads.items("networking.k8s.io/v1", "IngressClass"))
        wanted = spec.get("ingressClassName")
        if wanted and wanted not in classes:
            shown = ", ".join(sorted(classes)) or "none"
            because = f"its IngressClass {wanted} does not exist{did_you_mean(str(wanted), classes)}"
            return Explanation(because, [f"ingress classes that exist: {shown}"], "kubectl get ingressclass")
        if not wanted and len(classes) != 1:
            return Explanation("it names no ingressClassName", (), "kubectl get ingressclass")
    if ACCESS_DENIED.search(finding.evidence):
        return iam_denied(finding.evidence, "")
    return Explanation()


def explain_names(finding: Finding, reads: Reads) -> Explanation:
    """A CustomResourceDefinition whose names another one has."""
    names = (finding.subject.get("spec") or {}).get("names") or {}
    group = (finding.subject.get("spec") or {}).get("group")
    taken = [
        ref_of(entry).name
        for entry in reads.items("apiextensions.k8s.io/v1", "CustomResourceDefinition") or ()
        if (entry.get("spec") or {}).get("group") == group
        and ref_of(entry).name != ref_of(finding.subject).name
        and _shared_names(names, ((entry.get("spec") or {}).get("names")) or {})
    ]
    because = f"its names are taken by {', '.join(taken)}" if taken else "its names are taken"
    return Explanation(because, (), f"kubectl get crd {' '.join(taken)} -o jsonpath='{{..spec.names}}'")


def explain_not_found(ref: Ref, reads: Reads) -> Explanation:
    """An object that never came, or a selector that matches nothing."""
    listed = reads.items(ref.api_version, ref.kind, ref.namespace)
    if listed is None:
        return Explanation()
    names = [ref_of(obj).name for obj in listed]
    where = f"in namespace {ref.namespace}" if ref.namespace else "in the cluster"
    if any(character in ref.name for character in "=,()! "):
        shown = [f"{ref_of(obj).name} has {_labels(obj)}" for obj in listed[:3]]
        return Explanation("", shown or [f"there is no {ref.kind} {where}"])
    near = did_you_mean(ref.name, names).removeprefix("; ")
    return Explanation(near, [f"{ref.kind} objects {where}: {', '.join(sorted(names)[:5]) or 'none'}"])


def _scale_target(autoscaler: Object, reads: Reads) -> Answer:
    named = (autoscaler.get("spec") or {}).get("scaleTargetRef") or {}
    kind, version = str(named.get("kind")), str(named.get("apiVersion") or "apps/v1")
    return reads.get(Ref(version, kind, ref_of(autoscaler).namespace, str(named.get("name"))))


def _aws(command: str, region: str) -> str:
    return f"aws secretsmanager {command}" + (f" --region {region}" if region else "")


def _region(store: Object) -> str:
    return str((((store.get("spec") or {}).get("provider") or {}).get("aws") or {}).get("region") or "")


def _first_key(external_secret: Object) -> str:
    spec = external_secret.get("spec") or {}
    for entry in spec.get("data") or []:
        return str((entry.get("remoteRef") or {}).get("key"))
    for entry in spec.get("dataFrom") or []:
        return str((entry.get("extract") or {}).get("key"))
    return ""


def _shared_names(names: Object, others: Object) -> bool:
    own = {names.get("plural"), names.get("singular"), names.get("kind"), *(names.get("shortNames") or [])}
    other = {others.get("plural"), others.get("singular"), others.get("kind"), *(others.get("shortNames") or [])}
    return bool((own & other) - {None, ""})


def _labels(obj: Object) -> str:
    return ",".join(f"{key}={value}" for key, value in labels_of(obj).items()) or "no labels"


def _said(finding: Finding) -> str:
    return f"{finding.cause}\n{finding.evidence}"
