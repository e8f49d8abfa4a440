"""What a task came to, as files: JUnit XML for the test view of a CI server, JSON for programs.

JUnit XML is written with the standard library: it is four elements, while a library for it would have to be installed
on every host that such a task may run on.
"""

from __future__ import annotations

import json
import re
import secrets
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from .errors import PlatformError, raise_all

# Terminal sequences, which container logs are full of, and what XML 1.0 has no way to write (its section 2.2).
_TERMINAL_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class ReportFiles:
    """Where the result goes; a path that is None is not wanted. ``suite`` names the JUnit suite."""

    suite: str
    junit_path: Path | None = None
    json_path: Path | None = None

    @classmethod
    def asked_for(cls, suite: str, params: Mapping[str, Any], check_mode: bool) -> ReportFiles:
        """From the option ``report``. A check proves nothing about the cluster: it leaves earlier files alone."""
        paths = {name: Path(path).absolute() for name, path in (params.get("report") or {}).items() if path}
        return cls(suite) if check_mode else cls(suite, **paths)

    def check(self) -> None:
        """Raise PlatformError for what would keep the files from being written, as long as nothing has begun."""
        paths = [path for path in (self.junit_path, self.json_path) if path is not None]
        problems = [problem for path in paths if (problem := _obstacle(path)) is not None]
        if len(paths) > len(set(paths)):
            problems.append(PlatformError("is the path of both reports", object=str(self.json_path)))
        raise_all(problems)

    def write(self, result: Mapping[str, Any], seconds: float) -> None:
        """Write the result of a task that took so many seconds; raises PlatformError for each file that failed."""
        contents: dict[Path, bytes] = {}
        if self.junit_path is not None:
            contents[self.junit_path] = junit_of(self.suite, result, seconds)
        if self.json_path is not None:
            contents[self.json_path] = json_of(result)
        raise_all(problem for path, text in contents.items() if (problem := _replaced(path, text)) is not None)


def concluded(work: Callable[[], dict[str, Any]], files: ReportFiles, *, with_diff: bool) -> dict[str, Any]:
    """Do the work and return what it came to, failed or not, as a task returns it; the files hold the same."""
    try:
        files.check()
    except PlatformError as error:
        return _failed(error)
    start = time.monotonic()
    try:
        result = work()
    except PlatformError as error:
        result = _failed(error)
    if not with_diff:
        result.pop("diff", None)
    try:
        files.write(result, time.monotonic() - start)
    except PlatformError as error:
        unwritten = _failed(error)
        message = "\n".join(filter(None, [result.get("msg"), unwritten["msg"]]))
        return {
            **result,
            **unwritten,
            "msg": message,
            "failures": [*(result.get("failures") or []), *unwritten["failures"]],
        }
    return result


def json_of(result: Mapping[str, Any]) -> bytes:
    return (json.dumps(result, indent=2, sort_keys=True) + "\n").encode()


def junit_of(suite: str, result: Mapping[str, Any], seconds: float) -> bytes:
    """The result as one suite, a case per object; its counts and times (seconds) are in the attributes.

    A case fails with what is said about its object, and is skipped when the task ended before the object was reached
    or decided. What failed without being an object, such as a refused option, is a case of its own.
    """
    element = ElementTree.Element("testsuite", name=_text(suite))
    said = list(result.get("failures") or [])
    names: Counter[str] = Counter()
    for entry in _undecided_first(result.get("objects") or []):
        about = [failure for failure in said if failure["object"] == _name(entry)]
        said = [failure for failure in said if failure not in about]
        case = _case(element, _name(entry), str(entry.get("node") or entry["kind"]), names)
        case.set("time", f"{entry.get('ready_after_seconds') or 0:.3f}")
        if about:
            _fail(case, about)
        elif not _is_done(entry):
            why = f"{entry['status']} when the task ended: {entry['message'] or entry['reason']}"
            ElementTree.SubElement(case, "skipped", message=_text(why))
    not_started = {f"node {node['name']}" for node in result.get("nodes") or [] if node["status"] == "not started"}
    for failure in said:
        case = _case(element, failure["object"] or failure["cause"], suite, names)
        if failure["object"] in not_started:
            why = f"{failure['cause']}: {failure['evidence']}"
            ElementTree.SubElement(case, "skipped", message=_text(why))
        else:
            _fail(case, [failure])
    counts = {
        "tests": str(len(element)),
        "failures": str(len(element.findall("testcase/failure"))),
        "errors": "0",
        "skipped": str(len(element.findall("testcase/skipped"))),
        "time": f"{seconds:.3f}",
    }
    now = datetime.now(UTC).replace(tzinfo=None)  # JUnit's timestamps bear no zone
    element.attrib.update(counts, timestamp=now.isoformat(timespec="seconds"))
    suites = ElementTree.Element("testsuites", counts)
    suites.append(element)
    ElementTree.indent(suites)
    written: bytes = ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def _undecided_first(objects: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Two entries may be about one object, a Service and its endpoints: a failure is that of the unready one."""
    return sorted(objects, key=_is_done)


def _is_done(entry: Mapping[str, Any]) -> bool:
    return entry["status"] == "Current" or entry.get("change") in ("deleted", "kept")


def _name(entry: Mapping[str, Any]) -> str:
    place = f"{entry['namespace']}/{entry['name']}" if entry["namespace"] else entry["name"]
    return f"{entry['kind']} {place}"


def _case(suite: ElementTree.Element, name: str, class_name: str, names: Counter[str]) -> ElementTree.Element:
    """Add a case. GitLab shows only the first of several with one name, so that others are numbered."""
    names[name] += 1
    distinct = name if names[name] == 1 else f"{name} ({names[name]})"
    return ElementTree.SubElement(suite, "testcase", name=_text(distinct), classname=_text(class_name))


def _fail(case: ElementTree.Element, failures: list[Mapping[str, str]]) -> None:
    """Everything said about the case in one element: readers of JUnit XML take the first only."""
    causes = "; ".join(failure["cause"] for failure in failures)
    element = ElementTree.SubElement(case, "failure", message=_text(causes), type="NotReady")
    element.text = _text(
        "\n".join(
            str(PlatformError(failure["cause"], failure["object"], failure["evidence"], failure["next_command"]))
            for failure in failures
        )
    )


def _text(text: str) -> str:
    return _NOT_IN_XML.sub("", _TERMINAL_SEQUENCE.sub("", text))


def _failed(error: PlatformError) -> dict[str, Any]:
    return {**error.as_result(), "failed": True}


def _obstacle(path: Path) -> PlatformError | None:
    folder = path.parent
    try:
        if path.is_dir():
            return PlatformError("is to be a report but is a folder", object=str(path))
        if not folder.is_dir():
            return PlatformError(
                "the folder of the report does not exist", object=str(path), next_command=f"mkdir -p {folder}"
            )
        # Rights alone don't tell: the file system may be read-only or full.
        with tempfile.TemporaryFile(dir=folder):
            return None
    except OSError as error:
        return _unwritable(path, error)


def _replaced(path: Path, content: bytes) -> PlatformError | None:
    """Readers see the earlier file or this one, never a part of it."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        try:
            with temporary.open("xb") as file:
                file.write(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        return _unwritable(path, error)
    return None


def _unwritable(path: Path, error: OSError) -> PlatformError:
    return PlatformError(
        "the report cannot be written",
        object=str(path),
        evidence=f"{error.strerror or error}",
        next_command=f"ls -ld {path.parent}",
    )
