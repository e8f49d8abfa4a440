"""Where the logs are, and the end of one."""

from __future__ import annotations

from pathlib import Path

from .errors import SandboxError
from .layout import Layout

_TAIL_LINES = 200


def print_logs(layout: Layout, part: str | None) -> None:
    found = log_files(layout)
    if not found:
        raise SandboxError(f"sandbox {layout.name} has no logs; it does not exist")
    if part is None:
        for name, path in found.items():
            print(f"{name:<28} {path}")
    elif part in found:
        print(*found[part].read_text(errors="replace").splitlines()[-_TAIL_LINES:], sep="\n")
    else:
        raise SandboxError(f"no log of {part!r}; there are: {', '.join(found)}")


def log_files(layout: Layout) -> dict[str, Path]:
    """Part and file."""
    folders = (layout.cluster / "logs", layout.logs, layout.controllers)
    return {path.stem: path for folder in folders for path in sorted(folder.glob("*.log"))}
