"""The progress of downloads as bars on standard error, which leaves standard output to programs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TransferSpeedColumn
from rich.progress import Progress as Bars

from harness.data.download import Progress


@contextmanager
def download_bars() -> Iterator[Progress]:
    """A `Progress` that draws one bar a file while the block runs."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Bars(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(name: str, received_bytes: int, total_bytes: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total_bytes)
            bars.update(tasks[name], completed=received_bytes)

        yield progress
