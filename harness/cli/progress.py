"""What a run shows while it goes: a bar on a terminal, a line for each job elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from harness.environments import Environment
from harness.plan.jobs import PlannedJob
from harness.store import Record

REFRESHES_PER_SECOND = 2
"""The display sleeps while a worker measures."""


@dataclass
class Display:
    """The live display of a run."""

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
        self.bars.update(self.task, description=text)
        if not self.console.is_terminal:
            self.say(text)

    def environment(self, environment: Environment, line: str) -> None:
        """The making of an environment."""
        self.step(f"environment {environment}: {line}")

    def expect(self, jobs: int, done: int) -> None:
        """How many jobs there are, and how many are done from before."""
        self.bars.update(self.task, total=jobs, completed=done)

    def job(self, job: PlannedJob, record: Record | None) -> None:
        """A job as it starts (no record) and as it ends."""
        if record is None:
            self.running.append(job.id)
        else:
            if job.id in self.running:
                self.running.remove(job.id)
            self.bars.advance(self.task)
            failed = record["status"] not in ("ok", "unsupported")
            self.failures += failed
            if failed or not self.console.is_terminal:
                reason = f": {record['reason']}" if record["reason"] else ""
                self.say(f"{job.id}  {record['status']}{reason}")
        self.bars.update(self.task, description="  ".join(self.running) or "…")


@contextmanager
def display() -> Iterator[Display]:
    """A display on standard error while the block runs."""
    console = Console(stderr=True)
    columns = (BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    bars = Progress(
        *columns, console=console, refresh_per_second=REFRESHES_PER_SECOND, disable=not console.is_terminal
    )
    with bars:
        yield Display(console, bars, bars.add_task("", total=None))
