"""`onespec env`: make, list and remove the backends' environments."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from harness.errors import OnespecError, unknown

if TYPE_CHECKING:
    from harness.catalogue import Backend, Contender
    from harness.environments import Environment

HELP = "make, list or remove the backends' environments"
EXAMPLE = "onespec env create torch keras:jax"

ACTIONS = ("create", "list", "remove")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("action", metavar="ACTION", help="create, list or remove")
    parser.add_argument(
        "names",
        nargs="*",
        metavar="BACKEND",
        help="a backend (all its environments) or a contender such as keras:jax; default: all",
    )
    parser.add_argument("--device", metavar="KIND", help="cpu or cuda (default: cpu to create, else both)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; 1 where an environment could not be made."""
    from harness import catalogue

    if arguments.action not in ACTIONS:
        raise unknown("action of env", arguments.action, ACTIONS)
    kind = _device_kind(arguments.device, catalogue.DEVICE_KINDS)
    known = catalogue.backends()
    if arguments.action == "create":
        return _create(arguments.names, kind or "cpu", known, arguments.json)
    chosen = _chosen(arguments.names, kind, known)
    if arguments.action == "remove":
        return _remove(chosen, arguments.json)
    return _list(chosen, known, arguments.json)


def _device_kind(text: str | None, kinds: tuple[str, ...]) -> str | None:
    kind = "cuda" if text == "gpu" else text
    if kind is not None and kind not in kinds:
        raise unknown("device kind", kind, kinds)
    return kind


def _contenders(names: list[str], kind: str, known: dict[str, Backend]) -> list[Contender]:
    """The contenders the names stand for: a bare backend's name means every mode, no name every backend."""
    from harness import catalogue
    from harness.catalogue import Contender

    wanted: list[Contender] = []
    for name in names or [name for name, backend in known.items() if kind in backend.devices]:
        if name in known:
            wanted += [Contender(known[name], mode) for mode in known[name].modes.values()]
        else:
            wanted.append(catalogue.contender(name, known))
    return wanted


def _create(names: list[str], kind: str, known: dict[str, Backend], as_json: bool) -> int:
    from harness.cli.environment_progress import environment_progress
    from harness.environments import create_all, expected

    wanted = _contenders(names, kind, known)
    for contender in wanted:
        expected(contender, kind)
    with environment_progress() as progress:
        made = create_all(wanted, kind, progress)
    # Modes that share an environment share its outcome, which is told once.
    outcomes = dict.fromkeys(made.values())
    failures = [outcome for outcome in outcomes if isinstance(outcome, OnespecError)]
    for failure in failures:
        print(f"onespec: {failure}", file=sys.stderr)
    rows = [_row(found, known, "ready") for found in outcomes if not isinstance(found, OnespecError)]
    if as_json:
        print(json.dumps({"environments": rows, "errors": [str(failure) for failure in failures]}, indent=1))
    elif rows:
        _table(rows)
    return 1 if failures else 0


def _chosen(names: list[str], kind: str | None, known: dict[str, Backend]) -> list[Environment]:
    """The environments, made or not, that the names stand for, on one kind of device or all."""
    from harness import catalogue
    from harness.environments import expected, list_environments

    # What CUDA would need is of no interest before somebody asks for it.
    every = list_environments(known, (kind,) if kind else ("cpu",))
    every = [environment for environment in every if kind in (None, environment.device_kind)]
    if not names:
        return every
    chosen: dict[str, Environment] = {}
    for name in names:
        found = [environment for environment in every if environment.backend == name]
        if not found:
            contender = catalogue.contender(name, known)
            kinds = (kind,) if kind else contender.backend.devices
            found = [expected(contender, one) for one in kinds]
        chosen |= {str(environment.folder): environment for environment in found}
    return list(chosen.values())


def _list(chosen: list[Environment], known: dict[str, Backend], as_json: bool) -> int:
    from harness.catalogue import DEVICE_KINDS
    from harness.environments import needed

    current = {environment.folder for environment in needed(known, DEVICE_KINDS)}
    rows = []
    for environment in chosen:
        outdated = environment.version is None and environment.folder not in current
        exists = environment.folder is not None and environment.folder.exists()
        state = "ready" if environment.ready else "broken" if exists else "not made"
        rows.append(_row(environment, known, "outdated" if outdated and environment.ready else state))
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        _table(rows)
    return 0


def _remove(chosen: list[Environment], as_json: bool) -> int:
    from harness.environments import remove

    removed = [environment for environment in chosen if remove(environment)]
    if as_json:
        print(json.dumps([str(environment.folder) for environment in removed], indent=1))
    else:
        for environment in removed:
            print(f"removed {environment}")
        if not removed:
            print("nothing to remove")
    return 0


def _row(environment: Environment, known: dict[str, Backend], state: str) -> dict[str, Any]:
    from harness.environments import describe

    packages = describe(environment).packages if environment.ready else {}
    backend = known.get(environment.backend)
    names = backend.distributions if backend else (environment.backend,)
    return {
        "backend": environment.backend,
        "environment": environment.key,
        "device": environment.device_kind,
        "state": state,
        "version": next((packages[name] for name in names if name in packages), None),
        "folder": str(environment.folder),
    }


def _table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    columns = ("backend", "environment", "device", "state", "version")
    table = Table(*columns)
    for row in rows:
        table.add_row(*(str(row[name] or "") for name in columns))
    Console().print(table)
