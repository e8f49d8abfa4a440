"""The pinned tools: built once per content of their go.mod and go.sum, kept in the cache."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .errors import SandboxError
from .golang import Go, find_go
from .layout import SOURCES, cache_directory

_KUBERNETES_VERSION = ("1", "34", "4")
_VERSION_PACKAGE = "k8s.io/component-base/version"


@dataclass(frozen=True)
class Tool:
    """One Go module, a folder of `modules`, and the binaries it yields (name of the binary: package)."""

    name: str
    packages: Mapping[str, str]
    linker_values: tuple[str, ...] = ()
    modules: Path = SOURCES / "tools"

    @property
    def module(self) -> Path:
        return self.modules / self.name

    @property
    def linker_flags(self) -> str:
        return " ".join(["-s", "-w", *(f"-X {value}" for value in self.linker_values)])

    def key(self, go_version: str) -> str:
        digest = hashlib.sha256()
        for part in (
            (self.module / "go.mod").read_bytes(),
            (self.module / "go.sum").read_bytes(),
            json.dumps(
                [dict(self.packages), self.linker_flags, go_version, os.uname().sysname, os.uname().machine]
            ).encode(),
        ):
            digest.update(hashlib.sha256(part).digest())
        return digest.hexdigest()[:16]


TOOLS = (
    Tool("etcd", {"etcd": "go.etcd.io/etcd/server/v3"}),
    Tool(
        "kubernetes",
        {
            name: f"k8s.io/kubernetes/cmd/{name}"
            for name in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
        },
        # Without these the binaries call themselves v0.0.0 and clients refuse them.
        (
            f"{_VERSION_PACKAGE}.gitVersion=v{'.'.join(_KUBERNETES_VERSION)}",
            f"{_VERSION_PACKAGE}.gitMajor={_KUBERNETES_VERSION[0]}",
            f"{_VERSION_PACKAGE}.gitMinor={_KUBERNETES_VERSION[1]}",
        ),
    ),
    Tool("kwok", {name: f"sigs.k8s.io/kwok/cmd/{name}" for name in ("kwok", "kwokctl")}),
    Tool("helm", {"helm": "helm.sh/helm/v3/cmd/helm"}),
    Tool("aws-load-balancer-controller", {"aws-load-balancer-controller": "sigs.k8s.io/aws-load-balancer-controller"}),
    Tool("external-secrets", {"external-secrets": "github.com/external-secrets/external-secrets"}),
    Tool("metrics-server", {"metrics-server": "sigs.k8s.io/metrics-server/cmd/metrics-server"}),
)


@dataclass(frozen=True)
class Toolbox:
    """Built binaries by name, and the Go that built them (its module cache also holds the charts)."""

    go: Go
    binaries: Mapping[str, Path]

    def __getitem__(self, binary: str) -> Path:
        return self.binaries[binary]

    def module_directory(self, tool: str, module: str) -> Path:
        """Where `module`, at the version that `tool` pins, lies in the module cache; fetched again if it is gone."""
        output = _run_go(self.go, ["mod", "download", "-json", module], SOURCES / "tools" / tool)
        return Path(json.loads(output[output.index("{") :])["Dir"])  # after what Go says of downloads


def build_tools(tools: Sequence[Tool] = TOOLS) -> Toolbox:
    """The tools, building those that the cache lacks, one after the other, with a line for each."""
    go = find_go(tool.module for tool in tools)
    root = cache_directory() / "bin"
    root.mkdir(parents=True, exist_ok=True)
    homes = [(tool, root / f"{tool.name}-{tool.key(go.version)}") for tool in tools]
    if not all(home.is_dir() for _, home in homes):
        with _exclusive(root):
            for number, (tool, home) in enumerate(homes, start=1):
                if not home.is_dir():
                    _build(go, tool, home, f"{number}/{len(tools)}")
    return Toolbox(go, {binary: home / binary for tool, home in homes for binary in tool.packages})


def _build(go: Go, tool: Tool, home: Path, position: str) -> None:
    started = time.monotonic()
    partial = home.with_name(f".{home.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for binary, package in tool.packages.items():
        label = tool.name if binary == tool.name else f"{tool.name}: {binary}"
        command = [
            "build",
            "-mod=readonly",
            "-trimpath",
            "-ldflags",
            tool.linker_flags,
            "-o",
            str(partial / binary),
            package,
        ]
        _run_go(go, command, tool.module, progress=f"building {label} ({position})")
    partial.rename(home)
    print(f"sandbox: built {tool.name} ({position}) in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)


def _run_go(go: Go, arguments: list[str], directory: Path, progress: str | None = None) -> str:
    """Runs go and returns its output; `progress` is printed at once and every 15 seconds, so a long build shows it."""
    started = time.monotonic()
    process = subprocess.Popen(
        [go.executable, *arguments],
        cwd=directory,
        env=go.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while True:
        if progress:
            print(f"sandbox: {progress} … {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        try:
            output, _ = process.communicate(timeout=15)
            break
        except subprocess.TimeoutExpired:
            continue
        except BaseException:
            process.kill()
            process.wait()
            raise
    if process.returncode != 0:
        tail = "\n".join(output.splitlines()[-20:])
        raise SandboxError(f"go {' '.join(arguments)} in {directory} failed:\n{tail}")
    return output


@contextmanager
def _exclusive(directory: Path) -> Iterator[None]:
    """Holds a lock on a directory itself, so that no lock file is left; two `up` never build at once."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("sandbox: another sandbox is building the tools; waiting for it", file=sys.stderr, flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
