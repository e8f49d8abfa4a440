"""A diagnosis never takes long, never fails, never shows a secret, and says what it could not read."""

from __future__ import annotations

import inspect
import re
import time
from importlib import import_module
from typing import Any

import pytest
from ansible_collections.erp.platform.plugins.module_utils import diagnosis as module
from ansible_collections.erp.platform.plugins.module_utils import findings, findings_controllers, findings_pods
from ansible_collections.erp.platform.plugins.module_utils.diagnosis import Diagnosis
from ansible_collections.erp.platform.plugins.module_utils.finding import Finding
from ansible_collections.erp.platform.plugins.module_utils.objects import Ref

from .explaining import Cluster, finding, obj, pod, reads

# It takes its time when it is first imported, which is not what is timed here.
import_module("kubernetes.utils.quantity")

WEB = Ref("apps/v1", "Deployment", "erp", "web")
CRASHED: dict[str, Any] = {
    "restartCount": 2,
    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    "lastState": {"terminated": {"exitCode": 1}},
}
RULES = [*module._EXPLANATIONS, *module._OF_TARGETS]


def complete(cluster: Cluster, found: Finding, *objects: dict[str, Any]) -> Any:
    return Diagnosis(cluster).complete(WEB, found, objects)  # type: ignore[arg-type]


def test_the_explanation_ends_the_sentence_of_the_finding() -> None:
    error = complete(Cluster(), finding("crash-loop", pod(status=CRASHED)))
    assert error.cause == "the cause: the application reports an error"
    assert error.object == "Deployment erp/web"


def test_a_rule_without_explanation_stays_as_it_was_found() -> None:
    error = complete(Cluster(), finding("setup", pod(), "the evidence"))
    assert (error.cause, error.evidence, error.next_command) == ("the cause", "the evidence", "kubectl describe")


@pytest.mark.parametrize("rule", RULES)
def test_a_cluster_that_forbids_every_read_makes_it_only_vaguer(rule: str) -> None:
    class Everything:
        def __contains__(self, kind: object) -> bool:
            return True

    error = complete(Cluster(unreadable=Everything()), finding(rule, pod(status=CRASHED), "the evidence"))  # type: ignore[arg-type]
    assert error.cause.startswith("the cause")
    assert error.next_command


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("subject", [{}, {"spec": None, "status": None, "metadata": None}, {"spec": "x"}])
def test_an_object_of_no_expected_form_hides_nothing(rule: str, subject: dict[str, Any]) -> None:
    error = complete(Cluster(), finding(rule, subject, "the evidence"))
    assert error.cause.startswith("the cause")
    assert "the evidence" in error.evidence


@pytest.mark.parametrize("rule", RULES)
def test_an_api_that_does_not_answer_holds_it_up_for_its_time_at_most(
    rule: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DIAGNOSIS_SECONDS", 0.2)
    claim = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    subject = pod(status=CRASHED)
    subject["spec"]["volumes"] = [claim]
    start = time.monotonic()
    error = complete(Cluster(slow=60.0), finding(rule, subject, "0/2 nodes are available: 2 Insufficient cpu"))
    assert time.monotonic() - start < 1.0
    assert error.cause.startswith("the cause")


def test_what_could_not_be_read_is_said() -> None:
    error = complete(Cluster(unreadable=["Secret"]), finding("image-denied", with_secret()))
    assert "could not read Secret erp/regcred: Secret is forbidden" in error.evidence


def with_secret() -> dict[str, Any]:
    subject = pod()
    subject["spec"]["imagePullSecrets"] = [{"name": "regcred"}]
    return subject


def test_fifty_failures_of_one_kind_cost_the_reads_of_one() -> None:
    cluster = Cluster(logs={"web/previous": "UnknownHostException: mysql"})
    diagnosis = Diagnosis(cluster)  # type: ignore[arg-type]
    for number in range(50):
        diagnosis.complete(WEB, finding("crash-loop", pod(f"web-{number}", status=CRASHED)), ())
    assert cluster.requests.count("list Service") == 1
    assert cluster.requests.count("log web") + cluster.requests.count("log web/previous") == 50


def test_no_secret_is_in_cause_or_evidence() -> None:
    env = [{"name": "DB_PASSWORD", "value": "kitten-42"}]
    log = "connecting with kitten-42 and token=abcdef123"
    subject = pod(status=CRASHED, env=env)
    found = Finding("crash-loop", "it said kitten-42", "message kitten-42", "kubectl logs", subject, "web")
    error = complete(Cluster(logs={"web/previous": log}), found)
    text = str(error)
    assert "kitten-42" not in text
    assert "abcdef123" not in text
    assert "connecting with ******** and token=********" in text


def test_secrets_of_the_objects_that_were_gated_are_masked_too() -> None:
    template = {"spec": {"containers": [{"name": "web", "env": [{"name": "API_TOKEN", "value": "kitten-43"}]}]}}
    gated = obj("Deployment", "web", "apps/v1", spec={"template": template})
    error = complete(Cluster(), finding("late", {}, "status message with kitten-43"), gated)
    assert error.evidence == "status message with ********"


def test_a_log_that_repeats_itself_is_shown_as_it_is() -> None:
    log = "retrying\nretrying\nretrying"
    error = complete(Cluster(logs={"web/previous": log}), finding("crash-loop", pod(status=CRASHED)))
    assert len(re.findall("retrying", error.evidence)) == 3


def test_every_explanation_belongs_to_a_rule_that_is_found() -> None:
    rules = (findings, findings_controllers, findings_pods)
    source = "".join(inspect.getsource(entry) for entry in rules)
    for rule in RULES:
        assert f'"{rule}"' in source, rule


def test_when_its_time_is_over_nothing_more_is_asked() -> None:
    cluster = Cluster(pod())
    asking = reads(cluster, seconds=0.0)
    assert asking.items("v1", "Pod", "erp") is None
    assert cluster.requests == []
    assert asking.problems == ["not read, as the time for the diagnosis was over: Pod objects of namespace erp"]
