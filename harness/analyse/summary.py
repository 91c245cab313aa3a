"""The table of a run: one row a workload and contender, every measure of it.

One process gives one observation; a row shows the median over processes with their smallest and largest.
A contender is ranked only when it was proven and none of its records failed.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from harness.analyse import proof
from harness.analyse.ranking import ranked
from harness.spec.metrics import METRICS

MIB = 2**20
# From harmless to grave: a row shows the gravest status among its records.
SEVERITY = ("ok", "unsupported", "diverged", "timeout", "out-of-memory", "crashed", "failed")
NOT_RUN = "not run"
_DURING = {"measure": "while measuring: ", "memory": "in the memory pass: "}
LOWER_IS_BETTER = {"loss", *(name for name, metric in METRICS.items() if not metric.higher_is_better)}

_PROCESS_NUMBERS = (
    "import_seconds",
    "build_seconds",
    "first_step_seconds",
    "batch_size",
    "device_peak_bytes",
)
_SPREAD = ("", "_min", "_max")
COLUMNS = (
    "workload",
    "contender",
    "rank",
    "status",
    "reason",
    "proven",
    "proof_ratio",
    *(f"{precision}_{field}" for precision in proof.PRECISIONS for field in proof.WORST),
    "batch_size",
    "processes",
    *(f"step_seconds{end}" for end in _SPREAD),
    "samples_per_second",
    *(f"ratio{end}" for end in _SPREAD),
    "ratio_blocks",
    *(f"evaluate_samples_per_second{end}" for end in _SPREAD),
    "import_seconds",
    "build_seconds",
    "first_step_seconds",
    "first_step_cold_seconds",
    "metric",
    "metric_mean",
    "metric_min",
    "metric_max",
    "metric_seeds",
    "target",
    "target_reached",
    "import_mib",
    "peak_mib",
    "device_peak_mib",
)


def processes(records: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """One row a measured process.

    `step_seconds` is the median of seconds a step over its training blocks, `evaluate_samples_per_second` the
    median over its evaluation passes, both without warm-up; NaN where it has none.
    """
    measured = records[records["kind"] == "measure"]
    columns = ["job", "workload", "contender", "block", "seed", "started", "status", *_PROCESS_NUMBERS]
    table = measured[columns].reset_index(drop=True)
    steady = samples[~samples["warmup"]]
    train, evaluate = (steady[steady["kind"] == kind] for kind in ("train", "evaluate"))
    step_seconds = (train["seconds"] / train["steps"]).groupby(train["job"]).median()
    rate = (evaluate["samples"] / evaluate["seconds"]).groupby(evaluate["job"]).median()
    table["step_seconds"] = table["job"].map(step_seconds).astype(float)
    table["evaluate_samples_per_second"] = table["job"].map(rate).astype(float)
    return table


def summarise(
    meta: dict[str, Any],
    records: pd.DataFrame,
    measured: pd.DataFrame,
    curves: pd.DataFrame,
    proofs: pd.DataFrame,
) -> pd.DataFrame:
    """One row a workload and contender with `COLUMNS`; each workload's ranked contenders first.

    `rank` orders the proven contenders without a failure by `step_seconds` (1 is the fastest) and is NaN for
    all others, whose `reason` says why. `ratio` is the median over blocks of a process's `step_seconds` over
    the fastest's in the same block. `first_step_cold_seconds` is of the process that started first,
    `first_step_seconds` the median of the later ones. Metrics are means over seeds. `proof_ratio` is the
    worst error of either precision in terms of its tolerance.
    """
    rows = []
    for workload, contender in _pairs(meta, records):
        mine = [_of(table, workload, contender) for table in (records, measured, curves, proofs)]
        rows.append(
            {"workload": workload, "contender": contender} | _row(meta["workloads"][workload], *mine),
        )
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table = ranked(table, measured)
    order = {workload: place for place, workload in enumerate(meta["workloads"])}
    return table.sort_values(
        ["workload", "rank", "contender"],
        key=lambda column: column.map(order) if column.name == "workload" else column,
        na_position="last",
    ).reset_index(drop=True)


def _pairs(meta: dict[str, Any], records: pd.DataFrame) -> list[tuple[str, str]]:
    """What the run was to measure, and what it has records of."""
    jobs = meta.get("jobs") or ()
    planned = [(job["workload"], job["contender"]) for job in jobs if {"workload", "contender"} <= job.keys()]
    if not planned:
        planned = [(workload, name) for workload in meta["workloads"] for name in meta["contenders"]]
    recorded = zip(records["workload"], records["contender"], strict=True)
    return sorted({pair for pair in (*planned, *recorded) if pair[0] in meta["workloads"]})


def _of(table: pd.DataFrame, workload: str, contender: str) -> pd.DataFrame:
    return table[(table["workload"] == workload) & (table["contender"] == contender)]


def _row(
    workload: dict[str, Any],
    records: pd.DataFrame,
    measured: pd.DataFrame,
    curves: pd.DataFrame,
    proofs: pd.DataFrame,
) -> dict[str, Any]:
    status, reason = _status(records)
    worst = proof.worst(proofs)
    unproven = _unproven(records, proofs)
    if status == "ok" and unproven:
        reason = unproven
    elif status == "ok" and not measured["step_seconds"].notna().any():
        reason = "no steady block of training steps on record"
    batch_size = _median(measured["batch_size"].fillna(workload.get("batch_size", float("nan"))))
    row: dict[str, Any] = {"status": status, "reason": reason, "proven": not unproven}
    row["proof_ratio"] = float(proofs["ratio"].max())
    for precision in proof.PRECISIONS:
        row |= {f"{precision}_{field}": worst[precision][field] for field in proof.WORST}
    row |= {"batch_size": batch_size, "processes": int(measured["step_seconds"].notna().sum())}
    row |= _spread("step_seconds", measured["step_seconds"])
    row["samples_per_second"] = batch_size / row["step_seconds"]
    row |= _spread("evaluate_samples_per_second", measured["evaluate_samples_per_second"])
    row |= {name: _median(measured[name]) for name in ("import_seconds", "build_seconds")}
    row |= _first_steps(measured)
    row |= _metric(workload, curves)
    row |= _memory(records[records["kind"] == "memory"], measured)
    return row


def _status(records: pd.DataFrame) -> tuple[str, str | None]:
    """The gravest status and the first reason given for it, whatever the order of the records."""
    if records.empty:
        return NOT_RUN, "no record: its turn never came"
    gravest = max(records["status"], key=_gravity)
    if gravest == "ok":
        return "ok", None
    blamed = records[records["status"] == gravest].sort_values("job")
    reasons = [
        f"{_DURING.get(kind, '')}{reason}"
        for kind, reason in zip(blamed["kind"], blamed["reason"], strict=True)
        if not pd.isna(reason)
    ]
    return gravest, reasons[0] if reasons else "no reason recorded"


def _gravity(status: str) -> int:
    return SEVERITY.index(status) if status in SEVERITY else len(SEVERITY)


def _unproven(records: pd.DataFrame, proofs: pd.DataFrame) -> str | None:
    """Why the contender is not proven; None where it is."""
    verified = records[records["kind"] == "verify"]
    if verified.empty:
        return "no proof on record"
    if (verified["status"] != "ok").any():
        return "its proof did not finish"
    lacking = [precision for precision in proof.PRECISIONS if not (proofs["precision"] == precision).any()]
    if lacking:
        return f"its proof lacks the part in {' and '.join(lacking)}"
    broken = proofs[~proofs["passed"]].sort_values(["ratio", "tensor"], ascending=[False, True])
    if not broken.empty:
        first = broken.iloc[0]
        return f"{first['tensor']} in {first['precision']} is off by {first['error']:.2g}"
    return None


def _median(values: pd.Series[float]) -> float:
    return float(values.median()) if values.notna().any() else float("nan")


def _spread(name: str, values: pd.Series[float]) -> dict[str, float]:
    return {name: _median(values), f"{name}_min": float(values.min()), f"{name}_max": float(values.max())}


def _first_steps(measured: pd.DataFrame) -> dict[str, float]:
    """The first process compiles with a cold cache, so it is kept apart from the later ones."""
    timed = measured[measured["first_step_seconds"].notna()].sort_values(["started", "job"])
    if timed.empty:
        return {"first_step_seconds": float("nan"), "first_step_cold_seconds": float("nan")}
    cold, later = timed["first_step_seconds"].iloc[0], timed["first_step_seconds"].iloc[1:]
    return {
        "first_step_seconds": _median(later if len(later) else timed["first_step_seconds"]),
        "first_step_cold_seconds": float(cold),
    }


def _metric(workload: dict[str, Any], curves: pd.DataFrame) -> dict[str, Any]:
    """The final metric on the test part: each seed counts once, however many processes trained with it."""
    metric, target = workload.get("metric"), workload.get("target")
    tested = curves[(curves["split"] == "test") & (curves["metric"] == metric)]
    by_seed = tested["value"].groupby(tested["seed"], dropna=False).mean()
    mean = float(by_seed.mean())
    reached: bool | float = float("nan")
    if target is not None and len(by_seed):
        reached = mean <= target if metric in LOWER_IS_BETTER else mean >= target
    return {
        "metric": metric,
        "metric_mean": mean,
        "metric_min": float(by_seed.min()),
        "metric_max": float(by_seed.max()),
        "metric_seeds": len(by_seed),
        "target": float("nan") if target is None else float(target),
        "target_reached": reached,
    }


def _memory(passes: pd.DataFrame, measured: pd.DataFrame) -> dict[str, float]:
    """Resident memory above the interpreter's start, in MiB, and the device's peak.

    The device's peak comes from the memory pass, or where that has none from the measured processes.
    """
    device = passes if passes["device_peak_bytes"].notna().any() else measured
    return {
        "import_mib": _median((passes["import_bytes"] - passes["start_bytes"]) / MIB),
        "peak_mib": _median((passes["peak_bytes"] - passes["start_bytes"]) / MIB),
        "device_peak_mib": _median(device["device_peak_bytes"] / MIB),
    }
