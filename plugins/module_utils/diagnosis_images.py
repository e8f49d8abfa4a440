"""Why an image cannot be pulled: its path, the registry's answer, and the credentials the pod brings."""

from __future__ import annotations

import base64
import binascii
import fnmatch
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .diagnosis_reads import Answer, Reads
from .finding import Explanation, Finding, Object
from .objects import Ref, ref_of
from .workload_pods import container_named, made_by

DOCKER_HUB = "docker.io"
_ECR = re.compile(r"^(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[\w-]+)\.amazonaws\.com(?:\.cn)?$")
_KEYS = {"kubernetes.io/dockerconfigjson": ".dockerconfigjson", "kubernetes.io/dockercfg": ".dockercfg"}
_UNREACHABLE = {
    "no such host": "its node cannot resolve the registry's name",
    "server misbehaving": "its node cannot resolve the registry's name",
    "i/o timeout": "the registry does not answer its node",
    "deadline exceeded": "the registry does not answer its node",
    "connection refused": "nothing listens at the registry's address",
    "x509": "its node does not trust the registry's certificate",
    "server gave http response": "the registry speaks plain HTTP, which its node does not allow",
    "toomanyrequests": "the registry limits how often it is asked",
    "too many requests": "the registry limits how often it is asked",
    "no space left": "the disk of its node is full",
    "no match for platform": "the image is not built for the architecture of its node",
}


@dataclass(frozen=True)
class Image:
    """An image reference, as the kubelet reads it."""

    registry: str
    repository: str
    tag: str
    names_registry: bool

    @classmethod
    def parse(cls, reference: str) -> Image:
        name, _at, digest = reference.partition("@")
        first, slash, rest = name.partition("/")
        names_registry = bool(slash) and ("." in first or ":" in first or first == "localhost")
        registry, path = (first, rest) if names_registry else (DOCKER_HUB, name)
        repository, _colon, tag = path.partition(":")
        if registry == DOCKER_HUB and "/" not in repository:
            repository = f"library/{repository}"
        return cls(registry, repository, digest or tag or "latest", names_registry)


@dataclass(frozen=True)
class PullSecret:
    """An imagePullSecret without its values: what is wrong with it, or the registries that it is for."""

    name: str
    problem: str = ""
    registries: Sequence[str] = ()

    def is_for(self, image: Image) -> bool:
        return any(_covers(entry, image) for entry in self.registries)


def explain_image(finding: Finding, reads: Reads) -> Explanation:
    pod = finding.subject
    ref, spec = ref_of(pod), pod.get("spec") or {}
    reference = str(container_named(pod, finding.container).get("image") or "")
    names = _names(spec)
    secrets = [pull_secret(name, reads.get(Ref("v1", "Secret", ref.namespace, name))) for name in names]
    account = str(spec.get("serviceAccountName") or "default")
    account_now = reads.get(Ref("v1", "ServiceAccount", ref.namespace, account)).obj or {}
    added = [name for name in _names(account_now) if name not in names]
    return image_explanation(finding, Image.parse(reference), reference, secrets, (account, added))


def image_explanation(
    finding: Finding, image: Image, reference: str, secrets: Sequence[PullSecret], account: tuple[str, Sequence[str]]
) -> Explanation:
    """``account`` is the pod's ServiceAccount and the imagePullSecrets that it names and the pod does not."""
    ref = ref_of(finding.subject)
    evidence = [f"image {reference}: registry {image.registry}, repository {image.repository}, {_shown_tag(image)}"]
    evidence += [_shown(secret) for secret in secrets] or ["the pod names no imagePullSecrets"]
    if account[1]:
        evidence.append(
            f"ServiceAccount {account[0]} names {', '.join(account[1])}, but did not when the pod was created"
        )
    if finding.rule == "image-missing":
        because = f"{image.registry} has no {image.repository} with {_shown_tag(image)}"
        if not image.names_registry:
            because += "; the image names no registry, so Docker Hub is asked"
        return Explanation(because, evidence, _look_in_registry(image, reference))
    if finding.rule == "image-denied":
        because, command = _denied(image, secrets, account, ref)
        return Explanation(because, evidence, command)
    if finding.rule == "image-pull":
        said = finding.evidence.lower()
        because = next((words for text, words in _UNREACHABLE.items() if text in said), "")
        node = str((finding.subject.get("spec") or {}).get("nodeName") or "the node")
        return Explanation(because, evidence, f"curl -sSI https://{image.registry}/v2/  (on {node})")
    command = _correct(finding.subject)
    if finding.rule == "image-never":
        command = f"{ref.kubectl('get')} -o jsonpath='{{.spec.containers[*].imagePullPolicy}}'; set it to IfNotPresent"
    return Explanation("", evidence[:1], command)


