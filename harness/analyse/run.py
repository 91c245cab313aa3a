"""Reading a recorded run: `load` turns `run.json` and `records.jsonl` into pandas tables.

A record is one process. A number that a record does not hold is NaN in every table, never 0.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from harness.analyse import tables
from harness.analyse.account import account
from harness.analyse.calibration import Calibration, calibration
from harness.analyse.comparisons import Margins, comparisons
from harness.analyse.control import Control, control
from harness.analyse.latency import latencies
from harness.analyse.memory import memory_passes
from harness.analyse.overhead import overheads
from harness.analyse.ranking import placed
from harness.analyse.summary import final_scores, processes, summarise
from harness.errors import UsageError
from harness.plan.jobs import original

SCHEMA = 1
_META_FIELDS = ("run", "workloads", "contenders")
_RECORD_FIELDS = ("job", "kind", "workload", "contender", "status")


@dataclass(frozen=True)
class Run:
    """A recorded run as tables; times in seconds, memory in bytes unless the name says MiB.

    `records`: one row a record, its scalars. `samples`: one row a timed block of training steps or pass of
    evaluation. `curves`: one row a value of a learning curve (`split` train, validation or test).
    `proofs`: one row a compared tensor. `environments`: one row a package, variable or Python version of a
    contender. `processes`: one row a measured process. `summary`: one row a workload and contender, described
    in `harness.analyse.summary`. `comparisons`: one row a compared pair, in `harness.analyse.comparisons`.
    `control`: the contender that entered twice, None in a run without.

    `calibration`: what it found of the instrument; `overheads`: contenders against scripts written by hand,
    described in `harness.analyse.overhead`. None of a run that was not made for it.
    `account`: where the time went, described in `harness.analyse.account`.

    `superseded` has, in the form of `records`, the attempts that were disturbed and run again. `latencies` is
    described in `harness.analyse.latency`.

    `unreadable` counts the lines of `records.jsonl` that hold no whole record; `foreign` counts the
    records left out because they were made from another spec than the run's (their fingerprints differ).
    """

    folder: Path
    meta: dict[str, Any]
    records: pd.DataFrame
    samples: pd.DataFrame
    curves: pd.DataFrame
    proofs: pd.DataFrame
    environments: pd.DataFrame
    processes: pd.DataFrame
    summary: pd.DataFrame
    comparisons: pd.DataFrame
    margins: Margins
    control: Control | None
    unreadable: int
    foreign: int
    superseded: pd.DataFrame
    latencies: pd.DataFrame
    calibration: Calibration | None
    overheads: pd.DataFrame | None
    account: pd.DataFrame

    @property
    def name(self) -> str:
        """The run's name, as in `results/<run>`."""
        return str(self.meta["run"])

    @property
    def workloads(self) -> list[str]:
        """The workloads in the suite's order."""
        return list(self.meta["workloads"])

    def summary_of(self, workload: str) -> pd.DataFrame:
        """The summary's rows of one workload, ranked contenders first."""
        return self.summary[self.summary["workload"] == workload]


def load(path: str | Path) -> Run:
    """Read the run in the folder `path`.

    Where a job has several records the last one counts, unless it says that it is superseded. Raises
    `UsageError` where the folder is not a run, or was written by a newer version.
    """
    folder = Path(path)
    meta = _read_meta(folder)
    read, unreadable = _read_records(folder / "records.jsonl")
    last = {record["job"]: record for record in read}
    same = [record for record in last.values() if _same_spec(record, meta)]
    # A run that stopped between a disturbed attempt and its repeat ends in one that does not count.
    kept = [record for record in same if not record.get("superseded")]
    records = tables.records(kept)
    samples = tables.samples(kept)
    curves = tables.curves(kept)
    proofs = tables.proofs(kept)
    measured = processes(records, samples)
    timed = records.loc[records["kind"] == "measure", "job"]
    margins = Margins.of_run(meta)
    disturbed = [record for record in read if record.get("superseded") and _same_spec(record, meta)]
    superseded = tables.records(disturbed)
    passes, scores = memory_passes(records), final_scores(meta, curves)
    checked = control(meta, measured, passes, margins.equivalence)
    summary = summarise(meta, records, measured, curves, proofs, superseded)
    compared = comparisons(summary, measured, passes, scores, margins, checked)
    return Run(
        folder=folder,
        meta=meta,
        records=records,
        samples=samples,
        curves=curves,
        proofs=proofs,
        environments=tables.environments(kept),
        processes=measured,
        summary=placed(summary, compared),
        comparisons=compared,
        margins=margins,
        control=checked,
        unreadable=unreadable,
        foreign=len(last) - len(same),
        superseded=superseded,
        latencies=latencies(tables.latencies([record for record in kept if _counts(record)])),
        calibration=calibration(meta, measured, passes),
        overheads=overheads(meta, samples[samples["job"].isin(timed)]),
        account=account(meta, read),
    )


def _counts(record: dict[str, Any]) -> bool:
    """Whether it is a contender's measurement: neither a pilot nor of a further entry, such as a twin."""
    contender: str = record["contender"]
    return record["kind"] == "measure" and contender == original(contender)


def _read_meta(folder: Path) -> dict[str, Any]:
    file = folder / "run.json"
    if not folder.is_dir():
        raise UsageError(f"{folder} is not the folder of a run: there is no such folder.")
    if not file.is_file():
        raise UsageError(f"{folder} is not the folder of a run: it has no run.json.")
    try:
        meta = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UsageError(f"{file} cannot be read: {error}.") from error
    if not isinstance(meta, dict):
        raise UsageError(f"{file} does not hold a JSON object.")
    _refuse_newer(meta, str(file))
    missing = [field for field in _META_FIELDS if field not in meta]
    if missing:
        raise UsageError(f"{file} does not describe a run: it lacks {', '.join(missing)}.")
    return meta


def _read_records(file: Path) -> tuple[list[dict[str, Any]], int]:
    """The whole records of the file, and how many lines are not one (a crash can cut the last in half)."""
    if not file.exists():
        return [], 0
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from error
    records: list[dict[str, Any]] = []
    unreadable = 0
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError:
            unreadable += 1
            continue
        if not isinstance(record, dict):
            unreadable += 1
            continue
        _refuse_newer(record, f"{file}, line {number},")
        if any(not isinstance(record.get(field), str) for field in _RECORD_FIELDS):
            unreadable += 1
            continue
        records.append(record)
    return records, unreadable


def _refuse_newer(document: dict[str, Any], where: str) -> None:
    schema = document.get("schema", SCHEMA)
    if not isinstance(schema, int) or schema > SCHEMA:
        raise UsageError(
            f"{where} has schema {schema!r}, and this version of onespec reads up to {SCHEMA}: "
            "read it with the version that wrote it, or a later one."
        )


def _same_spec(record: dict[str, Any], meta: dict[str, Any]) -> bool:
    """Whether the record was made from the spec that the run declares for its workload."""
    workload = meta["workloads"].get(record["workload"])
    if workload is None:
        return False
    declared = workload.get("fingerprint")
    return declared is None or record.get("fingerprint") in (None, declared)
