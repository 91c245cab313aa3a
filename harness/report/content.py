"""What a report says about a run, gathered for the templates of both the page and its Markdown twin."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any

from harness.analyse import proof
from harness.analyse.environments import Environment, group
from harness.analyse.environments import Facts as EnvironmentFacts
from harness.analyse.run import Run
from harness.analyse.summary import other_metrics
from harness.analyse.sweeps import level_names, sweeps
from harness.report import account, calibration, control, machine, overhead, words
from harness.report.columns import Cell, Grid, Table, build, full
from harness.report.compared import Comparisons, compared
from harness.report.latency import latency
from harness.report.memory import memory
from harness.report.numbers import gibibytes, scientific, whole
from harness.report.sweeps import grid
from harness.report.texts import texts

Facts = list[tuple[str, str]]
_GROUPS = ("output", "loss", "gradient", "parameters")


@dataclass(frozen=True)
class Figure:
    """A drawn figure: its `svg` for the page and its `file` beside the Markdown."""

    title: str
    caption: str
    alt: str
    svg: str
    file: str


@dataclass(frozen=True)
class ProofLine:
    """The proof of one contender in one precision: a cell for each group; `passed` in all of them."""

    contender: str
    precision: str
    passed: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class SweepShown:
    """A sweep's figure (None: nothing is ranked) and its table."""

    factor: str
    figure: Figure | None
    grid: Grid


@dataclass(frozen=True)
class Workload:
    """Everything the report shows of one workload: with the sweeps that vary it, or as a level of one."""

    name: str
    title: str
    result: str
    facts: Facts
    table: Table
    comparisons: Comparisons | None
    latency: Grid | None
    memory: Grid | None
    generated: str
    texts: Grid | None
    figures: tuple[Figure, ...]
    sweeps: tuple[SweepShown, ...]
    is_level: bool
    proof_groups: tuple[str, ...]
    proof: tuple[ProofLine, ...]
    spec: str


@dataclass(frozen=True)
class Section:
    """A table about the whole run: before its workloads where it is what the run is for, else behind them."""

    title: str
    text: str
    grid: Grid
    first: bool


@dataclass(frozen=True)
class Content:
    """Everything the report shows of one run."""

    name: str
    title: str
    made: str
    command: str
    commit: str
    seed: str
    warnings: list[str]
    method: str
    control: str
    planned: str
    sections: tuple[Section, ...]
    workloads: tuple[Workload, ...]
    settings: Facts
    machine: Facts
    software: Facts
    environments: list[Environment]
    variables: EnvironmentFacts
    suite: str
    run: Run


@dataclass(frozen=True)
class Drawn:
    """The figures of a run, by workload, and by workload and factor."""

    workloads: dict[str, tuple[Figure, ...]]
    sweeps: dict[tuple[str, str], Figure]


def gather(run: Run, drawn: Drawn) -> Content:
    """The content of one run, with the figures drawn for it."""
    meta = run.meta
    suite = meta.get("suite") or {}
    software = meta.get("software") or {}
    grouped, common = group(run.environments)
    return Content(
        name=run.name,
        title=str(suite.get("title") or suite.get("name") or run.name),
        made=words.made(run),
        command=words.command(run),
        commit=str(software.get("commit") or ""),
        seed=str(meta.get("seed", "")),
        warnings=words.warnings(run),
        method=words.method(run),
        control=words.control(run),
        planned=words.planned(run),
        sections=tuple(_sections(run)),
        workloads=tuple(_workload(run, name, drawn) for name in run.workloads),
        settings=_facts({key: meta.get(key) for key in ("device", "threads", "blocks", "seed", "created")}),
        machine=[
            *_facts(meta.get("machine") or {}),
            *machine.ceilings(meta),
            *machine.energy(run.records),
        ],
        software=_facts(software),
        environments=grouped,
        variables=common,
        suite=str(suite.get("text") or ""),
        run=run,
    )


def _sections(run: Run) -> Iterator[Section]:
    if run.calibration is not None:
        found = run.calibration
        yield Section("Calibration", calibration.sentence(found), calibration.grid(found), first=True)
    if run.overheads is not None:
        yield Section("Overhead", overhead.METHOD, overhead.grid(run.overheads), first=True)
    if run.control is not None:
        yield Section("Control", control.sentence(run.control), control.grid(run.control), first=False)
    if not run.account.empty:
        yield Section(
            "Where the time went", account.sentence(run.account), account.grid(run.account), first=False
        )


