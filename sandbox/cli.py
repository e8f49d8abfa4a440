"""`sandbox up|down|status|env|logs`: parses the command line, prints, and returns the exit code."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from .errors import SandboxError
from .layout import Layout


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="sandbox", description="An embedded Kubernetes and AWS for tests. See sandbox/README.md."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    helps = {
        "up": "start the sandbox; quick if it already runs",
        "down": "end its processes and delete its state",
        "status": "one line per part; exit code 1 unless all are healthy",
        "env": 'shell exports, for eval "$(sandbox/sandbox env)"',
        "logs": "list the logs, or show the end of one",
    }
    for name, description in helps.items():
        command = commands.add_parser(name, help=description, description=description)
        command.add_argument("--name", default="dev", help="which sandbox (default: dev)")
        if name == "logs":
            command.add_argument("part", nargs="?", help="a part, as listed without this argument")
    options = parser.parse_args(arguments)
    try:
        layout = Layout(options.name)
        match options.command:
            case "up":
                from .lifecycle import up

                up(layout)
            case "down":
                from .lifecycle import down

                down(layout)
            case "status":
                from .status import print_status

                return print_status(layout)
            case "env":
                from .environment import print_environment

                print_environment(layout)
            case "logs":
                from .logs import print_logs

                print_logs(layout, options.part)
    except SandboxError as error:
        print(f"sandbox: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has seen enough
    except KeyboardInterrupt:
        print("sandbox: interrupted; the next `up` or `down` cleans up", file=sys.stderr)
        return 130
    return 0
