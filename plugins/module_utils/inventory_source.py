"""Finds the file and line of an inventory variable, so that an error leads to the place to edit."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import yaml

_SUFFIXES = frozenset({"", ".yml", ".yaml", ".json"})  # what Ansible reads in group_vars and host_vars


@dataclass(frozen=True)
class Place:
    """A line of a file, shown relative to the working directory where it is below it."""

    file: Path
    line: int

    def __str__(self) -> str:
        file = self.file.absolute()
        shown = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
        return f"{shown}:{self.line}"


def locate(inventory_dir: str, path: tuple[str | int, ...]) -> Place | None:
    """Return where the variable path (keys from the variable down) is written, or None.

    Of several files the one that Ansible lets win is preferred: host_vars over group_vars over group_vars/all. Whole
    vaulted files and files that are not YAML are passed over; values stay unread, so tags such as !vault don't matter.
    """
    for file in _files(inventory_dir):
        node = _document(file)
        key: yaml.Node | None = None
        for part in path:
            key, node = _child(node, part)
            if key is None:
                break
        if key is not None:
            return Place(file, key.start_mark.line + 1)
    return None


def locate_nearest(inventory_dir: str, path: tuple[str | int, ...]) -> Place | None:
    """Return where the path is written or, for what is missing, the nearest of its parents."""
    prefixes = (path[:length] for length in range(len(path), 0, -1))
    return next((place for prefix in prefixes if (place := locate(inventory_dir, prefix))), None)


def duplicates(inventory_dir: str, path: tuple[str | int, ...]) -> list[tuple[str, list[Place]]]:
    """Return the keys that are written twice in the mapping at the path, with their places; YAML keeps the last."""
    import yaml

    found = []
    for file in _files(inventory_dir):
        node = _document(file)
        for part in path:
            _key, node = _child(node, part)
        places: dict[str, list[Place]] = {}
        for key, _value in node.value if isinstance(node, yaml.MappingNode) else ():
            places.setdefault(str(key.value), []).append(Place(file, key.start_mark.line + 1))
        found += [(name, lines) for name, lines in places.items() if len(lines) > 1]
    return found


def _files(inventory_dir: str) -> Iterator[Path]:
    for directory in ("host_vars", "group_vars"):
        files = [
            file
            for file in sorted((Path(inventory_dir) / directory).rglob("*"), reverse=True)
            if file.suffix in _SUFFIXES and not file.name.startswith(".") and file.is_file()
        ]
        yield from sorted(files, key=lambda file: file.relative_to(inventory_dir).parts[1].split(".")[0] == "all")


@functools.lru_cache(maxsize=64)
def _document(file: Path) -> yaml.Node | None:
    import yaml

    try:
        text = file.read_text("utf-8")
        if text.startswith("$ANSIBLE_VAULT"):
            return None
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None


def _child(node: yaml.Node | None, part: str | int) -> tuple[yaml.Node | None, yaml.Node | None]:
    """Return the node that marks the place of a key or list item, and the value there."""
    import yaml

    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    if isinstance(node, yaml.MappingNode):
        for key, value in reversed(node.value):  # the last of two equal keys wins
            if key.value == str(part):
                return key, value
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                for merged in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                    found = _child(merged, part)
                    if found[0] is not None:
                        return found
    return None, None
