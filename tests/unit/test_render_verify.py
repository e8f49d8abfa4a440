"""What the role verify finds fault with, from what it has read."""

from __future__ import annotations

import pytest

from tests.unit.render import evaluate

ARN = "arn:aws:elasticloadbalancing:ap-northeast-2:806332783810:targetgroup/known/0123456789abcdef"
BINDING = {
    "kind": "TargetGroupBinding",
    "metadata": {"name": "plain-tgb"},
    "spec": {"serviceRef": {"name": "plain"}, "targetGroupARN": ARN},
}
PROBLEMS = "lookup('ansible.builtin.template', 'problems.yaml.j2') | from_yaml | default([], true)"


def read(pods: dict[str, bool], targets: dict[str, str]):
    """What was read: pods, address -> ready; and targets, address -> health."""
    endpoints = [{"addresses": [address], "conditions": {"ready": ready}} for address, ready in pods.items()]
    endpoint_slice = {"metadata": {"labels": {"kubernetes.io/service-name": "plain"}}, "endpoints": endpoints}
    health = [
        {"target": {"id": address}, "target_health": {"state": state, "reason": f"Target.{state}"}}
        for address, state in targets.items()
    ]
    group = {"target_group_name": "known", "targets_health_description": health}
    return {
        "verify_namespace": "erp-dev",
        "verify_manifests": [BINDING],
        "__verify_live": {"results": [{"item": {"kind": "EndpointSlice"}, "resources": [endpoint_slice]}]},
        "__verify_target_groups": {"target_groups": [group]},
        "__verify_aliases": {"results": []},
        "__verify_releases": {"results": []},
    }


@pytest.fixture(scope="module")
def problems():
    return evaluate(
        "verify",
        PROBLEMS,
        {
            "well": read({"10.0.0.1": True}, {"10.0.0.1": "healthy", "10.0.0.9": "draining"}),
            "scaling-up": read({"10.0.0.1": True, "10.0.0.2": False}, {"10.0.0.1": "healthy", "10.0.0.2": "initial"}),
            "stale": read({"10.0.0.1": True}, {"10.0.0.1": "healthy", "10.0.0.2": "unhealthy"}),
            "unhealthy": read({"10.0.0.1": True}, {"10.0.0.1": "unhealthy"}),
            "unregistered": read({"10.0.0.1": True, "10.0.0.2": False}, {}),
        },
    )


@pytest.mark.parametrize("scenario", ["well", "scaling-up"])
def test_a_pod_that_is_registered_before_it_is_ready_is_no_fault(problems, scenario):
    assert problems[scenario] == []


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        ("stale", "target 10.0.0.2: is registered, but is no pod of the service"),
        ("unhealthy", "target 10.0.0.1: is unhealthy (Target.unhealthy)"),
        ("unregistered", "pod 10.0.0.1: is ready, but not registered"),
    ],
)
def test_each_fault_is_told_once(problems, scenario, words):
    (problem,) = problems[scenario]
    assert problem.startswith(f"service plain, target group known, {words}")
