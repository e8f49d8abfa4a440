"""What a rollout writes into a real API server, and what it leaves alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import pytest
from ansible_collections.erp.platform.plugins.module_utils.api import Api
from ansible_collections.erp.platform.plugins.module_utils.connection import connect
from ansible_collections.erp.platform.plugins.module_utils.errors import PlatformError
from ansible_collections.erp.platform.plugins.module_utils.progress import silent
from ansible_collections.erp.platform.plugins.module_utils.rollout import Options, roll_out

from .conftest import Sandbox
from .manifests import Manifest, config_map, deployment, from_config_map, from_secret, secret

RollOut = Callable[..., dict[str, Any]]


@pytest.fixture
def api(sandbox: Sandbox) -> Api:
    return connect({"kubeconfig": sandbox.env["KUBECONFIG"]})


@pytest.fixture
def rollout(api: Api) -> RollOut:
    """Roll manifests out as one node, or nodes as they are."""

    def run(*manifests: Manifest, nodes: list[dict[str, Any]] | None = None, **options: Any) -> dict[str, Any]:
        described = nodes if nodes is not None else [{"name": "all", "manifests": list(manifests)}]
        return roll_out(api, Options(nodes=described, **{"timeout_seconds": 30.0, **options}), silent)

    return run


def changes(result: dict[str, Any]) -> dict[str, str]:
    return {f"{entry['kind']}/{entry['name']}": entry["change"] for entry in result["objects"]}


def live(sandbox: Sandbox, namespace: str, kind: str, name: str) -> Manifest:
    found: Manifest = json.loads(
        sandbox.kubectl("-n", namespace, "get", kind, name, "-o", "json", "--show-managed-fields").stdout
    )
    return found


def test_the_first_run_creates_and_the_second_changes_nothing(
    rollout: RollOut, sandbox: Sandbox, namespace: str
) -> None:
    manifests = [config_map(namespace, color="blue"), secret(namespace, password="x"), deployment(namespace)]
    first = rollout(*manifests, apply_set={"name": "it", "namespace": namespace})
    versions = sandbox.kubectl("-n", namespace, "get", "cm,secret,deploy", "-o", "name").stdout
    before = {name: live(sandbox, namespace, *name.split("/"))["metadata"] for name in versions.split()}
    second = rollout(*manifests, apply_set={"name": "it", "namespace": namespace})

    assert first["changed"]
    assert set(changes(first).values()) == {"created"}
    assert {entry["status"] for entry in first["objects"]} == {"Current"}
    assert not second["changed"]
    assert set(changes(second).values()) == {"unchanged"}
    assert second["diff"] == []
    for name, metadata in before.items():
        assert live(sandbox, namespace, *name.split("/"))["metadata"]["resourceVersion"] == metadata["resourceVersion"]


def test_a_node_starts_when_what_it_depends_on_is_ready(rollout: RollOut, namespace: str) -> None:
    result = rollout(
        nodes=[
            {"name": "app", "manifests": [deployment(namespace, "app")], "depends_on": ["database"]},
            {"name": "database", "manifests": [deployment(namespace, "database")]},
        ]
    )

    nodes = {node["name"]: node for node in result["nodes"]}
    assert nodes["app"]["started_seconds"] >= nodes["database"]["ready_seconds"] > 0
    assert result["critical_path"] == ["database", "app"]


def test_check_mode_on_an_empty_cluster_plans_everything_and_writes_nothing(rollout: RollOut, sandbox: Sandbox) -> None:
    namespace = "test-planned-only"
    binding = {
        "apiVersion": "not-served.example/v1",
        "kind": "Widget",
        "metadata": {"name": "w", "namespace": namespace},
    }
    result = rollout(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
        config_map(namespace, color="blue"),
        deployment(namespace, env=[from_config_map("settings", "color")]),
        binding,
        apply_set={"name": "it", "namespace": namespace},
        check_mode=True,
    )

    assert result["changed"]
    assert set(changes(result).values()) == {"created"}
    messages = {entry["kind"]: entry["message"] for entry in result["objects"]}
    assert "does not serve" in messages["Widget"]
    assert "does not exist yet" in messages["ConfigMap"]
    assert namespace not in sandbox.kubectl("get", "namespaces").stdout


def test_check_mode_shows_a_difference_and_a_second_one_none(
    rollout: RollOut, sandbox: Sandbox, namespace: str
) -> None:
    rollout(config_map(namespace, color="blue"), secret(namespace, password="old-password"), deployment(namespace))
    same = rollout(
        config_map(namespace, color="blue"),
        secret(namespace, password="old-password"),
        deployment(namespace),
        check_mode=True,
    )
    other = rollout(
        config_map(namespace, color="red"),
        secret(namespace, password="new-password"),
        deployment(namespace),
        check_mode=True,
    )

    assert not same["changed"]
    assert changes(other) == {
        "ConfigMap/settings": "changed",
        "Secret/passwords": "changed",
        "Deployment/web": "unchanged",
    }
    shown = json.dumps(other["diff"])
    assert "blue" in shown
    assert "red" in shown
    assert "(hidden, before)" in shown
    assert "(hidden, after)" in shown
    assert live(sandbox, namespace, "configmap", "settings")["data"] == {"color": "blue"}
    for secret_text in ("old-password", "new-password", "b2xkLXBhc3N3b3Jk", "bmV3LXBhc3N3b3Jk"):
        assert secret_text not in shown


def test_a_field_of_somebody_else_is_refused_naming_field_and_owner(
    rollout: RollOut, sandbox: Sandbox, namespace: str
) -> None:
    rollout(config_map(namespace, color="blue"))
    sandbox.kubectl(
        "-n", namespace, "apply", "--server-side", "--force-conflicts", "--field-manager=somebody", "-f", "-",
        stdin=json.dumps(config_map(namespace, color="green")),
    )  # fmt: skip

    with pytest.raises(PlatformError) as refused:
        rollout(config_map(namespace, color="red"))
    assert ".data.color is owned by somebody" in str(refused.value)
    assert "force_conflicts" in str(refused.value)
    rollout(config_map(namespace, color="red"), force_conflicts=True)
    assert live(sandbox, namespace, "configmap", "settings")["data"] == {"color": "red"}


def test_a_misspelled_field_is_refused_not_dropped(rollout: RollOut, namespace: str) -> None:
    wrong = deployment(namespace)
    wrong["spec"]["template"]["spec"]["containers"][0]["imagePullPolice"] = "Always"
    with pytest.raises(PlatformError) as refused:
        rollout(wrong)
    assert "imagePullPolice" in str(refused.value)


def test_what_is_no_longer_described_is_deleted_but_data_is_kept(
    rollout: RollOut, sandbox: Sandbox, namespace: str
) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data", "namespace": namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    apply_set = {"name": "it", "namespace": namespace}
    sandbox.kubectl("-n", namespace, "create", "configmap", "not-ours")
    rollout(config_map(namespace, "one"), config_map(namespace, "two"), claim, apply_set=apply_set)
    planned = rollout(config_map(namespace, "one"), apply_set=apply_set, check_mode=True)
    second = rollout(config_map(namespace, "one"), apply_set=apply_set)
    third = rollout(config_map(namespace, "one"), apply_set=apply_set)

    expected = {
        "ConfigMap/one": "unchanged",
        "ConfigMap/two": "deleted",
        "PersistentVolumeClaim/data": "kept",
    }
    assert changes(planned) == expected
    assert changes(second) == expected
    assert changes(third) == {"ConfigMap/one": "unchanged", "PersistentVolumeClaim/data": "kept"}
    assert not third["changed"]
    names = sandbox.kubectl("-n", namespace, "get", "configmaps,pvc", "-o", "name").stdout.split()
    assert {"configmap/one", "configmap/not-ours", "persistentvolumeclaim/data"} <= set(names)
    assert "configmap/two" not in names


def test_an_object_moves_between_our_apply_sets_and_the_old_one_leaves_it_alone(
    rollout: RollOut, sandbox: Sandbox, namespace: str
) -> None:
    infra, base = ({"name": name, "namespace": namespace} for name in ("infra", "base"))
    rollout(config_map(namespace, "stays"), config_map(namespace, "moves"), apply_set=infra)
    uid = live(sandbox, namespace, "configmap", "moves")["metadata"]["uid"]
    planned = rollout(config_map(namespace, "moves"), apply_set=base, check_mode=True)
    moved = rollout(config_map(namespace, "moves"), apply_set=base)
    left = rollout(config_map(namespace, "stays"), apply_set=infra)
    again = rollout(config_map(namespace, "moves"), apply_set=base)

    assert changes(planned) == changes(moved) == {"ConfigMap/moves": "changed"}
    assert changes(left) == {"ConfigMap/stays": "unchanged"}
    assert not again["changed"]
    assert live(sandbox, namespace, "configmap", "moves")["metadata"]["uid"] == uid


@pytest.mark.parametrize("check_mode", [False, True])
def test_an_object_of_another_tools_apply_set_is_refused(
    rollout: RollOut, sandbox: Sandbox, namespace: str, check_mode: bool
) -> None:
    by_kubectl = replace(sandbox, env={**sandbox.env, "KUBECTL_APPLYSET": "true"})
    by_kubectl.kubectl(
        "-n", namespace, "apply", "--server-side", "--field-manager=somebody", "--prune",
        "--applyset=configmap/theirs", "-f", "-",
        stdin=json.dumps(config_map(namespace, "one")),
    )  # fmt: skip
    ours = {"name": "it", "namespace": namespace}
    with pytest.raises(PlatformError, match="belongs to another apply set"):
        rollout(config_map(namespace, "one"), apply_set=ours, check_mode=check_mode)
    forced = rollout(config_map(namespace, "one"), apply_set=ours, check_mode=check_mode, force_conflicts=True)
    assert changes(forced) == {"ConfigMap/one": "changed"}


def test_what_a_controller_made_and_labelled_like_its_owner_is_not_deleted(
    rollout: RollOut, sandbox: Sandbox, namespace: str
) -> None:
    apply_set = {"name": "it", "namespace": namespace}
    rollout(config_map(namespace, "owner"), secret(namespace, "ours", password="x"), apply_set=apply_set)
    metadata = live(sandbox, namespace, "configmap", "owner")["metadata"]
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": metadata["uid"], "controller": True}
    copied = secret(namespace, "made", password="x")
    copied["metadata"] |= {"labels": metadata["labels"], "ownerReferences": [owner]}
    sandbox.kubectl("apply", "-f", "-", stdin=json.dumps(copied))
    result = rollout(config_map(namespace, "owner"), apply_set=apply_set)

    assert changes(result) == {"ConfigMap/owner": "unchanged", "Secret/ours": "deleted"}
    assert live(sandbox, namespace, "secret", "made")["metadata"]["labels"] == metadata["labels"]


def test_an_apply_set_may_live_in_a_namespace_that_the_rollout_creates(rollout: RollOut, sandbox: Sandbox) -> None:
    namespace = "test-own-namespace"
    base = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    try:
        rollout(base, config_map(namespace, color="blue"), apply_set={"name": "base", "namespace": namespace})
        parent = live(sandbox, namespace, "configmap", "erp.platform-base")
    finally:
        sandbox.kubectl("delete", "namespace", namespace, "--wait=false")

    annotations = parent["metadata"]["annotations"]
    assert annotations["applyset.kubernetes.io/contains-group-kinds"] == "ConfigMap,Namespace"
    assert parent["metadata"]["labels"]["applyset.kubernetes.io/id"].startswith("applyset-")


def test_the_apply_set_has_the_id_that_kubectl_gives_it(rollout: RollOut, sandbox: Sandbox, namespace: str) -> None:
    rollout(config_map(namespace, "one"), apply_set={"name": "it", "namespace": namespace})
    ours = live(sandbox, namespace, "configmap", "erp.platform-it")["metadata"]["labels"]
    sandbox.kubectl("-n", namespace, "delete", "configmap", "erp.platform-it")
    by_kubectl = replace(sandbox, env={**sandbox.env, "KUBECTL_APPLYSET": "true"})
    by_kubectl.kubectl(
        "-n", namespace, "apply", "--server-side", "--force-conflicts", "--prune",
        "--applyset=configmap/erp.platform-it", "-f", "-",
        stdin=json.dumps(config_map(namespace, "one")),
    )  # fmt: skip
    assert live(sandbox, namespace, "configmap", "erp.platform-it")["metadata"]["labels"] == ours


class TestReplicasThatAnAutoscalerMoves:
    ANNOTATION: ClassVar = {"erp.platform/initial-replicas": "3"}

    def test_the_first_run_starts_with_the_initial_number(
        self, rollout: RollOut, sandbox: Sandbox, namespace: str
    ) -> None:
        rollout(deployment(namespace, replicas=None, **self.ANNOTATION))
        assert live(sandbox, namespace, "deployment", "web")["spec"]["replicas"] == 3

    def test_a_later_run_leaves_what_the_autoscaler_set(
        self, rollout: RollOut, sandbox: Sandbox, namespace: str
    ) -> None:
        rollout(deployment(namespace, replicas=None, **self.ANNOTATION))
        sandbox.kubectl("-n", namespace, "scale", "deployment", "web", "--replicas=5")
        again = rollout(deployment(namespace, replicas=None, **self.ANNOTATION))
        assert live(sandbox, namespace, "deployment", "web")["spec"]["replicas"] == 5
        assert not again["changed"]

    def test_a_manifest_that_stops_naming_the_number_keeps_the_live_one(
        self, rollout: RollOut, sandbox: Sandbox, namespace: str
    ) -> None:
        rollout(deployment(namespace, replicas=4))
        planned = rollout(deployment(namespace, replicas=None, **self.ANNOTATION), check_mode=True)
        rollout(deployment(namespace, replicas=None, **self.ANNOTATION))
        found = live(sandbox, namespace, "deployment", "web")
        assert found["spec"]["replicas"] == 4
        events = sandbox.kubectl("-n", namespace, "get", "events", "--field-selector=reason=ScalingReplicaSet").stdout
        assert events.count("ScalingReplicaSet") == 1, "it was scaled on the way"
        assert "replicas: 3" not in json.dumps(planned["diff"])

    @pytest.mark.parametrize("moved_by", ["the rollout", "kube-controller-manager"])
    def test_a_manifest_that_names_it_again_takes_it_back(
        self, rollout: RollOut, sandbox: Sandbox, namespace: str, moved_by: str
    ) -> None:
        rollout(deployment(namespace, replicas=None, **self.ANNOTATION))
        if moved_by != "the rollout":
            patch = '{"spec": {"replicas": 5}}'
            sandbox.kubectl(
                "-n", namespace, "patch", "deployment", "web", "--subresource=scale", "--type=merge", "-p", patch,
                f"--field-manager={moved_by}",
            )  # fmt: skip
        rollout(deployment(namespace, replicas=2))
        rollout(deployment(namespace, replicas=1))
        assert live(sandbox, namespace, "deployment", "web")["spec"]["replicas"] == 1

    def test_but_not_from_anybody_else(self, rollout: RollOut, sandbox: Sandbox, namespace: str) -> None:
        rollout(deployment(namespace, replicas=None, **self.ANNOTATION))
        sandbox.kubectl("-n", namespace, "scale", "deployment", "web", "--replicas=5")
        with pytest.raises(PlatformError, match="owned by other field managers"):
            rollout(deployment(namespace, replicas=2))


class TestConfigurationThatChanges:
    def test_rolls_exactly_the_pods_that_use_the_changed_key(
        self, rollout: RollOut, sandbox: Sandbox, namespace: str
    ) -> None:
        def manifests(color: str) -> list[Manifest]:
            return [
                config_map(namespace, color=color, size="1"),
                deployment(namespace, "uses-color", env=[from_config_map("settings", "color")]),
                deployment(namespace, "uses-size", env=[from_config_map("settings", "size")]),
            ]

        rollout(*manifests("blue"))
        result = rollout(*manifests("red"))
        assert changes(result) == {
            "ConfigMap/settings": "changed",
            "Deployment/uses-color": "changed",
            "Deployment/uses-size": "unchanged",
        }

    def test_rolls_the_pods_of_a_rotated_secret_without_showing_its_digest_to_guessers(
        self, rollout: RollOut, sandbox: Sandbox, namespace: str
    ) -> None:
        web = deployment(namespace, env=[from_secret("passwords", "password")])
        rollout(secret(namespace, password="hunter2"), web)
        key = "checksum.erp.platform/secret-passwords"

        def annotation() -> str:
            found = live(sandbox, namespace, "deployment", "web")
            return str(found["spec"]["template"]["metadata"]["annotations"][key])

        before = annotation()
        assert not rollout(web)["changed"]
        sandbox.kubectl(
            "-n", namespace, "patch", "secret", "passwords", "-p", '{"stringData": {"password": "hunter3"}}'
        )
        assert changes(rollout(web)) == {"Deployment/web": "changed"}
        assert annotation() != before

    def test_gives_what_does_not_exist_no_annotation(self, rollout: RollOut, sandbox: Sandbox, namespace: str) -> None:
        optional = from_config_map("missing", "key")
        optional["valueFrom"]["configMapKeyRef"]["optional"] = True
        rollout(deployment(namespace, env=[optional]))
        annotations = live(sandbox, namespace, "deployment", "web")["spec"]["template"]["metadata"]["annotations"]
        assert not [key for key in annotations if key.startswith("checksum.")]


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        (
            [{"name": "a", "manifests": [], "depends_on": ["b"]}, {"name": "b", "manifests": [], "depends_on": ["a"]}],
            "circle",
        ),
        ([{"name": "a", "manifests": [], "depends_on": ["nobody"]}], "nobody, which is no node"),
        ([{"name": "a", "manifests": [config_map("x"), config_map("x")]}], "described twice"),
        ([{"name": "a", "manifests": [config_map("")]}], "lacks metadata.namespace"),
    ],
)
def test_an_input_that_makes_no_sense_is_refused(rollout: RollOut, nodes: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(PlatformError, match=said):
        rollout(nodes=nodes)