def pull_secret(name: str, answer: Answer) -> PullSecret:
    """What can be said about the Secret without any of its values."""
    if not answer.is_known:
        return PullSecret(name, "could not be read")
    if answer.obj is None:
        return PullSecret(name, "does not exist")
    type_ = str(answer.obj.get("type") or "Opaque")
    key = _KEYS.get(type_)
    if key is None:
        return PullSecret(name, f"is of type {type_}, not kubernetes.io/dockerconfigjson")
    try:
        decoded = json.loads(base64.b64decode((answer.obj.get("data") or {}).get(key) or ""))
        entries = decoded["auths"] if key == ".dockerconfigjson" else decoded
        return PullSecret(name, registries=tuple(sorted(entries)))
    except (binascii.Error, ValueError, KeyError, TypeError):
        return PullSecret(name, f"holds no credentials under its key {key}")


def _denied(
    image: Image, secrets: Sequence[PullSecret], account: tuple[str, Sequence[str]], ref: Ref
) -> tuple[str, str]:
    ecr = _ECR.match(image.registry)
    create = (
        f"kubectl -n {ref.namespace} create secret docker-registry {{name}} --docker-server={image.registry} "
        "--docker-username=… --docker-password=…"
    )
    for secret in secrets:
        if secret.problem and secret.problem != "could not be read":
            return f"its imagePullSecret {secret.name} {secret.problem}", create.format(name=secret.name)
    if any(secret.is_for(image) for secret in secrets):
        usable = next(secret for secret in secrets if secret.is_for(image))
        because = f"the credentials for {image.registry} in Secret {usable.name} are not accepted, or may not read it"
        return because, create.format(name=usable.name) + " --dry-run=client -o yaml | kubectl apply -f -"
    if secrets and all(not secret.problem for secret in secrets):
        because = f"none of its imagePullSecrets has credentials for {image.registry}"
        return because, create.format(name="registry-credentials") + ", and name it in imagePullSecrets"
    if account[1]:
        because = f"it was created before ServiceAccount {account[0]} named an imagePullSecret"
        return because, ref.kubectl("delete") + "  (its controller makes a new one)"
    if ecr:
        because = "the role of its node may not pull from this repository, or the repository's policy forbids it"
        command = f"aws ecr get-repository-policy --registry-id {ecr['account']} --region {ecr['region']}"
        return because, f"{command} --repository-name {image.repository}"
    if secrets:
        return "", create.format(name=secrets[0].name)
    because = "the pod brings no credentials, as neither it nor its ServiceAccount names imagePullSecrets"
    patch = f"kubectl -n {ref.namespace} patch serviceaccount {account[0]} -p "
    return because, (
        f"{create.format(name='registry-credentials')}; "
        f'{patch}\'{{"imagePullSecrets": [{{"name": "registry-credentials"}}]}}\''
    )


def _look_in_registry(image: Image, reference: str) -> str:
    ecr = _ECR.match(image.registry)
    if ecr is None:
        return f"skopeo list-tags docker://{image.registry}/{image.repository}"
    which = f"imageDigest={image.tag}" if image.tag.startswith("sha256:") else f"imageTag={image.tag}"
    where = f"--registry-id {ecr['account']} --region {ecr['region']} --repository-name {image.repository}"
    return f"aws ecr describe-images {where} --image-ids {which}"


def _correct(pod: Object) -> str:
    return (
        f"kubectl -n {ref_of(pod).namespace} get {made_by(pod)} -o jsonpath='{{..image}}'; correct it in the manifest"
    )


def _shown(secret: PullSecret) -> str:
    state = secret.problem or f"is for {', '.join(secret.registries) or 'no registry'}"
    return f"imagePullSecret {secret.name} {state}"


def _shown_tag(image: Image) -> str:
    return f"digest {image.tag}" if image.tag.startswith("sha256:") else f"tag {image.tag}"


def _names(spec: Mapping[str, object]) -> list[str]:
    entries = spec.get("imagePullSecrets")
    return [str(entry.get("name")) for entry in entries or []] if isinstance(entries, list) else []


def _covers(entry: str, image: Image) -> bool:
    """As the kubelet matches: scheme aside, a host that may hold wildcards, and a path that must be a prefix."""
    host, _slash, path = re.sub(r"^https?://", "", entry).partition("/")
    if image.registry == DOCKER_HUB:
        return host in {DOCKER_HUB, "index.docker.io", "registry-1.docker.io"}
    path = "" if path.strip("/") in {"v1", "v2"} else path.strip("/")
    return fnmatch.fnmatchcase(image.registry, host) and image.repository.startswith(path)
