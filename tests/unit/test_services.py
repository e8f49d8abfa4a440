"""Bad services are refused in words that lead to the mistake; good ones pass."""

from __future__ import annotations

import copy
import re
from typing import Any

import jsonschema
import pytest
from ansible_collections.erp.platform.plugins.module_utils import services
from hypothesis import given
from hypothesis import strategies as st

GOOD: dict[str, Any] = {
    "runtime": "kubernetes",
    "image": {"repository": "registry.example.com:5000/erp/approval-request-service", "tag": "v1.0.0"},
    "ports": {"http": 8082, "grpc": 9090},
    "replicas": 2,
    "autoscaling": {"min": 2, "max": 3, "cpu": 70, "memory": 80},
    "resources": {"requests": {"cpu": "200m", "memory": "256Mi"}, "limits": {"cpu": "500m", "memory": "512Mi"}},
    "health": {"path": "/actuator/health", "port": "http", "startup_seconds": 120},
    "depends_on": ["kafka", "mongodb", "other-service"],
    "start_after": ["other-service"],
    "env": {"SPRING_PROFILES_ACTIVE": "dev"},
    "config_env": {"KAFKA_BOOTSTRAP_SERVERS": {"config_map": "erp-config", "key": "KAFKA_BOOTSTRAP_SERVERS"}},
    "secret_env": {"MYSQL_PASSWORD": {"secret": "mysql-secret", "key": "password"}},
    "expose": {"target_group": {"name": "erp-dev-approval-req-nlb-tg", "port": "http"}},
    "tracing": {"xray": "sidecar"},
    "disruption": {"min_available": 1},
    "termination": {"pre_stop_seconds": 15, "grace_seconds": 60},
    "placement": {"node_selector": {"workload": "kafka"}, "tolerations": [{"key": "workload", "operator": "Exists"}]},
    "writable_paths": ["/tmp"],
    "service_account": {"role_arn": "arn:aws:iam::806332783810:role/erp-dev-xray"},
}
OTHER: dict[str, Any] = {"image": {"repository": "erp/other-service", "tag": "v1.0.0"}, "ports": {"http": 8080}}
FUNCTION: dict[str, Any] = {
    "runtime": "lambda",
    "image": {"repository": "erp/employee-service", "tag": "v1.0.0"},
    "lambda": {
        "role_arn": "arn:aws:iam::806332783810:role/erp-dev-employee-service",
        "memory_mb": 512,
        "alias": "live",
    },
    "expose": {"target_group": {"name": "erp-dev-employee-alb-tg"}},
}
DIGEST = "sha256:" + "0" * 64


