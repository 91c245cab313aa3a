"""What a report says of the machine beside its parts: what it can do, and whether energy was metered."""

from __future__ import annotations

from typing import Any

import pandas as pd

from harness.report.numbers import significant

Facts = list[tuple[str, str]]

_BARE = "not available"
"""All that records said of energy before they gave a reason."""


def ceilings(meta: dict[str, Any]) -> Facts:
    """What the machine reached in the run, or why no share of it can be told."""
    found = meta.get("ceilings") or {}
    if "matmul_flops_per_second" not in found:
        return [("share of the machine's FLOP/s", f"not told: {_no_ceiling(meta)}")]
    product = significant(found["matmul_flops_per_second"] / 1e9)
    copied = significant(found["copy_bytes_per_second"] / 1e9)
    by = ", ".join(filter(None, (f"NumPy {found['numpy']}", found["blas"])))
    return [
        ("matrix product, float32", f"{product} GFLOP/s ({by})"),
        ("memory copy", f"{copied} GB/s, read and written"),
    ]


def _no_ceiling(meta: dict[str, Any]) -> str:
    reason = (meta.get("ceilings") or {}).get("reason")
    if reason:
        return str(reason).removeprefix("not available: ")
    if (meta.get("protocol") or {}).get("ceilings") is False:
        return "the suite does not ask for what the machine can do"
    return "this run did not measure what the machine can do"


def energy(records: pd.DataFrame) -> Facts:
    """Whose energy was metered, or why none was; nothing of runs of before it was recorded."""
    measured = records[records["kind"] == "measure"]
    meters = sorted({name for names in measured["energy_meters"] for name in names.split(", ") if name})
    if meters:
        return [("energy", f"metered by {', '.join(meters)}")]
    reasons = sorted({str(reason) for reason in measured["energy_reason"].dropna()} - {_BARE})
    if reasons:
        return [("energy", f"{_BARE} ({'; '.join(reasons)})")]
    return [("energy", _BARE)] if measured["energy_reason"].notna().any() else []
