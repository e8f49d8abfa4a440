"""Waiting with credentials that expire and with rights that do not suffice."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.erp.platform.plugins.module_utils import watch
from ansible_collections.erp.platform.plugins.module_utils.connection import connect
from ansible_collections.erp.platform.plugins.module_utils.errors import PlatformError
from ansible_collections.erp.platform.plugins.module_utils.progress import Level, silent
from ansible_collections.erp.platform.plugins.module_utils.readiness import NotReady, Options, wait_until_ready

from .conftest import Sandbox
from .manifests import Manifest, deployment, secret
from .requests_made import recorded

RBAC = "rbac.authorization.k8s.io/v1"
READ = ["list", "watch"]
KINDS = {"deployments": "apps", "replicasets": "apps", "pods": "", "events": ""}


def apply(sandbox: Sandbox, *manifests: Manifest) -> None:
    items = {"apiVersion": "v1", "kind": "List", "items": manifests}
    sandbox.kubectl("apply", "-f", "-", stdin=json.dumps(items))


@dataclass
class Account:
    """A ServiceAccount of one namespace."""

    sandbox: Sandbox
    namespace: str

    def may(self, verbs: list[str], *plurals: str) -> None:
        metadata = {"name": "waiter", "namespace": self.namespace}
        rules = [{"apiGroups": [KINDS[plural]], "resources": [plural], "verbs": verbs} for plural in plurals]
        role = {"apiVersion": RBAC, "kind": "Role", "metadata": metadata, "rules": rules}
        binding = {
            "apiVersion": RBAC,
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "waiter"},
            "subjects": [{"kind": "ServiceAccount", **metadata}],
        }
        apply(self.sandbox, role, binding)

    def token(self, *options: str) -> str:
        return self.sandbox.kubectl("-n", self.namespace, "create", "token", "waiter", *options).stdout.strip()

    def kubeconfig(self, user: dict[str, Any]) -> dict[str, Any]:
        found = copy.deepcopy(yaml.safe_load(Path(self.sandbox.env["KUBECONFIG"]).read_text()))
        found["users"][0]["user"] = user
        return dict(found)


@pytest.fixture
def account(sandbox: Sandbox, namespace: str) -> Account:
    sandbox.kubectl("-n", namespace, "create", "serviceaccount", "waiter")
    return Account(sandbox, namespace)


@pytest.fixture
def start_web(sandbox: Sandbox, namespace: str) -> Callable[[float], None]:
    def start(seconds: float) -> None:
        web = deployment(namespace)
        web["spec"]["template"]["metadata"]["annotations"]["sandbox.erp.platform/start-seconds"] = str(seconds)
        apply(sandbox, web)

    return start


def web(namespace: str, timeout_seconds: float) -> Options:
    entry = {"api_version": "apps/v1", "kind": "Deployment", "namespace": namespace, "name": "web"}
    return Options(objects=[entry], timeout_seconds=timeout_seconds)


# Credentials that expire


class Plugin:
    """An exec credential plugin, as `aws eks get-token` is one: gives the token of now and counts how often it runs."""

    def __init__(self, folder: Path) -> None:
        self._credential, self._runs, self._script = folder / "credential", folder / "runs", folder / "plugin"
        self._script.write_text(
            f"""#!/bin/sh
echo run >> '{self._runs}'
test -e '{self._credential}' || {{ echo 'the session has expired: log in' >&2; exit 1; }}
cat '{self._credential}'
"""
        )
        self._script.chmod(0o700)

    def gives(self, token: str) -> None:
        kind = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
        self._credential.write_text(json.dumps({**kind, "status": {"token": token}}))

    def fails(self) -> None:
        self._credential.unlink()

    @property
    def runs(self) -> int:
        return len(self._runs.read_text().splitlines())

    @property
    def user(self) -> dict[str, Any]:
        version = "client.authentication.k8s.io/v1"
        return {"exec": {"apiVersion": version, "command": str(self._script), "interactiveMode": "Never"}}


@pytest.fixture
def short_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who watches is asked for credentials at each new request only; here that is each second."""
    monkeypatch.setattr(watch, "SERVER_SECONDS", 1)


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    return Plugin(tmp_path)


