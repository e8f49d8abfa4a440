"""Turns what a JSON Schema refuses into sentences that name the key, the cause and what is allowed."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from .did_you_mean import did_you_mean

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError

KeyPath: TypeAlias = "tuple[str | int, ...]"

_TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "number": "a number",
    "object": "a mapping",
    "string": "text (quote it)",
}


@dataclass(frozen=True)
class Problem:
    """One thing wrong with the input: where (path of keys from the variable down), what, and what would be right."""

    path: KeyPath
    message: str
    allowed: tuple[str, ...] = ()

    def __str__(self) -> str:
        allowed = f" (allowed: {', '.join(self.allowed)})" if self.allowed else ""
        return f"{dotted(self.path)}: {self.message}{allowed}"


def dotted(path: KeyPath) -> str:
    """Write a path as people do: C(erp_services.x.placement.tolerations[0].key)."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


def _pattern(validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[ValidationError]:
    from jsonschema.exceptions import ValidationError

    # In Python '$' also matches before a final newline, which a YAML block scalar brings along; JSON Schema's does not.
    if validator.is_type(instance, "string") and (instance.endswith("\n") or not re.search(pattern, instance)):
        yield ValidationError("pattern")


@functools.cache
def _validator_class() -> type[Draft202012Validator]:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    validator: type[Draft202012Validator] = extend(Draft202012Validator, {"pattern": _pattern})
    return validator


def schema_problems(schema: Mapping[str, Any], instance: Mapping[str, Any]) -> list[Problem]:
    """Return everything that the schema refuses in the instance, in the order of the paths.

    A pattern is explained by the C(errorMessage) beside it, the keyword that editors show as well.
    Only what has a form (enum, pattern) is repeated; environment variables, perhaps misplaced secrets, have none.
    """
    found = [problem for error in _validator_class()(schema).iter_errors(instance) for problem in _explain(error)]
    return sorted(dict.fromkeys(found), key=lambda problem: ([str(part) for part in problem.path], problem.message))


def _explain(error: ValidationError) -> Iterator[Problem]:
    path: KeyPath = tuple(error.absolute_path)
    value: Any = error.instance
    limit: Any = error.validator_value
    schema = error.schema if isinstance(error.schema, Mapping) else {}
    if "propertyNames" in error.schema_path:
        path = (*path, value)
    if error.validator == "additionalProperties":
        known = tuple(sorted(schema.get("properties", {})))
        for key in value:
            if key not in known:
                yield Problem((*path, key), f"unknown key{did_you_mean(str(key), known)}", known)
    elif error.validator == "required":
        for key in limit:
            if key not in value:
                yield Problem((*path, key), "is required")
    elif error.validator == "enum":
        known = tuple(str(choice) for choice in limit)
        yield Problem(path, f"{value!r} is not a choice{did_you_mean(str(value), known)}", known)
    elif error.validator == "type":
        kinds = [limit] if isinstance(limit, str) else limit
        yield Problem(path, f"must be {' or '.join(_TYPES[kind] for kind in kinds)}, not {_kind(value)}")
    elif error.validator in ("pattern", "maxLength"):
        yield Problem(path, f"{value!r} is not {schema.get('errorMessage', 'valid')}")
    elif error.validator in ("minimum", "exclusiveMinimum"):
        relation = "at least" if error.validator == "minimum" else "more than"
        yield Problem(path, f"must be {relation} {limit}, not {value}")
    elif error.validator == "maximum":
        yield Problem(path, f"must be at most {limit}, not {value}")
    elif error.validator == "uniqueItems":
        yield Problem(path, "names something twice")
    elif error.validator == "minProperties":
        yield Problem(path, "must not be empty")
    else:
        yield Problem(path, str(schema.get("errorMessage", error.message)))


def _kind(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "a mapping" if isinstance(value, dict) else type(value).__name__
