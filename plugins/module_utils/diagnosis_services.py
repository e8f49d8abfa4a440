"""Why a Service has no ready endpoints, and what is known of the services behind webhooks and APIs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .diagnosis_crashes import ready_addresses
from .diagnosis_reads import Answer, Reads, by_name
from .did_you_mean import did_you_mean
from .evidence import lower, pod_line
from .finding import Explanation, Object
from .objects import Ref, is_being_deleted, labels_of, metadata_of, ref_of
from .workload_pods import containers_of, is_ready

_SHOWN = 3


def explain_endpoints(ref: Ref, reads: Reads) -> Explanation:
    service = reads.get(Ref("v1", "Service", ref.namespace, ref.name))
    if service.is_absent:
        listed = by_name(reads.items("v1", "Service", ref.namespace))
        because = f"the Service does not exist{did_you_mean(ref.name, listed)}"
        return Explanation(because, (), f"kubectl -n {ref.namespace} get services")
    pods = reads.items("v1", "Pod", ref.namespace)
    slices = reads.items(
        "discovery.k8s.io/v1", "EndpointSlice", ref.namespace, f"kubernetes.io/service-name={ref.name}"
    )
    policies = reads.items("networking.k8s.io/v1", "NetworkPolicy", ref.namespace)
    return endpoints_explanation(service, pods, slices or (), policies or ())


def endpoints_explanation(
    answer: Answer, pods: Sequence[Object] | None, slices: Sequence[Object], policies: Sequence[Object]
) -> Explanation:
    """Selector against labels, readiness, port names; NetworkPolicies only as what may matter."""
    if answer.obj is None or pods is None:
        return Explanation()
    service = answer.obj
    ref, spec = ref_of(service), service.get("spec") or {}
    selector: Mapping[str, str] = spec.get("selector") or {}
    if spec.get("type") == "ExternalName":
        because = f"it is of type ExternalName ({spec.get('externalName')}), which has no endpoints"
        return Explanation(because, (), ref.kubectl("get"))
    if not selector:
        because = "it has no selector: whoever wrote it must write its EndpointSlices too"
        return Explanation(because, (), f"kubectl -n {ref.namespace} get endpointslices")
    shown = ",".join(f"{key}={value}" for key, value in selector.items())
    live = [pod for pod in pods if not is_being_deleted(pod)]
    matched = [pod for pod in live if _differences(selector, pod) == {}]
    if not matched:
        return _nothing_matches(ref, selector, live)
    unready = [pod for pod in matched if not is_ready(pod)]
    evidence = [f"its selector {shown} matches {', '.join(ref_of(pod).name for pod in matched[:_SHOWN])}"]
    evidence += [line for pod in unready[:_SHOWN] if (line := pod_line(pod))]
    matters = [ref_of(policy).name for policy in policies if _selects_any(policy, matched)]
    if matters:
        evidence.append(
            f"NetworkPolicies that select these pods and may matter to who reaches them: {', '.join(matters)}"
        )
    if misnamed := _misnamed_port(spec, matched):
        evidence.append(misnamed)
        command = f"kubectl -n {ref.namespace} get pods -l {shown} -o jsonpath='{{..ports}}'"
        return Explanation(misnamed, evidence[:-1], command)
    if unready:
        because = f"{len(unready)} of the {len(matched)} pods that its selector matches are not ready"
        return Explanation(because, evidence, ref_of(unready[0]).kubectl("describe"))
    count = len(ready_addresses(slices, ref.name))
    because = f"its selector matches {len(matched)} pods, all ready; {count} are in its EndpointSlices"
    return Explanation(because, evidence, f"kubectl -n {ref.namespace} get pods -l {shown}")


def behind(ref: Ref, reads: Reads) -> Explanation:
    """The state of the Service that a webhook or an APIService leads to."""
    service = reads.get(ref)
    if service.is_absent:
        return Explanation(f"{ref} does not exist", (), f"kubectl get services --all-namespaces | grep {ref.name}")
    if service.obj is None:
        return Explanation("", (), ref.kubectl("describe"))
    pods = reads.items("v1", "Pod", ref.namespace)
    slices = reads.items("discovery.k8s.io/v1", "EndpointSlice", ref.namespace) or ()
    return behind_explanation(service.obj, pods, slices)


def behind_explanation(service: Object, pods: Sequence[Object] | None, slices: Sequence[Object]) -> Explanation:
    ref = ref_of(service)
    selector: Mapping[str, str] = (service.get("spec") or {}).get("selector") or {}
    shown = ",".join(f"{key}={value}" for key, value in selector.items())
    command = f"kubectl -n {ref.namespace} get pods -l {shown}"
    if ready_addresses(slices, ref.name):
        return Explanation(
            f"{ref} has ready endpoints now", (), f"kubectl -n {ref.namespace} logs -l {shown} --tail=20"
        )
    matched = [pod for pod in pods or () if not is_being_deleted(pod) and not _differences(selector, pod)]
    if pods is not None and not matched:
        return Explanation(f"{ref} has no pods (selector {shown})", (), f"kubectl -n {ref.namespace} get deployments")
    lines = [line for pod in matched[:_SHOWN] if (line := pod_line(pod))]
    if matched and lines:
        command = ref_of(next(pod for pod in matched if not is_ready(pod))).kubectl("describe")
    return Explanation(f"{ref} has no ready endpoint", lines, command)


def _nothing_matches(ref: Ref, selector: Mapping[str, str], pods: Sequence[Object]) -> Explanation:
    shown = ",".join(f"{key}={value}" for key, value in selector.items())
    command = f"kubectl -n {ref.namespace} get pods --show-labels"
    # A pod that shares a label, or a label's name, is nearer than one that shares nothing.
    near = sorted(pods, key=lambda pod: (len(_differences(selector, pod)), -_shared_keys(selector, pod)))
    near = [pod for pod in near if _shared_keys(selector, pod)][:_SHOWN]
    if not near:
        return Explanation(f"its selector {shown} matches no pod", (), command)
    differing = _differences(selector, near[0])
    wanted = ", ".join(f"{key}={selector[key]}" for key in differing)
    has = ", ".join(f"{key}={value}" if value else f"no label {key}" for key, value in differing.items())
    because = f"its selector {shown} matches no pod: it wants {wanted}, the nearest pod has {has}"
    evidence = [f"{lower(ref_of(pod))} has {_labels(pod)}" for pod in near]
    return Explanation(because, evidence, command)


def _differences(selector: Mapping[str, str], pod: Object) -> dict[str, str]:
    """The labels in which the pod differs from the selector, with the pod's own values."""
    labels = labels_of(pod)
    return {key: str(labels.get(key) or "") for key, value in selector.items() if labels.get(key) != value}


