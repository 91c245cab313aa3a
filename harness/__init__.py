"""onespec: one abstract spec, five frameworks, proven equal before they are measured.

`harness.load("results/<run>")` gives a recorded run as pandas tables.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.analyse.run import Run

__version__ = "0.1.0"


def load(path: str) -> Run:
    """Read a recorded run. See `harness.analyse.run.Run` for its tables.

    Raises `harness.errors.UsageError` where `path` is not the folder of a run.
    """
    from harness.analyse.run import load as read

    return read(path)
