"""Values as the standard library has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """Return the value built of dict, list, str, int, float, bool and None alone.

    Ansible hands over subclasses that carry tags and template themselves; YAML and JSON Schema know only the standard
    types. The keys of a mapping become text: YAML allows any key.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    for standard in (bool, str, int, float):  # bool first: it is an int
        if isinstance(value, standard):
            return standard(value)
    return value
