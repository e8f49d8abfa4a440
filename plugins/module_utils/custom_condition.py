"""The caller's own idea of "ready" for an object: one of its conditions, or a JMESPath expression over it.

It takes the place of the kind's rule for what is ready; what says that the object is being deleted, that its status is
about an older generation, or that it has failed, stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from .errors import PlatformError
from .objects import condition
from .status import Object, State, Status, described, outdated, status_before_rules, status_by_rules

if TYPE_CHECKING:
    from jmespath.parser import ParsedResult

_DOCUMENTATION = "https://jmespath.org/specification.html"
_SHOWN_CHARACTERS = 120


@dataclass(frozen=True)
class HasCondition:
    """A condition of the object's status has this status and, unless it is "", this reason."""

    type: str
    status: str
    reason: str

    def judge(self, obj: Object) -> Status:
        found = condition(obj, self.type)
        if found is None:
            return Status(State.IN_PROGRESS, "NoCondition", f"condition {self.type} is not there yet")
        if (stale := outdated(obj, found)) is not None:
            return stale
        message = f"condition {described(found)}"
        reason = str(found.get("reason") or "")
        if str(found.get("status")) != self.status:
            return Status(State.IN_PROGRESS, reason or "ConditionNotMet", message)
        if self.reason and reason != self.reason:
            return Status(State.IN_PROGRESS, reason or "ConditionNotMet", f"{message}, not for reason {self.reason}")
        return Status(State.CURRENT, "ConditionMet", message)


@dataclass(frozen=True)
class Yields:
    """A JMESPath expression over the object yields true: the boolean, since a text or a list is true by accident."""

    expression: str
    compiled: ParsedResult = field(compare=False, repr=False)

    def judge(self, obj: Object) -> Status:
        from jmespath.exceptions import JMESPathTypeError

        words = f"ready_when {self.expression}"
        try:
            found = self.compiled.search(obj)
        except JMESPathTypeError as error:
            # A function refuses null, which is what a field is until the object's controller writes it.
            takes = f"{error.function_name}() takes {' or '.join(error.expected_types)}"
            what = f"{takes}, not {_shown(error.current_value, obj)}"
            return Status(State.IN_PROGRESS, "NoResult", f"{words} cannot be evaluated yet: {what}")
        except (TypeError, ValueError) as error:  # max_by of numbers and texts, a slice with the step 0
            return Status(State.IN_PROGRESS, "NoResult", f"{words} cannot be evaluated: {error}")
        if found is True:
            return Status(State.CURRENT, "ReadyWhenMet", f"{words} is true")
        result = "is false" if found is False else f"yields {_shown(found, obj)}, which is not true"
        seen = ", ".join(f"{path} is {_shown(value, obj)}" for path, value in self._seen(obj).items())
        return Status(State.IN_PROGRESS, "ReadyWhenNotMet", f"{words} {result}{': ' if seen else ''}{seen}")

    def _seen(self, obj: Object) -> dict[str, Any]:
        return {".".join(path): _at(obj, path) for path in _paths(self.compiled.parsed)}


@dataclass(frozen=True)
class CustomCondition:
    wanted: HasCondition | Yields

    def status(self, obj: Object) -> Status:
        """The status of a live object, whose readiness the caller's condition decides."""
        if (decided := status_before_rules(obj)) is not None:
            return decided
        by_kind = status_by_rules(obj)
        return by_kind if by_kind.state is State.FAILED else self.wanted.judge(obj)


def parse(entry: Mapping[str, Any], subject: str) -> CustomCondition | None:
    """The condition that an option entry asks for by ``condition`` or ``ready_when``; None if by neither.

    ``subject`` names the entry in errors. Raises PlatformError when both are given, when the expression is not
    JMESPath, and when the library is missing.
    """
    wanted, expression = entry.get("condition"), entry.get("ready_when")
    if wanted is not None and expression is not None:
        raise PlatformError("condition and ready_when exclude each other: say one of them", object=subject)
    if wanted is not None:
        status = wanted.get("status")
        return CustomCondition(
            HasCondition(
                str(wanted["type"]), "True" if status is None else str(status), str(wanted.get("reason") or "")
            )
        )
    if expression is not None:
        return CustomCondition(Yields(expression, _compiled(expression, subject)))
    return None


