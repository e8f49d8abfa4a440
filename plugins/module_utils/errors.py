"""Failures as this collection reports them: object, cause, evidence, next command."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class PlatformError(Exception):
    """One failure.

    ``cause`` is one sentence; ``object`` is what it happened to ("Deployment erp-dev/kafka"); ``evidence`` is what
    shows it (an event, a container's state, log lines; may have several lines); ``next_command`` is what to run or do
    next.
    """

    def __init__(self, cause: str, object: str = "", evidence: str = "", next_command: str = "") -> None:
        super().__init__(cause)
        self.cause = cause
        self.object = object
        self.evidence = evidence
        self.next_command = next_command

    def failures(self) -> tuple[PlatformError, ...]:
        """The single failures this error consists of."""
        return (self,)

    def as_dict(self) -> dict[str, str]:
        return {
            "object": self.object,
            "cause": self.cause,
            "evidence": self.evidence,
            "next_command": self.next_command,
        }

    def as_result(self) -> dict[str, Any]:
        """The arguments of ``fail_json``."""
        return {"msg": str(self), "failures": [failure.as_dict() for failure in self.failures()]}

    def __str__(self) -> str:
        lines = [f"{self.object}: {self.cause}" if self.object else self.cause]
        lines += _labelled("evidence", self.evidence)
        lines += _labelled("next", self.next_command)
        return "\n".join(lines)


class PlatformErrors(PlatformError):
    """Several failures, reported at once."""

    def __init__(self, failures: Iterable[PlatformError]) -> None:
        self._failures = tuple(single for failure in failures for single in failure.failures())
        super().__init__(f"{len(self._failures)} failures")

    def failures(self) -> tuple[PlatformError, ...]:
        return self._failures

    def __str__(self) -> str:
        return "\n".join(str(failure) for failure in self._failures)


def raise_all(failures: Iterable[PlatformError]) -> None:
    """Raise what was collected, if anything was."""
    collected = tuple(failures)
    if len(collected) == 1:
        raise collected[0]
    if collected:
        raise PlatformErrors(collected)


def _labelled(label: str, text: str) -> list[str]:
    if not text:
        return []
    first, *rest = text.splitlines()
    return [f"  {label + ':':<10}{first}", *(f"            {line}" for line in rest)]
