"""A problem of the inventory leads to the file and line to edit."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.erp.platform.plugins.filter.services import service_problems
from ansible_collections.erp.platform.plugins.module_utils import schema_problems
from ansible_collections.erp.platform.plugins.module_utils.inventory_source import duplicates, locate, locate_nearest

SERVICES = """\
---
erp_service_defaults:
  ports: {http: 8080}
  autoscaling: {min: 5, max: 3, cpu: 70}
  resources: {requests: {cpu: 1}}
erp_services:
  a-service: &a
    image: {repository: erp/a, tag: v1}
    env:
      SECRET: !vault |
        $ANSIBLE_VAULT;1.1;AES256
        6162
      TEMPLATE: !unsafe "{{ x }}"
    depends_on:
      - kafka
      - kafak
  b-service:
    <<: *a
    replicaz: 2
"""


@pytest.fixture
def inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "inventories/dev"
    write(folder / "group_vars/clusters/services.yml", SERVICES)
    write(folder / "group_vars/clusters/vault.yml", "$ANSIBLE_VAULT;1.1;AES256\n6162\n")
    write(folder / "group_vars/clusters/broken.yml", "a: [\n")
    return folder


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("erp_services",), 6),
        (("erp_services", "a-service", "image", "tag"), 8),
        (("erp_services", "a-service", "env", "TEMPLATE"), 13),
        (("erp_services", "a-service", "depends_on", 1), 16),
        (("erp_services", "b-service", "replicaz"), 19),
        (("erp_services", "b-service", "image"), 8),
        (("erp_service_defaults", "autoscaling", "min"), 4),
    ],
)
def test_a_key_is_found_with_its_line_behind_vaulted_unsafe_and_merged_values(inventory, path, line):
    assert str(locate(str(inventory), path)) == f"inventories/dev/group_vars/clusters/services.yml:{line}"


def test_what_is_nowhere_has_no_place_and_its_nearest_parent_has_one(inventory):
    missing = ("erp_services", "a-service", "ports", "http")
    assert locate(str(inventory), missing) is None
    assert str(locate_nearest(str(inventory), missing)).endswith("services.yml:7")
    assert locate_nearest(str(inventory), ("unheard_of", "x")) is None
    assert locate_nearest("/nonexistent", ("erp_services",)) is None


def test_the_file_that_ansible_lets_win_is_named(inventory):
    write(inventory / "group_vars/all.yml", "erp_services: {}\n")
    assert "clusters/services.yml" in str(locate(str(inventory), ("erp_services",)))
    write(inventory / "host_vars/cluster.yml", "\nerp_services: {}\n")
    assert str(locate(str(inventory), ("erp_services",))) == "inventories/dev/host_vars/cluster.yml:2"


def test_a_service_written_twice_is_found_with_both_places(inventory):
    write(inventory / "group_vars/clusters/services.yml", "erp_services:\n  a: {}\n  b: {}\n  a: {}\n")
    ((name, places),) = duplicates(str(inventory), ("erp_services",))
    assert (name, [place.line for place in places]) == ("a", [2, 4])
    assert str(locate(str(inventory), ("erp_services", "a"))).endswith(":4"), "the one that YAML keeps"


def test_each_problem_starts_with_its_place_even_where_a_default_is_wrong(inventory):
    a_service = {"image": {"repository": "erp/a", "tag": "v1"}, "depends_on": ["kafka", "kafak"]}
    defaults = {
        "ports": {"http": 8080},
        "autoscaling": {"min": 5, "max": 3, "cpu": 70},
        "resources": {"requests": {"cpu": 1}},
    }
    a, known = "erp_services.a-service", "(allowed: a-service, kafka, mongodb, mysql, zookeeper)"
    found = service_problems({"a-service": a_service}, defaults, "dev", inventory_dir=str(inventory))
    file = "inventories/dev/group_vars/clusters/services.yml"
    assert found == [
        f"{file}:4: erp_services.a-service.autoscaling.min: min 5 is more than max 3",
        f"{file}:16: {a}.depends_on[1]: 'kafak' is unknown; did you mean 'kafka'? {known}",
    ]


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch):
    schema_problems._validator_class.cache_clear()
    monkeypatch.setitem(sys.modules, "jsonschema", None)
    with pytest.raises(AnsibleFilterError, match=r"'jsonschema' is missing.*pip install jsonschema"):
        service_problems({})


def test_without_an_inventory_directory_a_problem_is_named_by_its_variable():
    assert service_problems({"a-service": None}) == ["erp_services.a-service: must be a mapping, not empty"]
