"""How a failure reads."""

from __future__ import annotations

import pytest
from ansible_collections.erp.platform.plugins.module_utils.errors import PlatformError, PlatformErrors, raise_all

ONE = PlatformError(
    "the image does not exist in the registry",
    object="Deployment erp-dev/web",
    evidence="pod web-1: ErrImagePull\nevent: not found",
    next_command="kubectl -n erp-dev describe pod web-1",
)


def test_a_failure_names_object_cause_evidence_and_next_command() -> None:
    assert str(ONE) == (
        "Deployment erp-dev/web: the image does not exist in the registry\n"
        "  evidence: pod web-1: ErrImagePull\n"
        "            event: not found\n"
        "  next:     kubectl -n erp-dev describe pod web-1"
    )


def test_what_is_not_known_is_left_out() -> None:
    assert str(PlatformError("it is broken")) == "it is broken"


def test_several_failures_are_one_message_however_they_are_nested() -> None:
    both = PlatformErrors([ONE, PlatformErrors([PlatformError("second")])])
    assert str(both) == f"{ONE}\nsecond"
    assert [failure["cause"] for failure in both.as_result()["failures"]] == [ONE.cause, "second"]


def test_nothing_collected_is_no_failure_and_one_stays_itself() -> None:
    raise_all([])
    with pytest.raises(PlatformError) as single:
        raise_all([ONE])
    assert single.value is ONE
