"""What a run shows while it goes: a bar on a terminal, a line for each job elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from harness.environments import Environment
from harness.plan.jobs import PlannedJob
from harness.store import Record, superseded


@dataclass
class Display:
    """The live display of a run. It is drawn when something happens and never between: no clock ticks in it,
    nothing is awake while a worker measures.
    """

    console: Console
    bars: Progress
    task: TaskID
    running: list[str] = field(default_factory=list)
    failures: int = 0

    def say(self, text: str) -> None:
        """One line, above the bar."""
        self.bars.console.print(text, highlight=False, markup=False)

    def step(self, text: str) -> None:
        """What is going on before the jobs start."""
        self._draw(description=text)
        if not self.console.is_terminal:
            self.say(text)

    def environment(self, environment: Environment, line: str) -> None:
        """The making of an environment."""
        self.step(f"environment {environment}: {line}")

    def expect(self, jobs: int, done: int) -> None:
        """How many jobs there are, and how many are done from before."""
        self._draw(total=jobs, completed=done)

    def job(self, job: PlannedJob, record: Record | None) -> None:
        """A job as it starts (no record) and as it ends."""
        if record is None:
            self.running.append(job.id)
        else:
            if job.id in self.running:
                self.running.remove(job.id)
            again = superseded(record)
            self.bars.advance(self.task, 0 if again else 1)
            failed = record["status"] not in ("ok", "unsupported")
            self.failures += failed and not again
            if again and failed:
                self.say(f"{job.id}  again, by itself: {record['reason']}")
            elif again:
                seen = "; ".join(f"{warning['name']}: {warning['seen']}" for warning in record["warnings"])
                self.say(f"{job.id}  again, it was disturbed: {seen}")
            elif failed or not self.console.is_terminal:
                reason = f": {record['reason']}" if record["reason"] else ""
                self.say(f"{job.id}  {record['status']}{reason}")
        self._draw(description="  ".join(self.running) or "…")

    def _draw(self, **changes: Any) -> None:
        self.bars.update(self.task, **changes)
        self.bars.refresh()


@contextmanager
def display() -> Iterator[Display]:
    """A display on standard error while the block runs."""
    console = Console(stderr=True)
    # A bar of unknown length would pulse, and a clock would stand still.
    columns = (BarColumn(24), MofNCompleteColumn(), TextColumn("{task.description}"))
    bars = Progress(*columns, console=console, auto_refresh=False, disable=not console.is_terminal)
    with bars:
        yield Display(console, bars, bars.add_task("", total=None))
