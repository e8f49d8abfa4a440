"""The failure as a person needs it: a finding, completed by what a handful of read requests tells.

What is asked for depends on the finding's rule; the table below says which explanation belongs to which. Reading is
bounded in time, and what cannot be read is said and otherwise does no harm. Nothing of a Secret but its type and its
registries' names is looked at, and everything that is shown is masked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from .api import Api
from .diagnosis_admission import explain_pods_refused, explain_refusal
from .diagnosis_controllers import (
    explain_api_service,
    explain_external_secret,
    explain_load_balancer,
    explain_metrics,
    explain_names,
    explain_not_found,
    explain_provisioning,
    explain_readiness_gate,
    explain_requests,
    explain_scale_target,
    explain_secret_store,
    explain_storage_class,
    explain_target_group_binding,
)
from .diagnosis_crashes import explain_crash
from .diagnosis_images import explain_image
from .diagnosis_pending import explain_pending
from .diagnosis_reads import Memory, Reads
from .diagnosis_services import explain_endpoints
from .errors import PlatformError
from .finding import Explanation, Finding, Object
from .masking import mask, secret_literals
from .objects import Ref, mapping

DIAGNOSIS_SECONDS = 5.0

_EXPLANATIONS: Mapping[str, Callable[[Finding, Reads], Explanation]] = {
    "image-missing": explain_image,
    "image-denied": explain_image,
    "image-pull": explain_image,
    "image-name": explain_image,
    "image-never": explain_image,
    "crash-loop": explain_crash,
    "container-run": explain_crash,
    "oom": explain_crash,
    "ended": explain_crash,
    "probe": explain_crash,
    "unschedulable": explain_pending,
    "storage-class": explain_storage_class,
    "provisioning": explain_provisioning,
    "pods-refused": explain_pods_refused,
    "metrics-server": explain_metrics,
    "requests": explain_requests,
    "scale-target": explain_scale_target,
    "external-secret": explain_external_secret,
    "secret-store": explain_secret_store,
    "target-group-binding": explain_target_group_binding,
    "readiness-gate": explain_readiness_gate,
    "api-service": explain_api_service,
    "load-balancer": explain_load_balancer,
    "names": explain_names,
}
# These are about the target as it was asked for, not about an object that was found.
_OF_TARGETS: Mapping[str, Callable[[Ref, Reads], Explanation]] = {
    "endpoints": explain_endpoints,
    "not-found": explain_not_found,
}


class Diagnosis:
    """One per run: what several failures ask for alike is read once. Its methods may be called from any thread."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._memory = Memory()

    def complete(self, ref: Ref, finding: Finding, objects: Sequence[Object]) -> PlatformError:
        """The finding about the target as an error, within DIAGNOSIS_SECONDS."""
        reads = self._reads()
        try:
            explanation = _explained(ref, finding, reads)
        except Exception as error:  # noqa: BLE001 - an object of no expected form must not hide the failure
            explanation = Explanation(evidence=[f"no more is known: {type(error).__name__}: {error}"])
        cause = f"{finding.cause}: {explanation.because}" if explanation.because else finding.cause
        lines = [*finding.evidence.splitlines(), *explanation.evidence, *reads.problems]
        literals = {value for obj in (finding.subject, *objects) for value in _literals(obj)}
        return PlatformError(
            mask(cause, literals),
            object=str(ref),
            evidence=mask("\n".join(_without_repeats(lines)), literals),
            next_command=explanation.next_command or finding.next_command,
        )

    def refused(self, ref: Ref, message: str) -> PlatformError | None:
        """An apply that the server refused; None if the message is of no form that is known."""
        return explain_refusal(ref, message, self._reads())

    def _reads(self) -> Reads:
        return Reads(self._api, self._memory, time.monotonic() + DIAGNOSIS_SECONDS)


def _explained(ref: Ref, finding: Finding, reads: Reads) -> Explanation:
    if finding.rule in _OF_TARGETS:
        return _OF_TARGETS[finding.rule](ref, reads)
    explain = _EXPLANATIONS.get(finding.rule)
    return explain(finding, reads) if explain is not None else Explanation()


def _literals(obj: Object) -> set[str]:
    """Of a pod, or of what has a pod template."""
    template = mapping(mapping(obj.get("spec")).get("template"))
    return secret_literals(obj) | secret_literals(template)


def _without_repeats(lines: Iterable[str]) -> list[str]:
    # A log may say the same twice, and that it does can matter; its lines are indented.
    seen: set[str] = set()
    kept = []
    for line in lines:
        if line.startswith("  ") or line not in seen:
            kept.append(line)
        seen.add(line)
    return kept
