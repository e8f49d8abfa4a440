"""Label selectors mean here what they mean to kubectl."""

from __future__ import annotations

import pytest
from ansible_collections.erp.platform.plugins.module_utils.errors import PlatformError
from ansible_collections.erp.platform.plugins.module_utils.selectors import matches, parse

LABELS = {"app": "kafka", "tier": "infra"}


@pytest.mark.parametrize(
    ("selector", "matched"),
    [
        ("app=kafka", True),
        ("app==kafka, tier=infra", True),
        ("app=kafka,tier=app", False),
        ("app!=kafka", False),
        ("missing!=x", True),
        ("app in (kafka, zookeeper),tier", True),
        ("app notin (kafka)", False),
        ("missing notin (x)", True),
        ("tier", True),
        ("!tier", False),
        ("!missing", True),
        ("app.kubernetes.io/name=x", False),
    ],
)
def test_a_selector_matches_as_the_api_server_would(selector: str, matched: bool) -> None:
    assert matches(parse(selector), LABELS) is matched


def test_what_is_no_selector_is_refused() -> None:
    with pytest.raises(PlatformError, match="no label selector"):
        parse("app in kafka, tier")
