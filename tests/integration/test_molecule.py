"""Each capability alone, by its molecule scenario: prepare, converge, idempotence, verify, cleanup."""

from __future__ import annotations

from pathlib import Path

import pytest

SCENARIOS = sorted(path.parent.name for path in Path(__file__).parents[2].glob("molecule/*/molecule.yml"))

pytestmark = pytest.mark.timeout(900)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario_converges_changes_nothing_the_second_time_and_verifies(scenario, sandbox):
    run = sandbox.molecule("test", "--scenario-name", scenario)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-6000:]
