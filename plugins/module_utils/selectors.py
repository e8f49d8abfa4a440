"""Label selectors, matched on this side, so that one watch serves any number of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from .errors import PlatformError

_SET = re.compile(r"^(?P<key>\S+)\s+(?P<operator>in|notin)\s*\((?P<values>[^)]*)\)$")
_EQUALITY = re.compile(r"^(?P<key>[^\s=!]+)\s*(?P<operator>==|=|!=)\s*(?P<value>[^\s=!]*)$")
_EXISTS = re.compile(r"^(?P<not>!?)\s*(?P<key>[^\s=!(),]+)$")


@dataclass(frozen=True)
class Requirement:
    key: str
    values: frozenset[str] | None  # None: any value
    wanted: bool

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        matched = value is not None and (self.values is None or value in self.values)
        return matched is self.wanted


def parse(selector: str) -> tuple[Requirement, ...]:
    """Parse Kubernetes' selector syntax: a=b, a!=b, a in (b,c), a notin (b,c), a, !a; joined by commas."""
    # A comma inside parentheses belongs to a set.
    parts = [part.strip() for part in re.split(r",(?![^(]*\))", selector)]
    return tuple(_parsed(part, selector) for part in parts if part)


def matches(selector: tuple[Requirement, ...], labels: Mapping[str, str]) -> bool:
    return all(requirement.matches(labels) for requirement in selector)


def _parsed(part: str, selector: str) -> Requirement:
    if found := _SET.match(part):
        values = frozenset(value.strip() for value in found["values"].split(","))
        return Requirement(found["key"], values, found["operator"] == "in")
    if found := _EQUALITY.match(part):
        return Requirement(found["key"], frozenset({found["value"]}), found["operator"] != "!=")
    if found := _EXISTS.match(part):
        return Requirement(found["key"], None, not found["not"])
    raise PlatformError(
        f"{part!r} is no label selector",
        object=f"label_selector {selector!r}",
        next_command="write it like: app=kafka,tier in (a,b)",
    )
