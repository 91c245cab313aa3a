"""Memory passes: processes of their own, each of which says what it held after every phase of its work."""

from __future__ import annotations

import pandas as pd

from harness.analyse.contrasts import geometric

MIB = 2**20
PHASES = ("import", "build", "first_step", "rest", "peak")
"""After the import; with model, weights and data in place; after the first training step; at rest, when
garbage was collected after the steps; and the most at any time."""


def memory_passes(records: pd.DataFrame) -> pd.DataFrame:
    """One row a memory pass: its number (`pass`, which pairs contenders), and of each phase the resident
    memory above the interpreter's start, `import_mib` to `peak_mib`.
    """
    passes = records[records["kind"] == "memory"]
    held = {f"{phase}_mib": (passes[f"{phase}_bytes"] - passes["start_bytes"]) / MIB for phase in PHASES}
    # A pass of before there were several has no number.
    return passes[["workload", "contender"]].assign(**{"pass": passes["block"].fillna(0.0)}, **held)


def phases(passes: pd.DataFrame) -> pd.DataFrame:
    """One row a workload and contender: of each phase the mean over `passes` (of logarithms) with its 95 % t
    interval, `_low` and `_high`; NaN of a phase that no pass recorded.
    """
    rows = []
    for (workload, contender), mine in passes.groupby(["workload", "contender"]):
        row: dict[str, object] = {"workload": workload, "contender": contender}
        row["passes"] = int(mine["peak_mib"].notna().sum())
        for phase in PHASES:
            row |= geometric(f"{phase}_mib", mine[f"{phase}_mib"])
        rows.append(row)
    columns = [f"{phase}_mib{end}" for phase in PHASES for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=["workload", "contender", "passes", *columns])
