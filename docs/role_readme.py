"""Writes each role's README.md from its argument specs (`make docs`)."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import yaml
from antsibull_docs_parser import dom
from antsibull_docs_parser.md import MDFormatter, to_md
from antsibull_docs_parser.parser import Context, parse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

HERE = Path(__file__).parent
ROLES = HERE.parent / "roles"


def main() -> None:
    for role in sorted(ROLES.iterdir()):
        (role / "README.md").write_text(readme_of(role))


def readme_of(role: Path) -> str:
    """The README of the role in this directory, as its argument specs have it."""
    environment = Environment(
        loader=FileSystemLoader(HERE),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"markdown": _markdown, "cell": _cell, "value": _value, "tables": _tables}
    specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]
    return environment.get_template("role_readme.md.j2").render(role=role.name, specs=specs)


def _markdown(description: str | list[str]) -> str:
    """Ansible's documentation markup as Markdown, one paragraph per list item."""
    paragraphs = [description] if isinstance(description, str) else description
    return "\n\n".join(to_md(parse(" ".join(text.split()), Context()), formatter=_Handwritten()) for text in paragraphs)


def _cell(description: str | list[str]) -> str:
    return _markdown(description).replace("\n\n", " ").replace("|", "\\|")


def _value(default: Any) -> str:
    return "`" + json.dumps(default, ensure_ascii=False).replace("|", "\\|") + "`"


def _tables(options: dict[str, Any], path: str = "") -> list[tuple[str, dict[str, Any]]]:
    """The options and, below them, the sub-options of each: (name of the mapping, its options)."""
    below = [
        table
        for name, option in options.items()
        if option.get("options")
        for table in _tables(option["options"], f"{path}{name}.")
    ]
    return [(path.rstrip("."), options), *below]


class _Handwritten(MDFormatter):
    """Markdown as a person writes it: backticks for code, escapes only where they are needed."""

    def format_text(self, part: dom.TextPart) -> str:
        return re.sub(r"([*_<\[`])", r"\\\1", part.text)

    def format_code(self, part: dom.CodePart) -> str:
        return f"`{part.text}`"

    def format_option_value(self, part: dom.OptionValuePart) -> str:
        return f"`{part.value}`"

    def format_env_variable(self, part: dom.EnvVariablePart) -> str:
        return f"`{part.name}`"

    def format_option_name(self, part: dom.OptionNamePart, url: str | None) -> str:
        return f"`{part.name}`" if part.value is None else f"`{part.name}: {part.value}`"


if __name__ == "__main__":
    main()
