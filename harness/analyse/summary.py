"""The table of a run: one row a workload and contender, every measure of it.

One process gives one observation, that of its steady state; a row shows the mean over processes with its
95 % t interval, of logarithms for times, rates and memory. A contender is ranked only when it was proven, no
record of it failed and a process of it became steady.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from harness.analyse import proof, reached, steady
from harness.analyse.comparisons import LOWER_IS_BETTER
from harness.analyse.contrasts import geometric, interval
from harness.analyse.memory import MIB, memory_passes
from harness.analyse.ranking import ranked
from harness.plan.jobs import original
from harness.spec.proof import undecided

# From harmless to grave: a row shows the gravest status among its records.
SEVERITY = ("ok", "unsupported", "diverged", "timeout", "out-of-memory", "crashed", "failed")
NOT_RUN = "not run"
_DURING = {"measure": "while measuring: ", "memory": "in the memory pass: "}

_PROCESS_NUMBERS = (
    "import_seconds",
    "build_seconds",
    "first_step_seconds",
    "batch_size",
    "device_peak_bytes",
)
_STEADY = {
    "step_seconds": "step_seconds",
    "steady_blocks": "blocks",
    "entered_blocks": "entered",
    "changes": "changes",
}
_INTERVAL = ("", "_low", "_high")
_BEFORE_STEPS = ("import_seconds", "build_seconds")
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
    "unsteady",
    "tiers",
    *(f"step_seconds{end}" for end in _INTERVAL),
    "samples_per_second",
    "tokens_per_second",
    "flops_per_second",
    "flops_share",
    *(f"step_joules{end}" for end in _INTERVAL),
    *(f"ratio{end}" for end in _INTERVAL),
    "ratio_blocks",
    "verdict",
    "detectable",
    *(f"evaluate_samples_per_second{end}" for end in _INTERVAL),
    "evaluate_verdict",
    *(f"{name}{end}" for name in (*_BEFORE_STEPS, "first_step_seconds") for end in _INTERVAL),
    "first_step_cold_seconds",
    "metric",
    "metric_mean",
    "metric_low",
    "metric_high",
    "metric_seeds",
    *(f"other_metrics{end}" for end in _INTERVAL),
    "metric_verdict",
    "target",
    "target_reached",
    *reached.COLUMNS,
    "import_mib",
    *(f"rest_mib{end}" for end in _INTERVAL),
    *(f"peak_mib{end}" for end in _INTERVAL),
    "peak_verdict",
    "device_peak_mib",
)


def processes(records: pd.DataFrame, samples: pd.DataFrame) -> pd.DataFrame:
    """One row a measured process.

    `step_seconds` is that of its steady state (`harness.analyse.steady`), NaN where it has none, for which
    `unsteady` is the reason; `steady_blocks` of `entered_blocks` are in it, after `changes` of level.
    `evaluate_samples_per_second` is the median over its evaluation passes, without the first. `step_joules`
    is the energy of all its timed training blocks over their steps.
    """
    measured = records[records["kind"] == "measure"]
    columns = ["job", "workload", "contender", "block", "seed", "attempt", "started", "status"]
    table = measured[[*columns, *_PROCESS_NUMBERS]].reset_index(drop=True)
    states = steady.of_samples(samples)
    timed = samples[~samples["warmup"]]
    evaluate, train = (timed[timed["kind"] == kind] for kind in ("evaluate", "train"))
    rate = (evaluate["samples"] / evaluate["seconds"]).groupby(evaluate["job"]).median()
    for name, field in _STEADY.items():
        table[name] = table["job"].map(states[field]).astype(float)
    table["unsteady"] = table["job"].map(states["reason"])
    steps = table["job"].map(train["steps"].groupby(train["job"]).sum()).astype(float)
    joules = measured["train_joules"].reset_index(drop=True)
    table["step_joules"] = (joules / steps).where(table["step_seconds"].notna())
    table["evaluate_samples_per_second"] = table["job"].map(rate).astype(float)
    return table


def summarise(
    meta: dict[str, Any],
    records: pd.DataFrame,
    measured: pd.DataFrame,
    curves: pd.DataFrame,
    proofs: pd.DataFrame,
    superseded: pd.DataFrame,
) -> pd.DataFrame:
    """One row a workload and contender with `COLUMNS`; each workload's ranked contenders first.

    `rank` orders the proven contenders without a failure by `step_seconds` (1 is the fastest) and is NaN for
    all others, whose `reason` says why. A further entry (a control's twin) is no contender and has no row.
    `processes` counts those with a steady state and `unsteady` those without. `first_step_cold_seconds` is of
    the process that started first, an attempt that was disturbed and run again (`superseded`, records in the
    form of `records`) included; `first_step_seconds` the mean of the later ones that count. Metrics are means
    over seeds; `other_metrics` and their interval, of those beside the first, are by name.
    `tokens_per_second` are those of training that are no padding. `flops_per_second` are those of training,
    `flops_share` is their share of what the machine reached with a matrix product. `step_joules` are the
    machine's, by its meters; memory is counted from the interpreter's start. `proof_ratio` is the worst error
    of either precision in terms of its tolerance. What follows from comparisons (tiers, ratios, verdicts) is
    NaN here: see `harness.analyse.ranking.placed`.
    """
    rows = []
    for workload, contender in _pairs(meta, records):
        mine = [_of(table, workload, contender) for table in (records, measured, curves, proofs, superseded)]
        rows.append(
            {"workload": workload, "contender": contender}
            | _row(meta["workloads"][workload], _ceiling(meta), *mine),
        )
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table = ranked(table)
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
    pairs = {pair for pair in (*planned, *recorded) if pair[0] in meta["workloads"]}
    return sorted(pair for pair in pairs if pair[1] == original(pair[1]))


def _of(table: pd.DataFrame, workload: str, contender: str) -> pd.DataFrame:
    return table[(table["workload"] == workload) & (table["contender"] == contender)]


def _ceiling(meta: dict[str, Any]) -> float:
    """The FLOP/s that the run's machine was seen to reach; NaN where they were not measured."""
    return float((meta.get("ceilings") or {}).get("matmul_flops_per_second", float("nan")))


def _row(
    workload: dict[str, Any],
    ceiling: float,
    records: pd.DataFrame,
    measured: pd.DataFrame,
    curves: pd.DataFrame,
    proofs: pd.DataFrame,
    superseded: pd.DataFrame,
) -> dict[str, Any]:
    status, reason = _status(records)
    worst = proof.worst(proofs)
    unproven = _unproven(records, proofs)
    if status == "ok" and unproven:
        reason = unproven
    elif status == "ok" and not measured["step_seconds"].notna().any():
        reason = _unsteady(measured)
    batch_size = _median(measured["batch_size"].fillna(workload.get("batch_size", float("nan"))))
    row: dict[str, Any] = {"status": status, "reason": reason, "proven": not unproven}
    row["proof_ratio"] = float(proofs["ratio"].max())
    for precision in proof.PRECISIONS:
        row |= {f"{precision}_{field}": worst[precision][field] for field in proof.WORST}
    row |= {"batch_size": batch_size, "processes": int(measured["step_seconds"].notna().sum())}
    row["unsteady"] = int(measured["unsteady"].notna().sum())
    row |= geometric("step_seconds", measured["step_seconds"])
    row["samples_per_second"] = batch_size / row["step_seconds"]
    tokens = workload.get("tokens_per_sample") or float("nan")
    row["tokens_per_second"] = tokens * row["samples_per_second"]
    flops = workload.get("training_flops_per_sample", float("nan"))
    row["flops_per_second"] = flops * row["samples_per_second"]
    row["flops_share"] = row["flops_per_second"] / ceiling
    row |= geometric("step_joules", measured["step_joules"])
    row |= geometric("evaluate_samples_per_second", measured["evaluate_samples_per_second"])
    for name in _BEFORE_STEPS:
        row |= geometric(name, measured[name])
    row |= _first_steps(measured, superseded[superseded["kind"] == "measure"])
    row |= _metric(workload, curves)
    row |= reached.reached(workload, curves, batch_size)
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
    float64 = proofs[proofs["precision"] == "float64"]
    return undecided(dict(zip(float64["tensor"], float64["tolerance"], strict=True)))


def _unsteady(measured: pd.DataFrame) -> str:
    """Why no process of a contender gave an observation."""
    reasons = list(measured.sort_values("job")["unsteady"].dropna())
    if not reasons:
        return "no measured process on record"
    several = f"no steady state in any of its {len(reasons)} processes; in the first: "
    return f"{several if len(reasons) > 1 else 'no steady state: '}{reasons[0]}"


def _median(values: pd.Series[float]) -> float:
    return float(values.median()) if values.notna().any() else float("nan")


def _first_steps(measured: pd.DataFrame, superseded: pd.DataFrame) -> dict[str, float]:
    """The first process compiles with a cold cache, so it is kept apart from the later ones. Where it was
    disturbed and run again it is that first attempt: its repeat finds the cache filled, as later ones do.
    """
    columns = ["job", "attempt", "started", "first_step_seconds"]
    attempts = pd.concat([measured[columns].assign(counts=True), superseded[columns].assign(counts=False)])
    timed = attempts[attempts["first_step_seconds"].notna()].sort_values(["started", "job", "attempt"])
    later = timed.iloc[1:]
    return {
        **geometric("first_step_seconds", later.loc[later["counts"], "first_step_seconds"]),
        "first_step_cold_seconds": float(timed["first_step_seconds"].iloc[0]) if len(timed) else float("nan"),
    }


def final_scores(meta: dict[str, Any], curves: pd.DataFrame) -> pd.DataFrame:
    """The rows of `curves` that hold a workload's final metric on the test part."""
    metrics = {name: about.get("metric") for name, about in meta["workloads"].items()}
    return curves[(curves["split"] == "test") & (curves["metric"] == curves["workload"].map(metrics))]


def _metric(workload: dict[str, Any], curves: pd.DataFrame) -> dict[str, Any]:
    """The final metric on the test part: each seed counts once, however many processes trained with it. The
    workload's other metrics likewise, by name.
    """
    metric, target = workload.get("metric"), workload.get("target")
    by_seed = _by_seed(curves, metric)
    mean, low, high = interval(by_seed.to_numpy(dtype=float))
    others = {
        name: interval(_by_seed(curves, name).to_numpy(dtype=float)) for name in other_metrics(workload)
    }
    reached: bool | float = float("nan")
    if target is not None and len(by_seed):
        reached = mean <= target if metric in LOWER_IS_BETTER else mean >= target
    return {
        "metric": metric,
        "metric_mean": mean,
        "metric_low": low,
        "metric_high": high,
        "metric_seeds": len(by_seed),
        **{
            f"other_metrics{end}": {name: bounds[place] for name, bounds in others.items()}
            for place, end in enumerate(_INTERVAL)
        },
        "target": float("nan") if target is None else float(target),
        "target_reached": reached,
    }


def other_metrics(workload: dict[str, Any]) -> list[str]:
    """The metrics beside the first of a workload in `run.json`."""
    named = (workload.get("spec") or {}).get("metrics") or ()
    return [name for name in named if name != workload.get("metric")]


def _by_seed(curves: pd.DataFrame, metric: str | None) -> pd.Series[float]:
    tested = curves[(curves["split"] == "test") & (curves["metric"] == metric)]
    return tested["value"].groupby(tested["seed"], dropna=False).mean()


def _memory(passes: pd.DataFrame, measured: pd.DataFrame) -> dict[str, float]:
    """Resident memory above the interpreter's start, in MiB, and the device's peak.

    The device's peak comes from the memory pass, or where that has none from the measured processes.
    """
    device = passes if passes["device_peak_bytes"].notna().any() else measured
    held = memory_passes(passes)
    return {
        "import_mib": _median(held["import_mib"]),
        **geometric("rest_mib", held["rest_mib"]),
        **geometric("peak_mib", held["peak_mib"]),
        "device_peak_mib": _median(device["device_peak_bytes"] / MIB),
    }