def _shared_keys(selector: Mapping[str, str], pod: Object) -> int:
    return len(set(selector) & set(labels_of(pod)))


def _labels(pod: Object) -> str:
    generated = {"pod-template-hash", "controller-revision-hash", "pod-template-generation"}
    return ",".join(f"{key}={value}" for key, value in labels_of(pod).items() if key not in generated)


def _misnamed_port(spec: Mapping[str, object], pods: Sequence[Object]) -> str:
    names = {
        str(port.get("name"))
        for pod in pods
        for container in containers_of(pod)
        for port in container.get("ports") or []
        if port.get("name")
    }
    ports = spec.get("ports")
    for port in ports if isinstance(ports, list) else []:
        target = port.get("targetPort")
        if isinstance(target, str) and not target.isdigit() and target not in names:
            listed = ", ".join(sorted(names)) or "none"
            return f"its targetPort {target} is no port of the pods' containers (their port names: {listed})"
    return ""


def _selects_any(policy: Object, pods: Sequence[Object]) -> bool:
    selector = (policy.get("spec") or {}).get("podSelector") or {}
    wanted = selector.get("matchLabels") or {}
    if selector.get("matchExpressions"):
        return True
    return any(not _differences(wanted, pod) for pod in pods) and bool(metadata_of(policy))