@pytest.fixture
def expiring(sandbox: Sandbox, account: Account, plugin: Plugin) -> Callable[[], None]:
    """The plugin gives a token that is valid as long as a Secret exists; a call deletes that.

    The server issues none for less than ten minutes, and believes a token for ten more seconds after it was checked.
    """
    apply(sandbox, secret(account.namespace, "session"))
    plugin.gives(account.token("--bound-object-kind=Secret", "--bound-object-name=session"))
    account.may(READ, *KINDS)

    def expire() -> None:
        sandbox.kubectl("-n", account.namespace, "delete", "secret", "session")

    return expire


@pytest.mark.usefixtures("short_watches")
def test_credentials_that_expire_while_it_waits_are_renewed_and_it_goes_on(
    account: Account, plugin: Plugin, expiring: Callable[[], None], start_web: Callable[[float], None]
) -> None:
    start_web(16.0)
    api = connect({"kubeconfig": account.kubeconfig(plugin.user)})
    requests = recorded(api)
    plugin.gives(account.token())
    requests.once_watching(expiring)
    said: list[str] = []
    assert wait_until_ready(api, web(account.namespace, 40.0), lambda text, level: said.append(text))["ready"]
    assert requests.refused >= 1, "the first token never expired"
    assert plugin.runs == 2
    assert not [text for text in said if "interrupted" in text]


@pytest.mark.usefixtures("short_watches")
def test_credentials_that_cannot_be_renewed_end_it_with_what_the_plugin_says(
    account: Account,
    plugin: Plugin,
    expiring: Callable[[], None],
    start_web: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watch, "REFUSAL_SECONDS", 2.0)
    start_web(40.0)
    api = connect({"kubeconfig": account.kubeconfig(plugin.user)})
    plugin.fails()
    recorded(api).once_watching(expiring)
    start = time.monotonic()
    with pytest.raises(NotReady, match="does not accept the credentials") as refused:
        wait_until_ready(api, web(account.namespace, 40.0), silent)
    assert time.monotonic() - start < 25
    assert "the session has expired: log in" in str(refused.value)


# Rights that do not suffice


def test_a_target_that_may_be_watched_but_not_listed_is_refused_at_once(account: Account) -> None:
    account.may(["watch"], "deployments")
    assert refusal_of(account) == f"{user(account)} may not list deployments.apps in namespace {account.namespace}"


def test_a_target_that_may_be_listed_but_not_watched_is_refused_at_once(account: Account) -> None:
    account.may(["list"], "deployments")
    assert refusal_of(account) == f"{user(account)} may not watch deployments.apps in namespace {account.namespace}"


def user(account: Account) -> str:
    return f"system:serviceaccount:{account.namespace}:waiter"


def refusal_of(account: Account) -> str:
    start = time.monotonic()
    with pytest.raises(PlatformError) as refused:
        wait_until_ready(
            connect({"kubeconfig": account.kubeconfig({"token": account.token()})}),
            web(account.namespace, 30.0),
            silent,
        )
    assert time.monotonic() - start < 10
    (failure,) = refused.value.failures()
    assert f"--as {user(account)}" in failure.next_command
    return failure.cause


def test_what_only_explains_may_be_forbidden_and_that_is_said_once(
    account: Account, start_web: Callable[[float], None]
) -> None:
    account.may(READ, "deployments", "replicasets")
    start_web(2.0)
    said: list[tuple[str, Level]] = []
    api = connect({"kubeconfig": account.kubeconfig({"token": account.token()})})
    result = wait_until_ready(api, web(account.namespace, 20.0), lambda text, level: said.append((text, level)))
    assert result["ready"]
    for plural in ("pods", "events"):
        missing = f"{user(account)} may not list {plural} in namespace {account.namespace}"
        assert len([text for text, _level in said if missing in text]) == 1
