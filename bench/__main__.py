"""`python -m bench gate`: see `python -m bench gate --help` and docs/development.md."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence

from sandbox.errors import SandboxError
from sandbox.layout import CLONE

from .contenders import TOOLS
from .errors import BenchError
from .gate import FAILURE, measure
from .workload import DAG

_SIZES = ("12", "100", "1000", DAG, FAILURE)
_RESULTS = CLONE / ".bench"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="See docs/development.md.")
    parts = parser.add_subparsers(dest="part", required=True)
    gate = parts.add_parser("gate", help="apply and wait, beside other tools")
    gate.add_argument("--sizes", nargs="+", type=_size, default=[_size(size) for size in _SIZES], help=_listed(_SIZES))
    gate.add_argument("--tools", nargs="+", type=_tools, default=[list(TOOLS)], help=_listed(TOOLS))
    gate.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    wanted = {name for names in options.tools for name in names}
    try:
        measure(options.sizes, [name for name in TOOLS if name in wanted], options.rounds, _RESULTS)
    except (BenchError, SandboxError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _size(text: str) -> int | str:
    if text in (DAG, FAILURE):
        return text
    if text.isdecimal() and int(text):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(_SIZES)}, nor another number of Deployments")


def _tools(text: str) -> list[str]:
    """A tool by its name, or all of a family: `kubectl` is both of its forms."""
    if found := [name for name in TOOLS if text in (name, name.partition("-")[0])]:
        return found
    raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(TOOLS)}")


def _listed(names: Iterable[str]) -> str:
    return f"default: {' '.join(names)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
