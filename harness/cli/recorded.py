"""Finding a recorded run by what the user calls it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import unknown

if TYPE_CHECKING:
    from harness.analyse.run import Run


def load_run(text: str) -> Run:
    """The run in the folder `text`, or of that name among the recorded ones."""
    from harness import paths
    from harness.analyse.run import load

    folder = Path(text)
    if folder.is_dir():
        return load(folder)
    results = paths.root() / "results"
    named = results / text
    if folder.name == text and named.is_dir():
        return load(named)
    recorded = sorted(file.parent.name for file in results.glob("*/run.json"))
    raise unknown("run", text, recorded)