def entry(base: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """The service (by default GOOD) with keys replaced ('autoscaling__min'), or left out where the new value is ...."""
    changed = copy.deepcopy(GOOD if base is None else base)
    for path, value in changes.items():
        *parents, last = path.split("__")
        mapping = changed
        for parent in parents:
            mapping = mapping[parent]
        if value is ...:
            del mapping[last]
        else:
            mapping[last] = value
    return changed


def problems_of(service: Any, environment: str = "dev", **others: Any) -> list[str]:
    all_services = {"x-service": service, "other-service": OTHER, **others}
    return [str(problem) for problem in services.problems(all_services, environment=environment)]


def test_a_service_with_every_key_passes():
    assert problems_of(GOOD, environment="prod") == []


def test_a_lambda_service_passes_and_ignores_the_defaults_that_are_for_pods():
    defaults = {"replicas": 2, "resources": GOOD["resources"], "depends_on": ["employee-service"]}
    assert services.problems({"employee-service": FUNCTION}, defaults) == []


def test_a_lambda_service_may_have_its_code_in_s3_and_run_in_a_vpc():
    function = entry(
        FUNCTION,
        image=...,
        lambda__zip={"bucket": "erp-code", "key": "employee.zip", "runtime": "java21", "handler": "x.Y::z"},
        lambda__vpc={"subnet_ids": ["subnet-0a1"], "security_group_ids": ["sg-0a1"]},
    )
    assert problems_of(function) == []


def test_defaults_complete_an_entry_and_the_entry_wins():
    defaults = {
        "image": {"tag": "latest", "repository": "erp/x"},
        "ports": {"http": 8080},
        "autoscaling": {"min": 2, "max": 3, "cpu": 70},
    }
    assert (
        services.problems({"x-service": {"image": {"tag": "v1"}}}, defaults | {"resources": GOOD["resources"]}, "prod")
        == []
    )


# key of the case: (the service, path of the problem below it, words of the message)
REFUSED = {
    "misspelt key": (entry(replicaz=3), "replicaz", "unknown key; did you mean 'replicas'?"),
    "misspelt key deep down": (
        entry(termination__grace_second=30),
        "termination.grace_second",
        "did you mean 'grace_seconds'?",
    ),
    "unknown key tells the known ones": (
        entry(autoscaling__colour=1),
        "autoscaling.colour",
        "(allowed: cpu, max, memory, min)",
    ),
    "unknown runtime": (entry(runtime="lamda"), "runtime", "did you mean 'lambda'? (allowed: kubernetes, lambda)"),
    "misspelt lambda": (entry(FUNCTION, runtime="lamda"), "runtime", "did you mean 'lambda'?"),
    "tag with a space": (entry(image__tag="v1 final"), "image.tag", "'v1 final' is not an image tag"),
    "tag with a newline": (entry(image__tag="v1\n"), "image.tag", "is not an image tag"),
    "tag read as a number": (entry(image__tag=1.0), "image.tag", "must be text (quote it), not a number"),
    "digest too short": (entry(image__digest="sha256:abc"), "image.digest", "64 lower-case hexadecimal digits"),
    "tag within the repository": (entry(image__repository="erp/x:v1"), "image.repository", "without tag or digest"),
    "neither tag nor digest": (entry(image__tag=...), "image", "needs a tag or a digest"),
    "no image": (entry(image=...), "image", "is required (here or in erp_service_defaults)"),
    "no ports": (entry(ports=...), "ports", "is required"),
    "same port twice": (entry(ports__grpc=8082), "ports.grpc", "8082 is already the port 'http'"),
    "port out of range": (entry(ports__grpc=70000), "ports.grpc", "must be at most 65535"),
    "port name too long": (entry(ports__a_very_long_port_name=1), "ports.a_very_long_port_name", "is not a port name"),
    "health port that isn't one": (
        entry(health__port="htp"),
        "health.port",
        "did you mean 'http'? (allowed: grpc, http)",
    ),
    "exposed port that isn't one": (
        entry(expose__target_group__port="x"),
        "expose.target_group.port",
        "'x' is not a port",
    ),
    "no port called http": (entry(OTHER, ports={"web": 80}), "health.port", "'http' is not a port of this service"),
    "min above max": (entry(autoscaling__min=4), "autoscaling.min", "min 4 is more than max 3"),
    "autoscaling without max": (entry(autoscaling__max=...), "autoscaling.max", "is required"),
    "scaling by an unknown request": (
        entry(resources__requests__cpu=...),
        "autoscaling.cpu",
        "resources.requests.cpu, which is not given",
    ),
    "request above limit": (
        entry(resources__requests__memory="1Gi"),
        "resources.requests.memory",
        "1Gi is more than the limit 512Mi",
    ),
    "cpu request above limit": (
        entry(resources__requests__cpu=1),
        "resources.requests.cpu",
        "1 is more than the limit 500m",
    ),
    "millibytes": (entry(resources__requests__memory="100m"), "resources.requests.memory", "512Mi, 1Gi"),
    "no pod may go": (entry(disruption__min_available=2), "disruption.min_available", "2 of 2 pods would have to stay"),
    "killed before it is stopped": (
        entry(termination__grace_seconds=20),
        "termination.grace_seconds",
        "at least 25, not 20",
    ),
    "killed before the default pre-stop ends": (
        entry(OTHER, termination={"grace_seconds": 10}),
        "termination.grace_seconds",
        "at least 25",
    ),
    "misspelt dependency": (entry(depends_on=["kafak"]), "depends_on[0]", "'kafak' is unknown; did you mean 'kafka'?"),
    "depends on itself": (entry(depends_on=["x-service"]), "depends_on[0]", "cannot depend on itself"),
    "starts after infrastructure": (entry(start_after=["kafka"]), "start_after[0]", "'kafka' is infrastructure"),
    "starts after something unknown": (
        entry(start_after=["othr-service"]),
        "start_after[0]",
        "did you mean 'other-service'?",
    ),
    "variable set twice": (
        entry(env__MYSQL_PASSWORD="x"),
        "secret_env.MYSQL_PASSWORD",
        "is set in env and in secret_env",
    ),
    "variable read as a boolean": (
        entry(env__DEBUG=True),
        "env.DEBUG",
        "must be text (quote it) or a whole number, not true",
    ),
    "secret without key": (entry(secret_env__A={"secret": "s"}), "secret_env.A.key", "is required"),
    "target group by name and ARN": (
        entry(expose__target_group__arn="arn:aws:elasticloadbalancing:r:806332783810:targetgroup/tg/ab"),
        "expose.target_group",
        "exactly one of 'name' and 'arn'",
    ),
    "target group name too long": (
        entry(expose__target_group__name="x" * 33),
        "expose.target_group.name",
        "at most 32 characters",
    ),
    "lambda settings on pods": (entry(**{"lambda": {}}), "lambda", "is only for services with 'runtime: lambda'"),
    "replicas of a function": (
        entry(FUNCTION, replicas=2),
        "replicas",
        "is only for services with 'runtime: kubernetes'",
    ),
    "function without code": (entry(FUNCTION, image=...), "", "exactly one of 'image' and 'lambda.zip'"),
    "function with two codes": (
        entry(
            FUNCTION,
            lambda__zip={"bucket": "erp-code", "key": "employee.zip", "runtime": "java21", "handler": "x.Y::z"},
        ),
        "",
        "exactly one of 'image' and 'lambda.zip'",
    ),
    "function without role": (entry(FUNCTION, lambda__role_arn=...), "lambda.role_arn", "is required"),
    "not a mapping": (None, "", "must be a mapping, not empty"),
}


@pytest.mark.parametrize(("service", "path", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_a_bad_service_gives_exactly_one_problem_that_names_the_key(service, path, words):
    found = problems_of(service)
    assert len(found) == 1, found
    assert found[0].startswith(f"erp_services.x-service{'.' if path else ''}{path}: ")
    assert words in found[0]


def test_all_problems_of_all_services_are_reported_at_once_in_the_order_of_the_services():
    found = services.problems(
        {
            "b-service": entry(OTHER, replicaz=1, ports={"http": 1, "grpc": 1}),
            "a-service": entry(OTHER, image__tag="-"),
        },
        {"health": {"pth": "/"}},
    )
    assert [".".join(map(str, problem.path)) for problem in found] == [
        "erp_service_defaults.health.pth",
        "erp_services.b-service.replicaz",
        "erp_services.b-service.ports.grpc",
        "erp_services.a-service.image.tag",
    ]


@pytest.mark.parametrize("name", ["Upper", "1-service", "under_score", "end-", "x" * 59, 8080])
def test_a_name_that_kubernetes_would_refuse_is_refused(name):
    (problem,) = services.problems({name: OTHER})
    assert problem.path == ("erp_services", str(name))
    assert "DNS-1035" in problem.message


@pytest.mark.parametrize("value", [None, [], "x", 3])
def test_services_that_are_not_a_mapping_are_one_problem(value):
    (problem,) = services.problems(value)
    assert problem.path == ("erp_services",)


def test_two_services_on_one_target_group_are_refused_whether_by_name_or_by_arn():
    by_arn = {"target_group": {"arn": "arn:aws:elasticloadbalancing:r:806332783810:targetgroup/tg/ab12"}}
    found = services.problems(
        {"a": entry(OTHER, expose={"target_group": {"name": "tg"}}), "b": entry(OTHER, expose=by_arn)}
    )
    assert [str(problem) for problem in found] == [
        "erp_services.b.expose.target_group: 'tg' already belongs to a: two services would share its traffic"
    ]


def test_two_services_whose_target_group_bindings_would_have_one_name_are_refused():
    first, second = ({"target_group": {"name": name}} for name in ("tg-1", "tg-2"))
    (problem,) = services.problems({"a": entry(OTHER, expose=first), "a-service": entry(OTHER, expose=second)})
    assert "'a-tgb'" in problem.message


def test_services_that_wait_for_each_other_in_a_circle_are_refused():
    found = services.problems(
        {
            "a": entry(OTHER, start_after=["c"]),
            "b": entry(OTHER, start_after=["a"]),
            "c": entry(OTHER, start_after=["b"]),
        }
    )
    assert len(found) == 1
    assert re.search("a after c after b after a|b after a after c after b|c after b after a after c", found[0].message)


@pytest.mark.parametrize(
    ("name", "component"),
    [
        ("kafka", "kafka"),
        ("zookeeper", "zookeeper"),
        ("mongodb", "mongodb"),
        ("mysql", "mysql"),
        ("kafka-service", "kafka"),
        ("kafka-headless", "kafka"),
        ("zookeeper-headless", "zookeeper"),
    ],
)
def test_a_service_named_like_an_object_of_the_infrastructure_is_refused(name, component):
    (problem,) = services.problems({name: OTHER})
    assert problem.path == ("erp_services", name)
    assert f"the cluster's {component} has objects of this name" in problem.message


def test_a_function_has_no_objects_that_could_be_the_infrastructures():
    assert services.problems({"kafka": FUNCTION}) == []


def test_the_port_of_the_tracing_daemon_is_refused_beside_it_only():
    (problem,) = services.problems({"x": entry(OTHER, ports__trace=2000, tracing={"xray": "sidecar"})})
    assert problem.path == ("erp_services", "x", "ports", "trace")
    assert "X-Ray daemon" in problem.message
    assert services.problems({"x": entry(OTHER, ports__trace=2000, tracing={"xray": "none"})}) == []


def test_an_external_dependency_is_known_once_it_is_named():
    wants = {"x-service": entry(OTHER, depends_on=["sqlserver"])}
    assert len(services.problems(wants)) == 1
    assert services.problems(wants, dependencies=["sqlserver"]) == []


def test_latest_is_refused_in_prod_warned_about_elsewhere_and_fine_with_a_digest():
    latest = {"x-service": entry(OTHER, image__tag="latest")}
    pinned = {"x-service": entry(OTHER, image__tag="latest", image__digest=DIGEST)}
    assert [str(problem) for problem in services.problems(latest, environment="prod")] == [
        "erp_services.x-service.image.tag: 'latest' is refused in prod: give a version tag or image.digest"
    ]
    assert services.problems(latest, environment="dev") == services.warnings(latest, environment="prod") == []
    assert [problem.path for problem in services.warnings(latest, environment="dev")] == [
        ("erp_services", "x-service", "image", "tag")
    ]
    assert services.problems(pinned, environment="prod") == services.warnings(pinned, environment="dev") == []


def test_a_plain_variable_that_looks_like_a_secret_is_warned_about_and_never_shown():
    service = {"x-service": entry(OTHER, env={"MYSQL_PASSWORD": "hunter2"})}
    (warning,) = services.warnings(service)
    assert warning.path[-1] == "MYSQL_PASSWORD"
    assert "hunter2" not in str(warning)


def test_the_value_of_a_variable_is_never_repeated_in_a_problem():
    assert all(
        "hunter2" not in text
        for text in problems_of(entry(env={"A": ["hunter2"], "1": "hunter2", "B": {"c": "hunter2"}}))
    )


def test_target_groups_are_listed_in_the_form_that_aws_preflight_takes():
    assert services.target_groups(
        {"x-service": GOOD, "employee-service": FUNCTION, "other-service": OTHER, "bad": None}
    ) == [
        {"service": "x-service", "runtime": "kubernetes", "name": "erp-dev-approval-req-nlb-tg"},
        {"service": "employee-service", "runtime": "lambda", "name": "erp-dev-employee-alb-tg"},
    ]


def subschemas(schema: Any) -> Any:
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from subschemas(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from subschemas(value)


def test_the_schema_is_valid_and_describes_every_key_to_editors():
    schema = services.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    for part in subschemas(schema["$defs"]):
        if "additionalProperties" in part and part.get("properties"):
            assert part["additionalProperties"] is False
            for key, value in part["properties"].items():
                target = schema["$defs"][value["$ref"].rpartition("/")[2]] if "$ref" in value else {}
                assert "description" in {**target, **value}, key


def test_every_pattern_is_explained_in_words():
    for part in subschemas(services.schema()):
        if "pattern" in part and isinstance(part["pattern"], str):
            assert "errorMessage" in part, part


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
def test_whatever_stands_in_place_of_a_value_is_judged_and_never_breaks_the_judge(data):
    service = copy.deepcopy(data.draw(st.sampled_from([GOOD, FUNCTION])))
    for _change in range(data.draw(st.integers(1, 3))):
        place: Any = service
        while True:
            key = data.draw(
                st.sampled_from(sorted(place)) if isinstance(place, dict) else st.integers(0, len(place) - 1)
            )
            if not place[key] or not isinstance(place[key], dict | list) or data.draw(st.booleans()):
                break
            place = place[key]
        place[key] = data.draw(json_values)
    found = services.problems({"x-service": service, "other-service": OTHER}, environment="prod")
    assert all(problem.path[0] == "erp_services" and problem.message for problem in found)
    services.warnings({"x-service": service})
    services.target_groups({"x-service": service})


@given(low=st.integers(1, 30), high=st.integers(1, 30), keep=st.integers(1, 30))
def test_autoscaling_and_disruption_are_accepted_exactly_when_they_can_work(low, high, keep):
    service = entry(autoscaling={"min": low, "max": high, "cpu": 70}, disruption={"min_available": keep})
    assert (problems_of(service) == []) == (keep < low <= high)


@given(requested=st.integers(1, 4000), limit=st.integers(1, 4000), in_cores=st.booleans())
def test_a_request_is_accepted_exactly_up_to_its_limit_in_whatever_unit(requested, limit, in_cores):
    shown = limit / 1000 if in_cores else f"{limit}m"
    service = entry(autoscaling=..., resources={"requests": {"cpu": f"{requested}m"}, "limits": {"cpu": shown}})
    assert (problems_of(service) == []) == (requested <= limit)
