"""Lines about what goes on while something is waited for: how much each one matters, and who gets to see it."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Protocol


class Level(IntEnum):
    """How much a line matters; the smaller, the more."""

    OUTCOME = 0
    """An object or a node became ready or failed, or one that was ready no longer is."""
    CHANGE = 1
    """Any other change of state, such as "1/2 ready, 1 pulling image"."""
    DETAIL = 2
    """What explains a wait: connections lost and resumed, lists, what was applied, what was ready at first sight."""


class Report(Protocol):
    """Takes one line at the moment it becomes true, from whichever thread."""

    def __call__(self, line: str, level: Level = Level.CHANGE) -> None: ...


def silent(line: str, level: Level = Level.CHANGE) -> None:
    """Where nobody can see a line before the end."""


def shown(display: Callable[[str], object], verbosity: int, quiet: bool, prefix: str = "") -> Report:
    """Hand on what people asked to see: only outcomes if quiet; else changes too, and details from ``-v`` on."""
    loud = Level.DETAIL if verbosity > 0 else Level.CHANGE
    most = Level.OUTCOME if quiet else loud

    def report(line: str, level: Level = Level.CHANGE) -> None:
        if level <= most:
            display(f"{prefix}{line}")

    return report
