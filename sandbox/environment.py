"""The exports that make kubectl, helm, aws and Ansible talk to a sandbox."""

from __future__ import annotations

import os
import shlex

from . import cloud
from .errors import SandboxError
from .layout import CLONE, Layout
from .record import Record, load_record

# What a shell may still have from a real cluster or account, and what would win over the sandbox's own.
OUTRANKING = (
    *(
        f"K8S_AUTH_{name}"
        for name in (
            "HOST",
            "API_KEY",
            "CONTEXT",
            "USERNAME",
            "PASSWORD",
            "CERT_FILE",
            "KEY_FILE",
            "SSL_CA_CERT",
            "VERIFY_SSL",
        )
    ),
    *(f"AWS_{name}" for name in ("PROFILE", "SESSION_TOKEN", "ROLE_ARN", "WEB_IDENTITY_TOKEN_FILE")),
    *(
        f"AWS_ENDPOINT_URL_{service}"
        for service in ("EC2", "EKS", "ELASTIC_LOAD_BALANCING_V2", "IAM", "LAMBDA", "SECRETS_MANAGER", "STS")
    ),
)


def print_environment(layout: Layout) -> None:
    record = load_record(layout)
    if record is None or not record.ready:
        raise SandboxError(f"sandbox {layout.name} is not up: run sandbox/sandbox up --name {layout.name}")
    print(f"unset {' '.join(OUTRANKING)}")
    for name, value in exports(layout, record).items():
        print(f"export {name}={shlex.quote(value)}")


def exports(layout: Layout, record: Record) -> dict[str, str]:
    """Variable and value. Sandboxes may be switched: an earlier one's folder is not left on PATH."""
    own = [str(layout.bin), str(CLONE / ".venv" / "bin")]
    foreign = str(CLONE / ".sandbox") + os.sep
    inherited = [
        entry
        for entry in os.environ.get("PATH", os.defpath).split(os.pathsep)
        if entry not in own and not entry.startswith(foreign)
    ]
    return {
        "KUBECONFIG": str(layout.kubeconfig),
        "K8S_AUTH_KUBECONFIG": str(layout.kubeconfig),
        # kubectl and helm would write these below the user's home.
        "KUBECACHEDIR": str(layout.state / "cache" / "kubectl"),
        **{
            f"HELM_{kind}_HOME": str(layout.state / "cache" / "helm" / kind.lower())
            for kind in ("CACHE", "CONFIG", "DATA")
        },
        **cloud.environment(record),
        "ERP_CHART_MIRROR": record.charts_url,
        "PATH": os.pathsep.join([*own, *inherited]),
    }
