"""The flat tables of a run: each function takes the records as read and returns one pandas table."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from harness.plan.jobs import TIMED

Record = dict[str, Any]

_TEXT = ("job", "kind", "workload", "fingerprint", "contender", "device", "status", "reason")
_NUMBERS = ("threads", "block", "turn", "seed", "attempt", "wall_seconds")
_NOISE = (
    "harness_cpu_seconds",
    "worker_cpu_seconds",
    "others_share",
    "steal_share",
    "cpu_pressure",
    "memory_pressure",
    "io_pressure",
    "megahertz",
    "megahertz_limit",
    "throttles",
    "voluntary_switches",
    "involuntary_switches",
    "minor_faults",
    "major_faults",
)
_MEASURES = (
    "import_seconds",
    "build_seconds",
    "first_step_seconds",
    "batch_size",
    "start_bytes",
    "import_bytes",
    "build_bytes",
    "first_step_bytes",
    "rest_bytes",
    "peak_bytes",
    "device_peak_bytes",
)
_NOT_METRICS = ("step", "epoch", "seconds")


def records(read: list[Record]) -> pd.DataFrame:
    """One row a record: its scalars, `started` as UTC time, its Python version, and its noise.

    `superseded` is true of an attempt that was disturbed and run again; `warnings` are the names of what
    disturbed it, joined by commas. `train_joules` is the energy of the timed training blocks together by
    `energy_meters`; where there is none, `energy_reason` says why.
    """
    rows = []
    for record in read:
        measures = record.get("measures") or {}
        learning = measures.get("learning") or {}
        row = {name: record.get(name) for name in (*_TEXT, *_NUMBERS, "started")}
        row |= {name: measures.get(name) for name in _MEASURES}
        energy = measures.get("energy") or {}
        row |= {"train_joules": energy.get("joules"), "energy_reason": energy.get("reason")}
        row["energy_meters"] = ", ".join(sorted(energy.get("by_meter") or ()))
        row["learning_seconds"] = learning.get("seconds")
        row["python"] = (record.get("environment") or {}).get("python")
        noise = record.get("noise") or {}
        row |= {name: noise.get(name) for name in _NOISE}
        row["superseded"] = bool(record.get("superseded", False))
        row["warnings"] = ", ".join(warning["name"] for warning in record.get("warnings") or ())
        rows.append(row)
    numbers = (*_NUMBERS, *_MEASURES, "train_joules", "learning_seconds", *_NOISE)
    texts = (*_TEXT, "started", "python", "superseded", "warnings", "energy_meters", "energy_reason")
    table = _frame(rows, (*texts, *numbers), numbers)
    table = table.astype({"superseded": bool})
    table["started"] = pd.to_datetime(table["started"], utc=True, errors="coerce", format="ISO8601")
    return table


def samples(read: list[Record]) -> pd.DataFrame:
    """One row a timed block: `kind` train (its `steps`) or evaluate (its `samples`), in `seconds`."""
    columns = ("job", "workload", "contender", "block", "kind", "index")
    numbers = ("steps", "samples", "seconds")
    rows = [
        {
            **{name: record.get(name) for name in ("job", "workload", "contender", "block")},
            "kind": kind,
            "index": index,
            **{name: timed.get(name) for name in numbers},
            "warmup": bool(timed.get("warmup", False)),
        }
        for record in read
        for kind, field in (("train", "train_blocks"), ("evaluate", "evaluate_passes"))
        for index, timed in enumerate((record.get("measures") or {}).get(field) or ())
    ]
    table = _frame(rows, (*columns, *numbers, "warmup"), ("block", *numbers))
    return table.astype({"warmup": bool})


def latencies(read: list[Record]) -> pd.DataFrame:
    """One row a single call, of a `batch_size`, in `seconds`: `kind` train (a step), evaluate, or of
    generation prefill and token, which read so many `tokens` of each example.

    The first call of each, which may compile, has `warmup`.
    """
    columns = ("job", "workload", "contender", "block", "kind")
    rows = [
        {
            **{name: record.get(name) for name in columns[:-1]},
            "kind": calls["kind"],
            "batch_size": calls["batch_size"],
            "tokens": calls.get("tokens"),
            "index": index,
            "seconds": seconds,
            "warmup": index == 0,
        }
        for record in read
        for calls in (record.get("measures") or {}).get("latency") or ()
        for index, seconds in enumerate([calls["first_seconds"], *calls["seconds"]])
    ]
    table = _frame(
        rows,
        (*columns, "batch_size", "tokens", "index", "seconds", "warmup"),
        ("block", "batch_size", "tokens", "seconds"),
    )
    return table.astype({"warmup": bool})


def curves(read: list[Record]) -> pd.DataFrame:
    """One row a value of a learning curve: `split` train, validation or test, at `step` and `epoch`, of a
    validation also after how many `seconds` of training.
    """
    columns = (
        *("workload", "contender", "block", "seed", "split"),
        *("step", "epoch", "seconds", "metric", "value"),
    )
    rows = [
        {
            **{name: record.get(name) for name in ("workload", "contender", "block", "seed")},
            "split": split,
            **{name: point.get(name) for name in _NOT_METRICS},
            "metric": metric,
            "value": value,
        }
        for record in read
        for split, point in _points((record.get("measures") or {}).get("learning") or {})
        for metric, value in point.items()
        if metric not in _NOT_METRICS
    ]
    return _frame(rows, columns, ("block", "seed", "step", "epoch", "seconds", "value"))


def _points(learning: Record) -> Iterator[tuple[str, Record]]:
    for split in ("train", "validation"):
        for point in learning.get(split) or ():
            yield split, point
    if learning.get("test"):
        yield "test", learning["test"]


def proofs(read: list[Record]) -> pd.DataFrame:
    """One row a compared tensor.

    `error` is infinite where the compared values were not finite (null in the record), `ratio` is error over
    tolerance, `group` the part of the proof the tensor belongs to (the first word of its name), and `passed`
    says whether the error is within the tolerance.
    """
    columns = ("workload", "contender", "precision", "tensor", "group")
    rows = [
        {
            "workload": record["workload"],
            "contender": record["contender"],
            "precision": precision,
            "tensor": entry.get("tensor"),
            "group": str(entry.get("tensor")).split("/")[0],
            **_judged(entry.get("error"), entry.get("tolerance")),
        }
        for record in read
        if record["kind"] == "verify"
        for precision, entries in (record.get("proof") or {}).items()
        for entry in entries or ()
    ]
    table = _frame(rows, (*columns, "error", "tolerance", "ratio", "passed"), ("error", "tolerance", "ratio"))
    return table.astype({"passed": bool})


def _judged(error: float | None, tolerance: float | None) -> Record:
    """Error, tolerance, their ratio and the outcome; a missing tolerance or an error of NaN never passes."""
    allowed = float("nan") if tolerance is None else float(tolerance)
    found = float("inf") if error is None or math.isnan(error) else float(error)
    passed = found <= allowed
    ratio = found / allowed if allowed > 0 else (0.0 if passed else float("inf"))
    return {"error": found, "tolerance": allowed, "ratio": ratio, "passed": passed}


def environments(read: list[Record]) -> pd.DataFrame:
    """One row a fact about a contender's environment: `item` python, package, variable or setting.

    Facts are those of its timed processes, if there are any: proofs and memory passes, which share the cores,
    have variables for that, and tell none where others were timed. What differs between a contender's records
    is listed once each.
    """
    rows: dict[tuple[str, str, str, str], None] = {}
    timed = {record["contender"] for record in read if record["kind"] in TIMED and record.get("environment")}
    for record in read:
        if record["contender"] in timed and record["kind"] not in TIMED:
            continue
        environment = record.get("environment") or {}
        facts: list[tuple[str, str, object]] = []
        if environment.get("python"):
            facts.append(("python", "python", environment["python"]))
        told = [("package", "packages"), ("setting", "settings")]
        if not timed or record["kind"] in TIMED:
            told.append(("variable", "variables"))
        for item, key in told:
            facts += [(item, *pair) for pair in sorted((environment.get(key) or {}).items())]
        rows |= {(record["contender"], item, name, str(value)): None for item, name, value in facts}
    return pd.DataFrame(sorted(rows), columns=["contender", "item", "name", "value"])


def _frame(rows: list[Record], columns: Iterable[str], numbers: Iterable[str]) -> pd.DataFrame:
    """A table with exactly these columns, where `numbers` are floats and what is absent is NaN."""
    table = pd.DataFrame(rows, columns=list(columns))
    for name in numbers:
        table[name] = pd.to_numeric(table[name], errors="coerce").astype(float)
    return table
