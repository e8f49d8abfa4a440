"""What the role lambda_service refuses, once it has looked the target groups up."""

from __future__ import annotations

from tests.unit.render import evaluate

ARN = "arn:aws:elasticloadbalancing:ap-northeast-2:806332783810:targetgroup/erp-dev-employee-alb-tg/0123456789abcdef"
OTHER = "arn:aws:lambda:ap-northeast-2:806332783810:function:other:live"


def test_a_target_group_that_holds_another_function_is_refused_with_the_whole_command_that_frees_it():
    function = {
        "service": "employee-service",
        "name": "employee-service",
        "alias": "live",
        "target_group": "erp-dev-employee-alb-tg",
        "problems": [],
    }
    group = {
        "target_group_name": "erp-dev-employee-alb-tg",
        "target_group_arn": ARN,
        "target_type": "lambda",
        "targets_health_description": [{"target": {"id": OTHER}}],
    }
    read = {
        "lambda_service_functions": [function],
        "__lambda_service_target_groups": {"target_groups": [group]},
    }
    expression = "lookup('ansible.builtin.template', 'problems.yaml.j2') | from_yaml"
    (problem,) = evaluate("lambda_service", expression, {"taken": read})["taken"]
    assert problem.endswith(f"next: aws elbv2 deregister-targets --target-group-arn {ARN} --targets Id={OTHER}")
