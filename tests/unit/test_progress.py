"""Who gets to see which line."""

from __future__ import annotations

import pytest
from ansible_collections.erp.platform.plugins.module_utils.progress import Level, shown, silent


@pytest.mark.parametrize(
    ("verbosity", "quiet", "seen"),
    [
        (0, False, ["ready", "1/2 ready"]),
        (1, False, ["ready", "1/2 ready", "listed"]),
        (3, False, ["ready", "1/2 ready", "listed"]),
        (0, True, ["ready"]),
        (1, True, ["ready"]),
    ],
)
def test_quiet_shows_outcomes_alone_and_verbose_shows_details_too(verbosity: int, quiet: bool, seen: list[str]) -> None:
    lines: list[str] = []
    report = shown(lines.append, verbosity, quiet)
    report("ready", Level.OUTCOME)
    report("1/2 ready")
    report("listed", Level.DETAIL)
    assert lines == seen


def test_lines_of_one_host_among_several_bear_its_name() -> None:
    lines: list[str] = []
    shown(lines.append, 0, False, "[seoul] ")("web 1/2 ready")
    assert lines == ["[seoul] web 1/2 ready"]


def test_silence_takes_a_line_of_any_level() -> None:
    for level in Level:
        silent("not seen", level)
