"""What has to be installed where the modules run: Python packages and programs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterable
from importlib import metadata

from .errors import PlatformError


def missing_packages(requirements: Iterable[str]) -> list[PlatformError]:
    """Return one error per requirement ('kubernetes>=31') that this interpreter doesn't meet."""
    from packaging.requirements import Requirement

    found = []
    for text in requirements:
        requirement = Requirement(text)
        try:
            installed = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            cause, evidence = "is not installed", f"interpreter {sys.executable}"
        else:
            if requirement.specifier.contains(installed, prereleases=True):
                continue
            cause, evidence = (
                f"{installed} is installed, {requirement.specifier} is needed",
                f"interpreter {sys.executable}",
            )
        command = f"{sys.executable} -m pip install '{text}'"
        found.append(PlatformError(cause, f"Python package {requirement.name}", evidence, command))
    return found


def missing_binaries(names: Iterable[str], path: str) -> list[PlatformError]:
    """Return one error per program that is in no directory of the search path."""
    return [
        PlatformError(
            "is not installed",
            object=f"program {name}",
            evidence=f"PATH {path}",
            next_command=f"install {name} where Ansible runs (in AWX: the execution environment), then: {name} --help",
        )
        for name in names
        if shutil.which(name, path=path) is None
    ]
