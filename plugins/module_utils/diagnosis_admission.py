"""Why the API server refuses an object, or a controller's pods: quota, LimitRange, Pod Security, policies, webhooks."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

from .diagnosis_aws import ACCESS_DENIED, NO_TARGET_GROUP, iam_denied
from .diagnosis_reads import Reads
from .diagnosis_services import behind
from .errors import PlatformError
from .finding import Explanation, Finding, Object
from .objects import Ref, ref_of

_QUOTA = re.compile(
    r"exceeded quota: (?P<name>[^,\s]+), requested: (?P<requested>.+?), used: (?P<used>.+?), limited: (?P<limited>.+)"
)
_QUOTA_WANTS = re.compile(r"failed quota: (?P<name>[^:\s]+): must specify (?P<missing>[^;]+)")
_POD_SECURITY = re.compile(r'violates PodSecurity "(?P<level>[^":]+)[^"]*": (?P<rules>.+)', re.DOTALL)
_LIMIT = re.compile(
    r"(?P<said>(?:maximum|minimum) [\w./-]+ usage per \w+ is [^,\]]+, but [^,\]]+"
    r"|[\w./-]+ max limit to request ratio.*)"
)
_DENIED = re.compile(
    r'admission webhook "(?P<name>[^"]+)" denied the request(?::| without explanation)? ?(?P<said>.*)', re.DOTALL
)
_POLICY = re.compile(
    r"ValidatingAdmissionPolicy '(?P<name>[^']+)' with binding '[^']+' denied request: (?P<said>.*)", re.DOTALL
)
_UNANSWERED = re.compile(
    r'failed calling webhook "(?P<name>[^"]+)": (?:failed to call webhook: )?(?P<said>.*)', re.DOTALL
)
_WEBHOOK_URL = re.compile(r"https://(?P<service>[\w-]+)\.(?P<namespace>[\w-]+)\.svc")
_RULE = re.compile(r"(?P<rule>[^,(]+?) \((?P<what>[^()]*(?:\([^()]*\)[^()]*)*)\)")
_PRIORITY = re.compile(r"no PriorityClass with name (?P<name>\S+) was found")
_CONFIGURATIONS = ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")


def explain_pods_refused(finding: Finding, reads: Reads) -> Explanation:
    """A controller's pods are refused."""
    explanation = refusal_explanation(finding.evidence, ref_of(finding.subject)) or Explanation()
    return _completed(explanation, finding.evidence, reads, ref_of(finding.subject))


def explain_refusal(ref: Ref, message: str, reads: Reads) -> PlatformError | None:
    """The server's refusal of an apply in words, with what can be read about the quota or webhook.

    None if it is none of those that have a form known here.
    """
    explanation = refusal_explanation(message, ref)
    return None if explanation is None else _as_error(ref, message, _completed(explanation, message, reads, ref))


def refusal_explanation(message: str, ref: Ref) -> Explanation | None:
    """Which rule refuses it, as the message says, and what to change."""
    for pattern, explain in _RULES:
        if match := pattern.search(message):
            return explain(match, ref)
    return None


def _exceeded(match: re.Match[str], ref: Ref) -> Explanation:
    allowed, used, wanted = match["limited"].strip(), match["used"], match["requested"]
    because = f"quota {match['name']} allows {allowed}, {used} is used and {wanted} more is wanted"
    return Explanation(because, (), f"kubectl -n {ref.namespace} describe resourcequota {match['name']}")


def _unspecified(match: re.Match[str], ref: Ref) -> Explanation:
    because = f"quota {match['name']} wants every container to specify {match['missing'].strip()}"
    return Explanation(because, (), f"kubectl -n {ref.namespace} describe resourcequota {match['name']}")


def _insecure(match: re.Match[str], ref: Ref) -> Explanation:
    rules = [found["rule"].strip() for found in _RULE.finditer(match["rules"])]
    fixes = [found["what"].strip() for found in _RULE.finditer(match["rules"])]
    because = f"the {match['level']} standard forbids: {', '.join(rules) or match['rules'].strip()}"
    command = f"kubectl get namespace {ref.namespace} --show-labels; correct the securityContext as the evidence says"
    return Explanation(because, fixes, command)


