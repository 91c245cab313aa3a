"""The command line: one module a command, nothing heavy imported before it is needed."""

from __future__ import annotations

import argparse
import importlib
import sys

import harness
from harness.errors import OnespecError, unknown

COMMANDS = {
    "run": "harness.cli.run",
    "verify": "harness.cli.verify",
    "report": "harness.cli.report",
    "compare": "harness.cli.compare",
    "calibrate": "harness.cli.calibrate",
    "overhead": "harness.cli.overhead",
    "list": "harness.cli.list_",
    "show": "harness.cli.show",
    "env": "harness.cli.env",
    "data": "harness.cli.data",
    "doctor": "harness.cli.doctor",
}


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    """The parser of everything, or, once a command is chosen, with that command's options filled in."""
    parser = argparse.ArgumentParser(
        prog="onespec",
        description="One abstract spec, five frameworks, proven equal before they are measured.",
        epilog="Start with: onespec run quick",
    )
    parser.add_argument("--version", action="version", version=f"onespec {harness.__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module_name in COMMANDS.items():
        module = importlib.import_module(module_name)
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.HELP,
            epilog=f"example: {module.EXAMPLE}",
        )
        if name == chosen:
            module.configure(command)
            command.set_defaults(run=module.run)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code.

    0 done, 1 something failed, 2 wrong usage, 3 nothing was measured or could be told, 130 interrupted.
    """
    words = sys.argv[1:] if arguments is None else arguments
    chosen = next((word for word in words if not word.startswith("-")), None)
    try:
        if chosen is not None and chosen not in COMMANDS:
            raise unknown("command", chosen, COMMANDS)
        parsed = _parser(chosen).parse_args(words)
        return int(parsed.run(parsed))
    except OnespecError as error:
        print(f"onespec: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("onespec: interrupted", file=sys.stderr)
        return 130
