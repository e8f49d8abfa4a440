"""What several files say in common, they say alike."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.role_readme import readme_of

REPOSITORY = Path(__file__).parents[2]
ROLES = sorted(path for path in (REPOSITORY / "roles").iterdir() if path.is_dir())
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md")), *sorted(REPOSITORY.glob("*/README.md"))]

every_role = pytest.mark.parametrize("role", ROLES, ids=lambda role: role.name)


def read(path: str | Path) -> Any:
    return yaml.safe_load((REPOSITORY / path).read_text())


def entry_points(role: Path) -> dict[str, Any]:
    return read(role / "meta/argument_specs.yml")["argument_specs"]


def tags_within(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (tag for key, tag in value.items() if key == "tag")
        for inner in value.values():
            yield from tags_within(inner)


@every_role
def test_the_defaults_of_a_role_are_those_of_its_argument_specs(role):
    options = {
        name: option for entry in entry_points(role).values() for name, option in entry.get("options", {}).items()
    }
    optional = {name: option.get("default") for name, option in options.items() if not option.get("required")}
    assert read(role / "defaults/main.yml") == optional


@every_role
def test_every_entry_point_of_a_role_is_a_file_of_tasks(role):
    assert set(entry_points(role)) <= {path.stem for path in (role / "tasks").glob("*.yml")}


@every_role
def test_the_readme_of_a_role_is_the_one_that_make_docs_writes(role):
    assert (role / "README.md").read_text() == readme_of(role)


@every_role
def test_no_role_defaults_to_a_mutable_image_tag(role):
    assert "latest" not in tags_within(read(role / "defaults/main.yml"))


def test_every_playbook_of_the_collection_has_an_entry_of_its_name_at_the_root():
    of_the_collection = {path.stem for path in (REPOSITORY / "playbooks").glob("*.yml")}
    imports = {
        path.stem: play["ansible.builtin.import_playbook"]
        for path in REPOSITORY.glob("*.yml")
        if isinstance(plays := read(path), list)
        for play in plays
    }
    assert imports == {name: f"erp.platform.{name}" for name in of_the_collection}


def test_the_action_groups_name_modules_that_exist():
    modules = {path.stem for path in (REPOSITORY / "plugins/modules").glob("*.py")}
    groups = read("meta/runtime.yml")["action_groups"]
    assert {module for members in groups.values() for module in members} <= modules


def test_the_collection_and_the_python_project_have_one_version():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert read("galaxy.yml")["version"] == project["version"]


def test_what_git_ignores_is_not_shipped():
    ignored = {
        line.strip("/") for line in (REPOSITORY / ".gitignore").read_text().splitlines() if line.startswith("/.")
    }
    assert ignored <= set(read("galaxy.yml")["build_ignore"])


@pytest.mark.parametrize("lock", ["runtime", "dev"])
def test_the_lock_pins_every_dependency_by_hash_and_names_no_index(lock):
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    wanted = project["project"]["dependencies"] + (project["dependency-groups"]["dev"] if lock == "dev" else [])
    text = (REPOSITORY / f"requirements/{lock}.txt").read_text()
    pinned = dict(re.findall(r"^([a-z0-9.-]+)==.*\\\n    (--hash=sha256:[0-9a-f]{64})", text, re.MULTILINE))
    assert {re.split(r"[^\w.-]", name)[0].lower() for name in wanted} <= set(pinned)
    assert "://" not in text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_file_that_a_page_links_to_exists(page):
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_make_target_that_a_page_names_exists(page):
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b(?=[`\n])", page.read_text())) <= targets