def _limited(match: re.Match[str], ref: Ref) -> Explanation:
    return Explanation(match["said"].strip(" ."), (), f"kubectl -n {ref.namespace} describe limitrange")


def _denied(match: re.Match[str], _ref: Ref) -> Explanation:
    said = match["said"].strip()
    because = f"admission webhook {match['name']} denied it: {said or 'without saying why'}"
    if NO_TARGET_GROUP.search(said):
        command = "aws elbv2 describe-target-groups --query 'TargetGroups[].TargetGroupArn'"
        return Explanation(because, (), command)
    if ACCESS_DENIED.search(said) and "arn:" in said:
        return Explanation(because, (), iam_denied(said, "").next_command)
    return Explanation(because, (), _find_webhook(match["name"]))


def _against_policy(match: re.Match[str], _ref: Ref) -> Explanation:
    because = f"ValidatingAdmissionPolicy {match['name']} denied it: {match['said'].strip()}"
    return Explanation(because, (), f"kubectl get validatingadmissionpolicy {match['name']} -o yaml")


def _unanswered(match: re.Match[str], _ref: Ref) -> Explanation:
    because = f"admission webhook {match['name']} does not answer"
    url = _WEBHOOK_URL.search(match["said"])
    command = (
        f"kubectl -n {url['namespace']} describe service {url['service']}" if url else _find_webhook(match["name"])
    )
    return Explanation(because, (), command)


def _no_priority(match: re.Match[str], _ref: Ref) -> Explanation:
    return Explanation(f"PriorityClass {match['name']} does not exist", (), "kubectl get priorityclass")


_RULES: Sequence[tuple[re.Pattern[str], Callable[[re.Match[str], Ref], Explanation]]] = (
    (_UNANSWERED, _unanswered),
    (_DENIED, _denied),
    (_POLICY, _against_policy),
    (_QUOTA, _exceeded),
    (_QUOTA_WANTS, _unspecified),
    (_POD_SECURITY, _insecure),
    (_LIMIT, _limited),
    (_PRIORITY, _no_priority),
)


def _completed(explanation: Explanation, message: str, reads: Reads, ref: Ref) -> Explanation:
    if (unanswered := _UNANSWERED.search(message)) is not None:
        service = _service_of(unanswered, reads)
        if service is None:
            return explanation
        state = behind(service, reads)
        because = f"{explanation.because}: {state.because}" if state.because else explanation.because
        evidence = [f"webhook {unanswered['name']} is served by {service}", *state.evidence]
        return Explanation(because, evidence, state.next_command)
    if (quota := _QUOTA.search(message)) is not None:
        users = reads.items("v1", "Pod", ref.namespace)
        count = len(users) if users is not None else 0
        if count:
            return replace(explanation, evidence=[f"{count} pods exist in namespace {ref.namespace}"])
        return replace(explanation, evidence=[f"quota {quota['name']}: used {quota['used']}"])
    return explanation


def _service_of(match: re.Match[str], reads: Reads) -> Ref | None:
    """From the URL in the message, else from the configuration that has a webhook of this name."""
    if url := _WEBHOOK_URL.search(match["said"]):
        return Ref("v1", "Service", url["namespace"], url["service"])
    for kind in _CONFIGURATIONS:
        for configuration in reads.items("admissionregistration.k8s.io/v1", kind) or ():
            service = _named(configuration, match["name"])
            if service:
                return Ref("v1", "Service", str(service.get("namespace")), str(service.get("name")))
    return None


def _named(configuration: Object, name: str) -> Object:
    for webhook in configuration.get("webhooks") or []:
        if webhook.get("name") == name:
            return (webhook.get("clientConfig") or {}).get("service") or {}
    return {}


def _find_webhook(name: str) -> str:
    return f"kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations -o yaml | grep -B 20 {name}"


def _as_error(ref: Ref, message: str, explanation: Explanation) -> PlatformError:
    evidence = "\n".join([message, *explanation.evidence])
    return PlatformError(
        f"the API server refuses it: {explanation.because}",
        object=str(ref),
        evidence=evidence,
        next_command=explanation.next_command,
    )
