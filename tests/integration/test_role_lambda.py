"""The role lambda_service against the sandbox's AWS."""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path

import pytest

REGION = "ap-northeast-2"
IMAGE = {"repository": f"806332783810.dkr.ecr.{REGION}.amazonaws.com/erp/employee-service", "tag": "v1"}
SETTINGS = {"role_arn": "arn:aws:iam::806332783810:role/erp-dev-employee-service", "memory_mb": 512}
PLAY = f"""
- hosts: localhost
  connection: local
  gather_facts: false
  vars: {{ansible_python_interpreter: "{{{{ ansible_playbook_python }}}}"}}
  module_defaults:
    group/amazon.aws.aws: {{region: {REGION}}}
    group/community.aws.aws: {{region: {REGION}}}
  tasks:
    - ansible.builtin.import_role:
        name: erp.platform.lambda_service
"""

pytestmark = pytest.mark.timeout(300)


class Account:
    """One function and one target group of the test's own in the sandbox's account."""

    def __init__(self, sandbox, play: Path) -> None:
        self.sandbox = sandbox
        self.play = play
        self.id = uuid.uuid4().hex[:8]
        self.function = f"test-{self.id}-employee-service"
        self.target_group = f"test-{self.id}-alb"
        self.target_group_arn = self.aws(
            "elbv2", "create-target-group", "--name", self.target_group, "--target-type", "lambda"
        )["TargetGroups"][0]["TargetGroupArn"]

    def aws(self, *arguments: str):
        output = self.sandbox.aws(*arguments, "--output", "json").stdout
        return json.loads(output) if output.strip() else {}

    def run(self, *arguments: str, **changes):
        service = {
            "runtime": "lambda",
            "image": IMAGE,
            "env": {"SPRING_PROFILES_ACTIVE": "dev"},
            "lambda": SETTINGS,
            "expose": {"target_group": {"name": self.target_group}},
        }
        variables = {
            "lambda_service_name_prefix": f"test-{self.id}-",
            "lambda_service_services": {"employee-service": service | changes, "other": {"runtime": "kubernetes"}},
        }
        return self.sandbox.ansible_playbook(self.play, *arguments, inventory="localhost,", extra_vars=variables)

    def served(self) -> dict:
        return self.aws("lambda", "get-function", "--function-name", self.function, "--qualifier", "live")

    def functions(self) -> list[str]:
        return [entry["FunctionName"] for entry in self.aws("lambda", "list-functions")["Functions"]]

    def targets(self) -> list[str]:
        health = self.aws("elbv2", "describe-target-health", "--target-group-arn", self.target_group_arn)
        return [entry["Target"]["Id"] for entry in health["TargetHealthDescriptions"]]


def changed(run) -> int:
    assert run.returncode == 0, run.stdout + run.stderr
    return int(re.search(r"changed=(\d+)", run.stdout.rsplit("PLAY RECAP", 1)[1]).group(1))


def flat(run) -> str:
    return " ".join(run.stdout.split())


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lambda") / "play.yml"
    path.write_text(PLAY)
    return path


@pytest.fixture
def account(sandbox, play: Path) -> Account:
    return Account(sandbox, play)


@pytest.fixture(scope="module")
def deployed(sandbox, play: Path) -> Account:
    """An account in which the function is deployed, in whatever version the tests before left it."""
    account = Account(sandbox, play)
    assert changed(account.run()) == 4
    return account


def test_check_mode_reports_every_step_and_creates_nothing(account):
    assert changed(account.run("--check")) == 4
    assert account.function not in account.functions()
    assert account.targets() == []


def test_the_function_is_published_behind_its_alias_and_registered(deployed):
    assert deployed.served()["Configuration"]["Version"].isdigit()
    assert [target.split(":function:")[1] for target in deployed.targets()] == [f"{deployed.function}:live"]
    policy = json.loads(
        deployed.aws("lambda", "get-policy", "--function-name", deployed.function, "--qualifier", "live")["Policy"]
    )
    (statement,) = policy["Statement"]
    assert statement["Principal"]["Service"] == "elasticloadbalancing.amazonaws.com"
    assert deployed.target_group_arn in json.dumps(statement["Condition"])


def test_a_new_tag_and_a_changed_setting_are_published_and_served_once(deployed):
    changes = {"image": {**IMAGE, "tag": "v2"}, "lambda": {**SETTINGS, "memory_mb": 1024}}
    assert changed(deployed.run(**changes)) == 2
    assert deployed.served()["Code"]["ImageUri"].endswith(":v2")
    assert deployed.served()["Configuration"]["MemorySize"] == 1024
    assert changed(deployed.run(**changes)) == 0
    assert changed(deployed.run("--check", **changes)) == 0


def test_an_alias_that_somebody_moved_is_moved_back(deployed):
    deployed.run(image={**IMAGE, "tag": "v3"})
    deployed.aws(
        "lambda", "update-alias", "--function-name", deployed.function, "--name", "live", "--function-version", "1"
    )
    assert changed(deployed.run(image={**IMAGE, "tag": "v3"})) > 0
    assert deployed.served()["Code"]["ImageUri"].endswith(":v3")


def test_a_zip_is_deployed_once(account, tmp_path: Path):
    archive = tmp_path / "code.zip"
    archive.write_bytes(b"PK\x05\x06" + bytes(18))  # an empty archive
    bucket = f"test-{account.id}"
    account.sandbox.aws("s3", "mb", f"s3://{bucket}")
    account.sandbox.aws("s3", "cp", str(archive), f"s3://{bucket}/code.zip")
    code = {"bucket": bucket, "key": "code.zip", "runtime": "java21", "handler": "Handler::handle"}
    assert changed(account.run(image={}, **{"lambda": {**SETTINGS, "zip": code}})) == 4
    assert changed(account.run(image={}, **{"lambda": {**SETTINGS, "zip": code}})) == 0


def test_a_target_group_of_an_nlb_and_every_other_problem_are_refused_before_anything_changes(account):
    refused = account.run(
        secret_env={"MYSQL_PASSWORD": {"secret": "mysql-secret", "key": "password"}},
        expose={"target_group": {"name": "erp-dev-approval-req-nlb-tg"}},
    )
    assert refused.returncode != 0
    assert "An NLB cannot have a Lambda target" in flat(refused)
    assert "erp-dev-approval-req-nlb-tg has the target type ip" in flat(refused)
    assert "a function reads its secrets from AWS Secrets Manager itself" in flat(refused)
    assert account.function not in account.functions()


def test_a_target_group_that_holds_another_function_is_refused(deployed, account):
    account.target_group = deployed.target_group
    refused = account.run()
    assert refused.returncode != 0
    assert f"holds another function, {deployed.targets()[0]}" in flat(refused)


def test_a_target_group_that_does_not_exist_is_refused(account):
    refused = account.run(expose={"target_group": {"name": f"absent-{account.id}"}})
    assert refused.returncode != 0
    assert f"target group absent-{account.id} was not found" in flat(refused)
