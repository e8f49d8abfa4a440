"""Secrets that logs and messages hold, made unreadable.

A log line is evidence that others will read: in a terminal, in AWX, in a report file. Masked is what looks like a
secret, and what the container got in a variable whose name says that it is one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from .objects import mapping, mappings

MASK = "********"
_SECRET_WORDS = (
    r"password|passwd|passphrase|pwd|[_.-]pass|token|secret[_.-]?key|client[_.-]?secret|[_.-]secret|api[_.-]?key"
    r"|access[_.-]?key(?:[_.-]?id)?|private[_.-]?key|credentials?|authorization"
)
_SECRET_NAME = re.compile(rf"(?i)(?:{_SECRET_WORDS}|^pass$|^secret$)")
_SHORTEST_LITERAL = 3

_PEM = "-----BEGIN[^-]*PRIVATE KEY-----"
_PATTERNS = (
    # Whole blocks, then what is left of one whose beginning or end was cut off.
    (re.compile(rf"(?s){_PEM}.*?-----END[^-]*PRIVATE KEY-----"), MASK),
    (re.compile(rf"(?s){_PEM}.*"), MASK),
    (re.compile(r"(?m)(?:^[ \t]*[A-Za-z0-9+/=]{16,}[ \t]*\n)*^[^\n]*-----END[^-\n]*PRIVATE KEY-----"), MASK),
    (re.compile(r"(?m)^[ \t]*[A-Za-z0-9+/]{60,}={0,2}[ \t]*$"), MASK),
    (re.compile(r"(?<=://)[^\s/@]*:[^\s/]*(?=@)"), f"{MASK}:{MASK}"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}"), rf"\1 {MASK}"),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), MASK),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{12,}"), MASK),
    (
        re.compile(
            rf"""(?ix) ( [\w.-]* (?:{_SECRET_WORDS}) [\w-]* ["']? \s* [=:] \s* )"""
            r""" (?: "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | [^\s"',;&)}\]]+ )"""
        ),
        rf"\1{MASK}",
    ),
)


def mask(text: str, literals: Iterable[str] = ()) -> str:
    """The text with everything in it that looks like a secret, or is one of the literals, made unreadable."""
    for literal in sorted(set(literals), key=len, reverse=True):
        if len(literal) >= _SHORTEST_LITERAL:
            text = text.replace(literal, MASK)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def secret_literals(pod: Mapping[str, Any]) -> set[str]:
    """The values that the pod's containers get as plain text under names that promise a secret."""
    spec = mapping(pod.get("spec"))
    return {
        str(entry["value"])
        for container in [*mappings(spec.get("initContainers")), *mappings(spec.get("containers"))]
        for entry in mappings(container.get("env"))
        if entry.get("value") and _SECRET_NAME.search(str(entry.get("name")))
    }
