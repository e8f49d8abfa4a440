"""The objects of a Helm release, read from where Helm keeps them."""

from __future__ import annotations

import base64
import gzip
import json

from .api import Api, NotServed
from .errors import PlatformError
from .objects import Ref, ref_of


def objects_of_release(api: Api, namespace: str, name: str) -> list[Ref]:
    """The objects of the release's newest revision; hooks are not among them."""
    import yaml

    secrets = (
        api.list(api.type_of("v1", "Secret"), namespace, label_selector=f"owner=helm,name={name}").get("items") or []
    )
    if not secrets:
        raise PlatformError(
            "the release does not exist",
            object=f"Helm release {namespace}/{name}",
            next_command=f"helm -n {namespace} list --all",
        )
    newest = max(secrets, key=lambda secret: int(secret["metadata"]["labels"].get("version", 0)))
    # Kubernetes encodes Secret data in base64, and Helm has done so itself before.
    packed = base64.b64decode(base64.b64decode(newest["data"]["release"]))
    release = json.loads(gzip.decompress(packed) if packed[:2] == b"\x1f\x8b" else packed)
    documents = yaml.safe_load_all(release.get("manifest") or "")
    return [_placed(api, ref_of(document), namespace) for document in documents if document]


def _placed(api: Api, ref: Ref, release_namespace: str) -> Ref:
    """Charts may leave the namespace to Helm."""
    try:
        namespaced = api.type_of(ref.api_version, ref.kind).namespaced
    except NotServed:
        namespaced = bool(ref.namespace)
    return Ref(ref.api_version, ref.kind, (ref.namespace or release_namespace) if namespaced else "", ref.name)
