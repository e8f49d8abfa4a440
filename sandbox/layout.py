"""Where things lie: the clone, the state of one sandbox, the cache that all clones of a user share."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from .errors import SandboxError

CLONE = Path(__file__).resolve().parent.parent
SOURCES = CLONE / "sandbox"

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")


def cache_directory() -> Path:
    """The only folder outside the clone that is written to."""
    if explicit := os.environ.get("ERP_PLATFORM_CACHE"):
        return Path(explicit).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "erp.platform"


@dataclass(frozen=True)
class Layout:
    """Every path of the sandbox `name`; nothing of it lies outside `state`."""

    name: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise SandboxError(
                f"sandbox name {self.name!r}: lower-case letters, digits and dashes, at most 32 characters"
            )

    @property
    def state(self) -> Path:
        return CLONE / ".sandbox" / self.name

    @property
    def record(self) -> Path:
        return self.state / "sandbox.json"

    @property
    def kubeconfig(self) -> Path:
        return self.state / "kubeconfig"

    @property
    def administrator(self) -> Path:
        """kwokctl's kubeconfig. It names certificate files; those inside `kubeconfig` the client copies to /tmp."""
        return self.cluster / "kubeconfig.yaml"

    @property
    def bin(self) -> Path:
        return self.state / "bin"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def charts(self) -> Path:
        return self.state / "charts"

    @property
    def controllers(self) -> Path:
        return self.state / "controllers"

    @property
    def kwok_workdir(self) -> Path:
        return self.state / "kwok"

    @property
    def cluster(self) -> Path:
        return self.kwok_workdir / "clusters" / self.name

    @property
    def certificate_authority(self) -> Path:
        return self.cluster / "pki" / "ca.crt"
