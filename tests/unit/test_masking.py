"""No secret in what is shown: by its form, and by the values of variables that are named like secrets."""

from __future__ import annotations

import pytest
from ansible_collections.erp.platform.plugins.module_utils.masking import mask, secret_literals
from hypothesis import given
from hypothesis import strategies as st

SECRET = "h4rdT0Gu3ss"
PEM_BODY = "MIIEpAIBAAKCAQEA7bqVb1s5dQ0Yh3nq2v0l8cV3mQx1oT9aJ6sWkZrP5yF4uE2d"


@pytest.mark.parametrize(
    "line",
    [
        f"password={SECRET}",
        f"spring.datasource.password: {SECRET}",
        f'MYSQL_ROOT_PASSWORD="{SECRET} and more"',
        f"--db-passwd={SECRET} --verbose",
        f'{{"token": "{SECRET}", "user": "erp"}}',
        f"client_secret = {SECRET}",
        f"GET /hook?api_key={SECRET}&x=1",
        f"jdbc:mysql://erp:{SECRET}@mysql:3306/erp",
        f"mongodb://erp:{SECRET}%40@mongodb:27017",
        f"redis://:{SECRET}@redis:6379",
        f"Authorization: Bearer {SECRET}.{SECRET}",
        f"using basic {SECRET}{SECRET}==",
        f"sent eyJ{SECRET}.eyJ{SECRET}.{SECRET}",
        f"aws_secret_access_key: {SECRET}",
    ],
)
def test_what_looks_like_a_secret_is_unreadable(line: str) -> None:
    assert SECRET not in mask(line)
    assert "********" in mask(line)


def test_an_access_key_is_unreadable() -> None:
    assert mask("using AKIAIOSFODNN7EXAMPLE") == "using ********"


@pytest.mark.parametrize(
    "lines",
    [
        ["-----BEGIN RSA PRIVATE KEY-----", PEM_BODY, PEM_BODY, "-----END RSA PRIVATE KEY-----"],
        ["-----BEGIN PRIVATE KEY-----", PEM_BODY],
        [PEM_BODY, PEM_BODY[:20], "-----END EC PRIVATE KEY-----"],
        [PEM_BODY, PEM_BODY],
    ],
    ids=["whole", "without its end", "without its beginning", "its middle"],
)
def test_a_private_key_is_unreadable_even_in_part(lines: list[str]) -> None:
    masked = mask("\n".join(["before", *lines]))
    assert PEM_BODY[:20] not in masked
    assert masked.startswith("before\n")


@pytest.mark.parametrize(
    "line",
    [
        "imagePullSecret regcred does not exist",
        'secret "mysql-secret" not found',
        "key password does not exist in secret erp/dev/mysql",
        "Connection to node -1 (kafka-service/172.20.1.1:9092) could not be established",
        "https://registry.example/v2/erp/web: 401 Unauthorized",
    ],
)
def test_what_is_no_secret_stays_readable(line: str) -> None:
    assert mask(line) == line


def test_values_of_variables_that_are_named_like_secrets_are_unreadable_wherever_they_are() -> None:
    env = [
        {"name": "DB_PASSWORD", "value": "kitten-42"},
        {"name": "SPRING_PROFILES_ACTIVE", "value": "dev"},
        {"name": "API_TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ]
    literals = secret_literals({"spec": {"containers": [{"name": "web", "env": env}]}})
    assert literals == {"kitten-42"}
    assert mask("login as erp/kitten-42 failed in dev", literals) == "login as erp/******** failed in dev"


@given(st.text(max_size=300), st.sets(st.text(min_size=3, max_size=10), max_size=3))
def test_any_text_can_be_masked(text: str, literals: set[str]) -> None:
    assert isinstance(mask(text, literals), str)
