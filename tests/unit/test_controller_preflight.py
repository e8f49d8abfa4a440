"""What is missing on the controller is named, with the way to install it."""

from __future__ import annotations

import sys

from ansible_collections.erp.platform.plugins.module_utils.controller_preflight import (
    missing_binaries,
    missing_packages,
)


def test_a_package_that_is_there_in_a_wanted_version_is_no_problem():
    assert missing_packages(["jsonschema>=4", "PyYAML"]) == []


def test_a_missing_package_is_told_with_the_command_that_installs_it():
    (problem,) = missing_packages(["no-such-package>=1"])
    assert problem.object == "Python package no-such-package"
    assert problem.next_command == f"{sys.executable} -m pip install 'no-such-package>=1'"


def test_a_package_that_is_too_old_is_told_with_both_versions():
    (problem,) = missing_packages(["jsonschema>=999"])
    assert problem.cause.endswith("is installed, >=999 is needed")


def test_a_program_is_looked_for_on_the_search_path_only(tmp_path):
    program = tmp_path / "helm"
    program.write_text("")
    program.chmod(0o755)
    assert missing_binaries(["helm"], str(tmp_path)) == []
    (problem,) = missing_binaries(["helm", "aws"], str(tmp_path))
    assert problem.object == "program aws"
    assert str(tmp_path) in problem.evidence