def _compiled(expression: str, subject: str) -> ParsedResult:
    try:
        import jmespath
        from jmespath.exceptions import EmptyExpressionError, ParseError
    except ImportError as error:
        raise PlatformError(
            "ready_when needs the Python library jmespath, which is not installed",
            object=subject,
            evidence=str(error),
            next_command="pip install jmespath",
        ) from None
    try:
        compiled = jmespath.compile(expression)
    except EmptyExpressionError:
        raise PlatformError("ready_when is empty", object=subject, next_command=_DOCUMENTATION) from None
    except ParseError as error:
        # The first line of the library's text says what is wrong; the others show the expression, as we do.
        what = str(error).splitlines()[0].rstrip(":")
        raise _wrong(what, expression, error.lex_position, subject) from None
    for name, position in _quoted_operands(expression):
        what = f"\"{name}\" in double quotes is a field, a text has single quotes: '{name}'"
        raise _wrong(what, expression, position, subject)
    _check_functions(compiled.parsed, expression, subject)
    return compiled


def _wrong(what: str, expression: str, position: int, subject: str) -> PlatformError:
    start = expression.rfind("\n", 0, position) + 1
    line = expression[start:].partition("\n")[0]
    column = position - start
    return PlatformError(
        f"ready_when is not a JMESPath expression: {what}",
        object=subject,
        evidence=f"{line}\n{' ' * column}^ column {column + 1}",
        next_command=_DOCUMENTATION,
    )


_COMPARATORS = frozenset({"eq", "ne", "lt", "lte", "gt", "gte"})


def _quoted_operands(expression: str) -> Iterator[tuple[str, int]]:
    """Names and positions of what is compared as ``phase == "Active"``: a field of that name, so that null == null
    were true by accident.
    """
    from jmespath.lexer import Lexer

    tokens = list(Lexer().tokenize(expression))
    types = ["", *(str(token["type"]) for token in tokens), ""]
    for index, token in enumerate(tokens):
        around = {types[index], types[index + 2]}
        if token["type"] == "quoted_identifier" and "dot" not in around and around & _COMPARATORS:
            yield str(token["value"]), token["start"]


def _check_functions(node: Mapping[str, Any], expression: str, subject: str) -> None:
    """The library looks for a function when it calls it, which may be late in a rollout."""
    from jmespath.functions import Functions

    if node["type"] == "function_expression":
        name, given = node["value"], len(node["children"])
        known = Functions.FUNCTION_TABLE.get(name)
        position = max(expression.find(f"{name}("), 0)
        if known is None:
            raise _wrong(f"there is no function {name}()", expression, position, subject)
        signature = known["signature"]
        variadic = bool(signature) and bool(signature[-1].get("variadic"))
        if given < len(signature) or (given > len(signature) and not variadic):
            raise _wrong(f"{name}() takes {len(signature)} arguments, not {given}", expression, position, subject)
    for child in node["children"]:
        if isinstance(child, Mapping):
            _check_functions(child, expression, subject)


# Below these, names are those of an element of a list, not of the object.
_RELATIVE = frozenset({"filter_projection", "projection", "value_projection", "flatten", "pipe", "expref"})

_Path: TypeAlias = tuple[str, ...]


def _paths(node: Mapping[str, Any]) -> dict[_Path, None]:
    """The fields of the object that an expression reads by their full path, each once, in its order."""
    if node["type"] == "field":
        return {(str(node["value"]),): None}
    if node["type"] == "subexpression" and all(child["type"] == "field" for child in node["children"]):
        return {tuple(str(child["value"]) for child in node["children"]): None}
    if node["type"] in _RELATIVE or node["type"] == "subexpression":
        return _paths(node["children"][0])
    return {path: None for child in node["children"] if isinstance(child, Mapping) for path in _paths(child)}


def _at(obj: Object, path: _Path) -> Any:
    value: Any = obj
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _shown(value: Any, obj: Object) -> str:
    if value is not None and obj.get("kind") == "Secret":
        return "something that is not shown"
    text = json.dumps(value, default=str)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
