"""Filters that judge erp_services."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleFilterError
from ansible_collections.erp.platform.plugins.module_utils import inventory_source
from ansible_collections.erp.platform.plugins.module_utils import services as rules

if TYPE_CHECKING:
    from ansible_collections.erp.platform.plugins.module_utils.schema_problems import Problem


@contextmanager
def _named_if_missing() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        message = f"the Python package '{error.name}' is missing where Ansible runs; next: pip install {error.name}"
        raise AnsibleFilterError(message) from error


def _with_place(problem: Problem, inventory_dir: str) -> str:
    place = None
    if inventory_dir:
        path = problem.path
        in_defaults = ("erp_service_defaults", *path[2:])
        place = inventory_source.locate(inventory_dir, path)
        if place is None and len(path) > 2:
            place = inventory_source.locate(inventory_dir, in_defaults)
        place = place or inventory_source.locate_nearest(inventory_dir, path)
    return f"{place}: {problem}" if place else str(problem)


def service_problems(
    services: Any,
    defaults: Any = None,
    environment: str = "",
    dependencies: Collection[str] = (),
    inventory_dir: str = "",
) -> list[str]:
    """Return one sentence per problem of the services, with file and line where they can be told."""
    with _named_if_missing():
        found = rules.problems(services, defaults, environment, dependencies=[str(name) for name in dependencies])
    twice = [
        f"{places[-1]}: erp_services.{name}: is written twice, YAML keeps the last only; the other is {places[0]}"
        for name, places in (inventory_source.duplicates(inventory_dir, ("erp_services",)) if inventory_dir else ())
    ]
    return [_with_place(problem, inventory_dir) for problem in found] + twice


def service_warnings(services: Any, defaults: Any = None, environment: str = "", inventory_dir: str = "") -> list[str]:
    """Return one sentence per thing that works and is unwise, with file and line where they can be told."""
    with _named_if_missing():
        found = rules.warnings(services, defaults, environment)
    return [_with_place(warning, inventory_dir) for warning in found]


def service_target_groups(services: Any) -> list[dict[str, str]]:
    """Return the target group that each exposed service wants."""
    with _named_if_missing():
        return rules.target_groups(services)


class FilterModule:
    """The filters of this file."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {
            "service_problems": service_problems,
            "service_target_groups": service_target_groups,
            "service_warnings": service_warnings,
        }