def _workload(run: Run, name: str, drawn: Drawn) -> Workload:
    about = run.meta["workloads"][name]
    groups, lines = _proof(run, name)
    return Workload(
        name=name,
        title=str(about.get("title") or ""),
        result=words.result(run, name),
        facts=_workload_facts(about),
        table=build(run.summary_of(name), full(about.get("metric"), other_metrics(about))),
        comparisons=compared(run, name),
        latency=latency(run, name),
        memory=memory(run, name),
        generated=words.generated(run, name),
        texts=texts(run, name),
        figures=drawn.workloads.get(name, ()),
        sweeps=tuple(
            SweepShown(sweep.factor, drawn.sweeps.get((name, sweep.factor)), grid(sweep))
            for sweep in sweeps(run)
            if sweep.workload == name
        ),
        is_level=name in level_names(run),
        proof_groups=groups,
        proof=lines,
        spec=json.dumps(about.get("spec"), indent=2, ensure_ascii=False),
    )


def _workload_facts(about: dict[str, Any]) -> Facts:
    counts = {
        "parameters": about.get("parameters"),
        "FLOPs a sample, forward": about.get("flops_per_sample"),
        "FLOPs a sample, training": about.get("training_flops_per_sample"),
        "tokens a sample, mean": about.get("tokens_per_sample"),
        "batch size": about.get("batch_size"),
        "steps an epoch": about.get("steps_per_epoch"),
        "epochs": about.get("epochs"),
    }
    facts = [(label, whole(float(count))) for label, count in counts.items() if count is not None]
    if about.get("target") is not None:
        facts.append(("target", f"{about.get('metric')} {about['target']:g}"))
    if about.get("fingerprint"):
        facts.append(("fingerprint", str(about["fingerprint"])[:16]))
    return facts


def _proof(run: Run, workload: str) -> tuple[tuple[str, ...], tuple[ProofLine, ...]]:
    found = proof.groups(run.proofs[run.proofs["workload"] == workload])
    names = tuple(dict.fromkeys([*(g for g in _GROUPS if g in set(found["group"])), *found["group"]]))
    by_line: dict[tuple[str, str], dict[str, dict[Hashable, Any]]] = {}
    for row in found.to_dict("records"):
        by_line.setdefault((row["contender"], row["precision"]), {})[row["group"]] = row
    ordered = sorted(
        by_line, key=lambda key: (key[0], proof.PRECISIONS.index(key[1]) if key[1] in proof.PRECISIONS else 9)
    )
    return names, tuple(
        ProofLine(
            contender=contender,
            precision=precision,
            passed=all(row["passed"] for row in by_line[contender, precision].values()),
            cells=tuple(_proof_cell(by_line[contender, precision].get(group)) for group in names),
        )
        for contender, precision in ordered
    )


def _proof_cell(row: dict[Hashable, Any] | None) -> Cell:
    if row is None:
        return Cell("")
    of = f" of {row['tensors']}" if row["tensors"] > 1 else ""
    if row["passed"] and row["tensor"] == row["group"]:
        return Cell(f"{scientific(row['error'])} / {scientific(row['tolerance'])}")
    detail = f"{row['tensor']}{of}" if row["passed"] else f"{row['tensor']}; {row['failed']}{of} fail"
    return Cell(f"{scientific(row['error'])} / {scientific(row['tolerance'])}", detail)


def _facts(values: dict[str, Any]) -> Facts:
    """Labels and values as text; bytes as GiB, and what is not known is left out."""
    facts = []
    for key, value in values.items():
        if value is None or value == "":
            continue
        label = key.removesuffix("_bytes").replace("_", " ")
        if key.endswith("_bytes") and isinstance(value, int | float):
            facts.append((label, gibibytes(float(value))))
        elif isinstance(value, list | tuple):
            facts.append((label, ", ".join(str(item) for item in value)))
        elif isinstance(value, dict):
            facts.append((label, ", ".join(f"{name} {item}" for name, item in value.items())))
        else:
            facts.append((label, str(value)))
    return facts
