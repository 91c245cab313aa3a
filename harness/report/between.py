"""What `onespec compare` says, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.analyse.compare import Answer, Between, Change, label
from harness.report import words
from harness.report.columns import metric_title
from harness.report.numbers import decimals, percent, signed, significant, span

_HEADER = (
    *("Contender", "Measure", "First", "Second", "Second to first\n(95 %)", "Verdict"),
    *("Could\ndetect", "Values"),
)


def print_between(found: Between, answers: Sequence[Answer], console: Console) -> None:
    """Print which runs, what differs in how they were made, a table a workload, and the answers to rules."""
    for place, run in (("first ", found.first), ("second", found.second)):
        console.print(Text(f"{place}  {run.name}: {words.made(run)}"))
        for warning in words.warnings(run):
            console.print(Text(f"note: {warning}"), style="yellow")
    for line in _differing(found.changes):
        console.print(Text(f"differs  {line}"))
    for alone in found.alone:
        console.print(Text(f"only in {alone.run}: the {alone.kind} {alone.name}"), style="dim")
    for workload in found.table["workload"].unique():
        console.print()
        console.print(Text(str(workload), style="bold"))
        console.print(_table(found, str(workload)))
        for line in _untested(found, str(workload)):
            console.print(Text(line), style="dim")
    console.print()
    for refusal in found.refused:
        what = " ".join(filter(None, (refusal.workload, refusal.contender))) or "these runs"
        console.print(Text(f"not compared: {what}: {refusal.reason}"), style="yellow")
    if found.table.empty:
        console.print(Text("measured nothing: no contender of the two runs can be compared"), style="red")
    else:
        console.print(Text(" ".join([method(found), drift(found), *_controls(found)])), style="italic")
    for answer in answers:
        console.print(Text(judgement(answer)), style={0: "green", 1: "red", 3: "yellow"}[answer.exit_code])


def as_json(found: Between, answers: Sequence[Answer], exit_code: int) -> str:
    """The same as JSON."""
    data = {
        "first": found.first.name,
        "second": found.second.name,
        "comparisons": json.loads(found.table.to_json(orient="records")),
        "differs": [asdict(change) for change in found.changes],
        "refused": [asdict(refusal) for refusal in found.refused],
        "alone": [asdict(alone) for alone in found.alone],
        "failed_controls": found.failed_controls,
        "rules": [
            {"rule": str(answer.rule), "exit_code": answer.exit_code}
            | {"broken": answer.broken, "excluded": answer.excluded, "open": answer.open}
            for answer in answers
        ],
        "exit_code": exit_code,
    }
    return json.dumps(data, indent=1)


def method(found: Between) -> str:
    """How the verdicts came about."""
    how = "by Welch's t test, metrics seed by seed where seeds are shared"
    if found.one_run:
        how = "block by block"
    tested = int(found.table["p"].notna().sum())
    return (
        f"The second is compared with the first {how}: told apart at 5 %, by Holm over all {tested} tested "
        f"comparisons; equivalent where TOST shows a difference below {found.margins.equivalence * 100:g} % "
        f"likewise (of a metric {found.margins.metric * 100:g} %, however sure); otherwise inconclusive."
    )


def drift(found: Between) -> str:
    """What stands between the two runs and in no interval."""
    if found.one_run:
        return "Both are of one run, so that what drifted meanwhile met both alike."
    return (
        "Two runs share no blocks: what drifted on the machine between them (load, heat, updates) is in the "
        "differences and in no interval."
    )


def judgement(answer: Answer) -> str:
    """What came of a rule, so that not to know is never taken for its being kept."""
    if answer.broken:
        return f"{answer.rule}: yes, {words.listed(answer.broken)}"
    if not answer.exit_code:
        return f"{answer.rule}: no; {answer.excluded} of {answer.excluded} comparisons rule it out"
    reasons = "; ".join(answer.open) or "nothing was compared"
    if not answer.excluded:
        return f"{answer.rule}: not known: {reasons}"
    total = answer.excluded + len(answer.open)
    return f"{answer.rule}: not known: {len(answer.open)} of {total} leave it open: {reasons}"


def _controls(found: Between) -> list[str]:
    runs = [found.first] if found.one_run else [found.first, found.second]
    return [f"{run.name}: {words.control(run)}" for run in runs]


def _differing(changes: Sequence[Change]) -> list[str]:
    """One line a kind of fact and the contenders that it is of."""
    lines: dict[str, list[str]] = {}
    for change in changes:
        of = f" of {', '.join(change.of)}" if change.of else ""
        lines.setdefault(change.kind + of, []).append(f"{change.name}: {change.first} → {change.second}")
    return [f"{what}  {'; '.join(facts)}" for what, facts in lines.items()]


def _untested(found: Between, workload: str) -> list[str]:
    """Why comparisons of a workload have no verdict, one line a reason."""
    lines: dict[str, list[str]] = {}
    for row in _shown(found, workload):
        if row["why"]:
            name = f"{label(row['first'], row['second'])} ({_title(row)})"
            lines.setdefault(row["why"], []).append(name)
    return [f"{words.listed(names)}: {why}" for why, names in lines.items()]


def _shown(found: Between, workload: str) -> list[dict[Hashable, Any]]:
    """The rows of a workload, without what neither run has a value of (a metric without seeds)."""
    mine = found.table[found.table["workload"] == workload]
    return [row for row in mine.to_dict("records") if row["first_count"] or row["second_count"]]


def _title(row: dict[Hashable, Any]) -> str:
    if row["measure"] == "metric":
        return metric_title(row["metric"])
    return {"step_seconds": "Step, ms", "peak_mib": "Memory, MiB"}[row["measure"]]


def _table(found: Between, workload: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for title in _HEADER:
        table.add_column(title, overflow="fold", no_wrap=title == "Verdict")
    for row in _shown(found, workload):
        table.add_row(*_cells(row))
    return table


def _cells(row: dict[Hashable, Any]) -> list[Text]:
    if row["measure"] == "metric":
        first, second = (decimals(row[name], 4) for name in ("first_value", "second_value"))
        estimate, low, high = (signed(row[name], 4) for name in ("estimate", "low", "high"))
        detectable = decimals(row["detectable"], 4)
    else:
        scale = 1000 if row["measure"] == "step_seconds" else 1
        first, second = (significant(row[name] * scale) for name in ("first_value", "second_value"))
        estimate, low, high = (significant(row[name]) for name in ("estimate", "low", "high"))
        detectable = percent(row["detectable"])
    counts = [str(int(row[name])) for name in ("first_count", "second_count")]
    interval = span(low, high)
    return [
        *(Text(text) for text in (label(row["first"], row["second"]), _title(row), first, second)),
        Text(estimate).append(f" ({interval})" if interval else "", style="dim"),
        Text(row["verdict"]),
        *(Text(text) for text in (detectable, f"{counts[0]} paired" if row["paired"] else ", ".join(counts))),
    ]
