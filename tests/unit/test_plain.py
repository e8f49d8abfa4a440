"""Values of Ansible become values of the standard library."""

from __future__ import annotations

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible_collections.erp.platform.plugins.module_utils.plain import plain
from hypothesis import given
from hypothesis import strategies as st

TAGGED = DataLoader().load("{name: a, number: 1, float: 0.5, flag: true, nothing: null, list: [b]}", file_name="/x.yml")


def test_yaml_cannot_dump_what_ansible_has_tagged_before_it_is_made_plain():
    with pytest.raises(yaml.representer.RepresenterError):
        yaml.safe_dump(TAGGED)


def test_everything_that_ansible_has_tagged_can_be_dumped_once_it_is_plain():
    assert yaml.safe_load(yaml.safe_dump(plain(TAGGED))) == TAGGED


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_plain_values_stay_as_they_are(value):
    assert plain(value) == value
