"""Sandboxes keep out of each other's way by claiming their ports."""

from __future__ import annotations

import socket

import pytest

from sandbox import ports


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ERP_PLATFORM_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def state(tmp_path):
    folder = tmp_path / "state"
    folder.mkdir()
    return folder


def test_every_port_is_below_the_ephemeral_range(state):
    assert all(port < 32768 for port in ports.claim_ports(["a", "b", "c"], state).values())


def test_a_claimed_port_is_given_to_nobody_else(state, tmp_path, monkeypatch):
    monkeypatch.setattr(ports, "_RANGE", range(21000, 21004))
    other = tmp_path / "other"
    other.mkdir()
    first = set(ports.claim_ports(["a", "b"], state).values())
    assert not first & set(ports.claim_ports(["a", "b"], other).values())


def test_the_claims_of_a_sandbox_that_is_gone_do_not_count(state, monkeypatch):
    monkeypatch.setattr(ports, "_RANGE", range(21004, 21006))
    ports.claim_ports(["a", "b"], state)
    state.rmdir()
    assert len(ports.claim_ports(["a", "b"], state.parent)) == 2


def test_released_ports_leave_no_file(state, tmp_path):
    ports.claim_ports(["a", "b"], state)
    ports.release_ports(state)
    assert list((tmp_path / "cache" / "ports").iterdir()) == []


def test_a_port_on_which_something_listens_is_not_chosen(state, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = taken.getsockname()[1]
        monkeypatch.setattr(ports, "_RANGE", range(busy, busy + 1))
        with pytest.raises(ports.SandboxError, match="no free port left for a"):
            ports.claim_ports(["a"], state)


def test_the_own_address_is_not_loopback():
    assert not ports.own_address().startswith("127.")
