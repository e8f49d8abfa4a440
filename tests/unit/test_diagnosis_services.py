"""Why a Service has no endpoints: its selector, its pods, its ports."""

from __future__ import annotations

from typing import Any

from ansible_collections.erp.platform.plugins.module_utils.diagnosis_services import explain_endpoints
from ansible_collections.erp.platform.plugins.module_utils.finding import Explanation
from ansible_collections.erp.platform.plugins.module_utils.objects import Ref

from .explaining import Cluster, obj, pod, reads, service

WEB = Ref("v1", "Service", "erp", "web")


def explained(*objects: dict[str, Any]) -> Explanation:
    return explain_endpoints(WEB, reads(Cluster(*objects)))


def ready(name: str, **fields: Any) -> dict[str, Any]:
    found = pod(name, **fields)
    found["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    return found


def test_a_service_that_does_not_exist_is_looked_for_under_similar_names() -> None:
    found = explained(service("webs"))
    assert found.because == "the Service does not exist; did you mean 'webs'?"


def test_a_selector_that_matches_nothing_says_which_label_differs() -> None:
    near = pod("web-1", labels={"app": "web", "tier": "back"})
    found = explained(service("web", app="web", tier="front"), near, pod("other", labels={"run": "x"}))
    assert found.because == (
        "its selector app=web,tier=front matches no pod: it wants tier=front, the nearest pod has tier=back"
    )
    assert found.evidence == ["pod web-1 has app=web,tier=back"]
    assert found.next_command == "kubectl -n erp get pods --show-labels"


def test_a_label_that_the_pods_do_not_have_at_all_is_said_so() -> None:
    found = explained(service("web", app="web", tier="front"), pod("web-1", labels={"app": "web"}))
    assert found.because.endswith("it wants tier=front, the nearest pod has no label tier")


def test_pods_that_match_but_are_not_ready_say_why() -> None:
    waiting = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    found = explained(service("web", app="web"), pod("web-1", status=waiting))
    assert found.because == "1 of the 1 pods that its selector matches are not ready"
    assert "pod web-1 container web: CrashLoopBackOff" in found.evidence
    assert found.next_command == "kubectl -n erp describe pod web-1"


def test_a_target_port_that_no_container_names_is_the_reason() -> None:
    named = service("web", app="web")
    named["spec"]["ports"] = [{"port": 80, "targetPort": "http"}]
    found = explained(named, ready("web-1", ports=[{"name": "web", "containerPort": 8080}]))
    assert found.because == "its targetPort http is no port of the pods' containers (their port names: web)"


def test_policies_that_select_the_pods_are_only_a_hint() -> None:
    policy = obj("NetworkPolicy", "deny", "networking.k8s.io/v1", spec={"podSelector": {"matchLabels": {"app": "web"}}})
    other = obj("NetworkPolicy", "x", "networking.k8s.io/v1", spec={"podSelector": {"matchLabels": {"app": "x"}}})
    found = explained(service("web", app="web"), pod("web-1"), policy, other)
    assert "NetworkPolicies that select these pods and may matter to who reaches them: deny" in found.evidence
    assert "deny" not in found.because


def test_a_service_without_selector_or_with_an_external_name_is_told_so() -> None:
    bare = service("web")
    bare["spec"]["selector"] = {}
    external = {**service("web"), "spec": {"type": "ExternalName", "externalName": "db.example.com"}}
    assert explained(bare).because.startswith("it has no selector")
    assert explained(external).because == "it is of type ExternalName (db.example.com), which has no endpoints"
