"""What a finding is, when to give up because of one, and what the rules that make them may look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from .objects import uid_of

Object = Mapping[str, Any]

# Time for what another controller is just about to do: create a service account, serve metrics, log in to a secret
# manager.
HEALING_SECONDS = 60.0


@dataclass(frozen=True)
class FailFast:
    """When to give up early. ``unschedulable_seconds`` is None where a node autoscaler may still add a node."""

    enabled: bool = True
    crash_loop_restarts: int = 2
    image_pull_seconds: float = 60.0
    unschedulable_seconds: float | None = 60.0


DEFAULT_POLICY = FailFast()


@dataclass(frozen=True)
class Finding:
    """A reason why something is not ready, as far as the watched objects tell it.

    It is fatal at once, after a grace during which it may heal (counted by the caller from the moment it first saw the
    finding), or never by itself (``grace_seconds`` is None). ``rule`` names the explanation that a diagnosis adds to
    it; ``subject`` is the object it was read from (a pod, for most) and ``container`` the one to blame in it.
    """

    rule: str
    cause: str
    evidence: str
    next_command: str
    subject: Object = field(default_factory=dict)
    container: str = ""
    grace_seconds: float | None = 0.0

    @property
    def key(self) -> tuple[str, ...]:
        """The same as long as it is the same problem of the same thing."""
        return (uid_of(self.subject), self.container, self.rule)


@dataclass(frozen=True)
class Explanation:
    """What a diagnosis adds to a finding: ``because`` ends the cause's sentence; what is empty leaves the finding's own
    words as they are.
    """

    because: str = ""
    evidence: Sequence[str] = ()
    next_command: str = ""


class Surroundings(Protocol):
    """What is known around an object; ``live.LiveState`` is it."""

    def owned(self, uid: str, kind: str) -> Sequence[Object]:
        """The objects of this kind that have the object with this uid as an owner."""

    def warnings_about(self, uid: str) -> Sequence[Object]:
        """The Warning events about the object with this uid."""

    def fresh_warnings_about(self, uid: str) -> Sequence[Object]:
        """Those that happened since the waiting began."""

    def warnings_about_named(self, kind: str, namespace: str, name: str) -> Sequence[Object]:
        """The Warning events about the object with this name."""

    def storage_classes(self) -> Sequence[Object] | None:
        """None as long as they are not known."""
