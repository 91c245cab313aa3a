"""Showing how environments are being made, while they are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from harness.environments import Environment, Progress


@contextmanager
def environment_progress() -> Iterator[Progress]:
    """A callback for `create` and `create_all`: a live line for each environment, plain lines off a terminal.

    Writes to standard error, so that `--json` stays clean.
    """
    from rich.console import Console
    from rich.progress import Progress as Bars
    from rich.progress import SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

    if not sys.stderr.isatty():
        yield lambda environment, line: print(f"{environment}: {line}", file=sys.stderr, flush=True)
        return
    columns = (SpinnerColumn(finished_text=" "), TextColumn("{task.description}"), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def show(environment: Environment, line: str) -> None:
            name = str(environment)
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=1)
            bars.update(
                tasks[name],
                description=f"{name}: {line}",
                completed=1 if line in ("ready", "failed") else 0,
            )

        yield show
