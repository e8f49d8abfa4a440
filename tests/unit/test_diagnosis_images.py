"""Why an image is not pulled: its path, the pod's credentials, the registry's answer."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from ansible_collections.erp.platform.plugins.module_utils.diagnosis_images import (
    Image,
    PullSecret,
    explain_image,
    pull_secret,
)
from ansible_collections.erp.platform.plugins.module_utils.diagnosis_reads import Answer

from .explaining import Cluster, finding, obj, pod, reads

ECR = "806332783810.dkr.ecr.ap-northeast-2.amazonaws.com"


def dockerconfig(name: str, *registries: str) -> dict[str, Any]:
    text = json.dumps({"auths": {registry: {"auth": "c2VjcmV0"} for registry in registries}})
    data = {".dockerconfigjson": base64.b64encode(text.encode()).decode()}
    return obj("Secret", name, type="kubernetes.io/dockerconfigjson", data=data)


@pytest.mark.parametrize(
    ("reference", "registry", "repository", "tag"),
    [
        ("nginx", "docker.io", "library/nginx", "latest"),
        ("erp/web:1", "docker.io", "erp/web", "1"),
        ("localhost:5000/web", "localhost:5000", "web", "latest"),
        (f"{ECR}/erp/web:v1", ECR, "erp/web", "v1"),
        ("registry.example/a/b/c@sha256:12", "registry.example", "a/b/c", "sha256:12"),
        ("registry.example/web:1@sha256:12", "registry.example", "web", "sha256:12"),
    ],
)
def test_an_image_reference_is_read_as_the_kubelet_reads_it(
    reference: str, registry: str, repository: str, tag: str
) -> None:
    image = Image.parse(reference)
    assert (image.registry, image.repository, image.tag) == (registry, repository, tag)


@pytest.mark.parametrize(
    ("entry", "image", "covers"),
    [
        ("registry.example", "registry.example/erp/web:1", True),
        ("https://registry.example/v2/", "registry.example/erp/web:1", True),
        ("registry.example/erp", "registry.example/erp/web:1", True),
        ("registry.example/other", "registry.example/erp/web:1", False),
        ("*.dkr.ecr.ap-northeast-2.amazonaws.com", f"{ECR}/erp/web:1", True),
        ("https://index.docker.io/v1/", "erp/web:1", True),
        ("docker.io", "registry.example/erp/web:1", False),
    ],
)
def test_credentials_are_matched_to_an_image_as_the_kubelet_does(entry: str, image: str, covers: bool) -> None:
    assert PullSecret("s", registries=(entry,)).is_for(Image.parse(image)) is covers


@pytest.mark.parametrize(
    ("secret", "problem"),
    [
        (None, "does not exist"),
        (obj("Secret", "s", type="Opaque"), "is of type Opaque, not kubernetes.io/dockerconfigjson"),
        (
            obj("Secret", "s", type="kubernetes.io/dockerconfigjson", data={".dockerconfigjson": "bm8ganNvbg=="}),
            "holds no credentials under its key .dockerconfigjson",
        ),
    ],
)
def test_a_secret_that_cannot_be_used_says_why(secret: dict[str, Any] | None, problem: str) -> None:
    assert pull_secret("s", Answer(secret)) == PullSecret("s", problem)


def test_of_a_pull_secret_only_the_registries_are_kept() -> None:
    assert pull_secret("s", Answer(dockerconfig("s", "b.example", "a.example"))) == PullSecret(
        "s", registries=("a.example", "b.example")
    )


def test_a_pod_that_is_older_than_its_accounts_credentials_is_told_to_be_made_again() -> None:
    account = obj("ServiceAccount", "default", imagePullSecrets=[{"name": "regcred"}])
    explained = explain_image(finding("image-denied", pod()), reads(Cluster(account)))
    assert explained.because == "it was created before ServiceAccount default named an imagePullSecret"
    assert explained.next_command == "kubectl -n erp delete pod web-1  (its controller makes a new one)"


def test_a_pull_secret_that_may_not_be_read_is_said_to_be_unknown() -> None:
    subject = pod()
    subject["spec"]["imagePullSecrets"] = [{"name": "regcred"}]
    asking = reads(Cluster(unreadable=["Secret"]))
    explained = explain_image(finding("image-denied", subject), asking)
    assert "imagePullSecret regcred could not be read" in explained.evidence
    assert asking.problems == ["could not read Secret erp/regcred: Secret is forbidden"]


def test_a_registry_of_ours_that_denies_sends_to_its_policy() -> None:
    explained = explain_image(finding("image-denied", pod(image=f"{ECR}/erp/web:1")), reads(Cluster()))
    assert explained.because.startswith("the role of its node may not pull from this repository")
    assert explained.next_command == (
        "aws ecr get-repository-policy --registry-id 806332783810 --region ap-northeast-2 --repository-name erp/web"
    )


def test_an_image_without_registry_is_said_to_be_looked_for_on_docker_hub() -> None:
    explained = explain_image(finding("image-missing", pod(image="erp/web:1")), reads(Cluster()))
    assert explained.because == (
        "docker.io has no erp/web with tag 1; the image names no registry, so Docker Hub is asked"
    )
    assert explained.next_command == "skopeo list-tags docker://docker.io/erp/web"


@pytest.mark.parametrize(
    ("said", "because"),
    [
        ("dial tcp: lookup registry.example: no such host", "its node cannot resolve the registry's name"),
        ("dial tcp 10.0.0.1:443: connect: connection refused", "nothing listens at the registry's address"),
        ("x509: certificate signed by unknown authority", "its node does not trust the registry's certificate"),
        ("toomanyrequests: You have reached your pull rate limit", "the registry limits how often it is asked"),
        ("no match for platform in manifest", "the image is not built for the architecture of its node"),
        ("something else", ""),
    ],
)
def test_a_registry_that_cannot_be_asked_is_explained(said: str, because: str) -> None:
    explained = explain_image(finding("image-pull", pod(), said), reads(Cluster()))
    assert explained.because == because
    assert explained.next_command == "curl -sSI https://registry.example/v2/  (on node-a)"
