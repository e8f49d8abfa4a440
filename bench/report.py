"""What the bench prints, kept in a file as well."""

from __future__ import annotations

import os
import platform
import re
from importlib import metadata
from pathlib import Path

from sandbox.tools import TOOLS, Tool

from .tools import PEERS


class Report:
    """Shows each line at once and keeps it in `path`."""

    def __init__(self, path: Path) -> None:
        path.write_text("")
        self._path = path

    def say(self, text: str = "") -> None:
        print(text, flush=True)
        with self._path.open("a") as file:
            file.write(text + "\n")


def machine() -> str:
    """The facts without which the figures mean nothing."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    processor = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    versions = [
        f"{binary} {version}"
        for tool in (*TOOLS, *PEERS)
        for binary in ("kubectl", "helm", "helm4", "kapp", "kapply")
        if binary in tool.packages and (version := pinned_version(tool, binary))
    ]
    packages = [f"{package} {metadata.version(package)}" for package in ("ansible-core", "ansible", "kubernetes")]
    return (
        f"machine: {os.cpu_count()} cores ({processor.group(1) if processor else platform.machine()}), "
        f"{memory_gib:.0f} GiB, Linux {platform.release()}, load average {load}\n"
        f"tools: {', '.join(versions)}, Python {platform.python_version()}, {', '.join(packages)}"
    )


def pinned_version(tool: Tool, binary: str) -> str:
    """The version of the module that holds the binary's package, by the tool's go.mod."""
    required = re.findall(r"^(?:require )?\s*(\S+) (v\S+)", (tool.module / "go.mod").read_text(), re.MULTILINE)
    package = tool.packages[binary]
    holders = [(len(module), version) for module, version in required if f"{package}/".startswith(f"{module}/")]
    return max(holders)[1] if holders else ""
