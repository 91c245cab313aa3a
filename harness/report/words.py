"""Sentences about a run, worded so that they claim no more than the numbers show."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable

import pandas as pd

from harness.analyse import proof
from harness.analyse.achieved import achieved
from harness.analyse.comparisons import FASTER, SLOWER, WITHHELD
from harness.analyse.contrasts import EQUIVALENT, INCONCLUSIVE
from harness.analyse.control import Control
from harness.analyse.environments import differences
from harness.analyse.headline import Headline, headline
from harness.analyse.run import Run
from harness.report.numbers import percent, significant, span, whole

_BOUNDS = {"budget": " (as many as fit)", "least": " (the fewest there can be)", "most": " (the most made)"}


def method(run: Run) -> str:
    """How verdicts, tiers and intervals came about."""
    margin = f"{run.margins.equivalence * 100:g} %"
    return (
        "A process gives one observation, the median of its steady state; intervals are 95 % t intervals. "
        "A verdict compares a contender with the first-ranked, block by block: *slower* where a t test tells "
        "them apart at 5 %, by Holm over all pairs of contenders; *equivalent* where TOST shows a difference "
        f"below {margin} likewise; otherwise *inconclusive*. Contenders that were not told apart share a "
        "tier. Only contenders proven to compute the spec, and without a failure, are ranked."
    )


def control(run: Run) -> str:
    """What the run's A/A control found, in a sentence that stays short however many workloads there are."""
    if run.control is None:
        return "This run had no control: no contender entered twice, to show that equals come out equal."
    times = _twins(run.control.of("step_seconds"), "blocks")
    found = f"its twin's step time over its own is {times}"
    passes = run.control.of("peak_mib")
    if passes["pairs"].any():
        found += f"; its peak memory likewise {_twins(passes, 'memory passes')}"
    return f"Control: {run.control.contender} entered twice; {found}."


def planned(run: Run) -> str:
    """Of a run whose number of blocks was planned: for what, and which precision came of it; else nothing."""
    plan = run.meta.get("plan") or {}
    if plan.get("blocks") is None:
        return ""
    precision, budget_seconds = plan["precision"], plan["budget_seconds"]
    goals = [] if precision is None else [f"for a precision of {percent(precision)}"]
    goals += [] if budget_seconds is None else [f"within {whole(budget_seconds)} s"]
    bound = _BOUNDS.get(plan["decided_by"], "")
    told = f"A pilot planned {_counted(plan['blocks'], 'block')} {' '.join(goals)}{bound}"
    found = achieved(run.summary, run.control)
    if found is None:
        return f"{told}; no ratio of step times has an interval."
    outcome = ""
    if precision is not None:
        outcome = ", as asked" if found.half_width <= precision else ", wider than asked"
    return (
        f"{told}; the widest 95 % interval of a ratio of step times is ± {percent(found.half_width)} "
        f"({found.contender} in {found.workload}){outcome}."
    )


def generated(run: Run, workload: str) -> str:
    """Of a workload that generates tokens: by how many contenders they are the same; else nothing."""
    found = proof.same_tokens(run.proofs[run.proofs["workload"] == workload])
    if not found:
        return ""
    count = proof.token_count(run.meta["workloads"][workload])
    tokens = "tokens" if count is None else f"{_counted(count, 'token')} an example"
    others = [contender for contender, same in found.items() if not same]
    of = len(run.summary_of(workload))
    return (
        f"From the same initial weights {len(found) - len(others)} of {of} contenders generated exactly the "
        f"reference's {tokens}, greedily and with a cache, in float64 and in float32"
        f"{f'; not so: {listed(others)}' if others else ''}."
    )


def _twins(rows: pd.DataFrame, paired_by: str) -> str:
    """A control's ratios in one measure; of several workloads their range."""
    known, unknown = (rows[rows["pairs"] >= 2], rows[rows["pairs"] < 2])
    told = []
    if len(known) == 1:
        row = known.iloc[0]
        interval = span(significant(row["ratio_low"]), significant(row["ratio_high"]))
        told.append(
            f"{significant(row['ratio'])} ({interval}) in {row['workload']}, "
            f"where {percent(row['detectable'])} could have been detected"
        )
    elif len(known):
        told.append(
            f"{_range(known['ratio'], significant)} in {len(known)} workloads, where "
            f"{_range(known['detectable'], percent)} could have been detected"
        )
    if len(unknown):
        names = list(unknown["workload"])
        where = listed(names) if len(names) <= 4 else f"{len(names)} workloads"
        told.append(f"not known in {where} (fewer than 2 {paired_by} in common)")
    return " and ".join(told)


def _range(values: pd.Series[float], written: Callable[[float], str]) -> str:
    low, high = written(float(values.min())), written(float(values.max()))
    return low if low == high else span(low, high)


def result(run: Run, workload: str) -> str:
    """One workload's result in a few sentences."""
    found = headline(run.summary, workload)
    if found.fastest is None:
        return "Nothing is ranked here: no contender was both proven and measured without a failure."
    parts = [_fastest(found)]
    if found.ranked > 1:
        parts.append(_verdicts(found))
    if found.unranked:
        parts.append(f"{found.unranked} not ranked; the reasons are below the table.")
    return " ".join(parts)


def _fastest(found: Headline) -> str:
    time = f"{significant(found.step_seconds * 1000)} ms"
    if found.processes > 1:
        low, high = (significant(bound * 1000) for bound in (found.step_seconds_low, found.step_seconds_high))
        time += f" ({low} to {high}, {found.processes} processes)"
    else:
        time += " (one process, so without an interval)"
    if found.slowest is None:
        return f"{found.fastest} is the only ranked contender: {time} a step."
    sentence = f"Of {found.ranked} proven contenders, {found.fastest} has the shortest mean step: {time}"
    ratio = significant(found.slowest_ratio)
    return f"{sentence}; {found.slowest} has the longest, {ratio} times that."


def _verdicts(found: Headline) -> str:
    """How the others compare with the first, and what could have been missed."""
    if WITHHELD in found.verdicts:
        return "Verdicts are withheld: the control failed."
    order = (SLOWER, FASTER, EQUIVALENT, INCONCLUSIVE)
    told = [f"{_some(found.verdicts[word])} {word}" for word in order if word in found.verdicts]
    sentence = f"Against it: {'; '.join(told)}."
    if math.isnan(found.detectable):
        return f"{sentence} A verdict needs two blocks that both finished."
    least = f"The least certain of these comparisons could have detected {percent(found.detectable)}"
    if found.detectable > 10:
        least = "The least certain of these comparisons could have missed a difference of ten times"
    return f"{sentence} {least}{'; with more blocks it is less.' if INCONCLUSIVE in found.verdicts else '.'}"


def _some(names: tuple[str, ...]) -> str:
    return listed(names) if len(names) <= 4 else str(len(names))


def listed(names: tuple[str, ...] | list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def made(run: Run) -> str:
    """When, where and how the run was made, in one line."""
    meta = run.meta
    machine = meta.get("machine") or {}
    device = str(meta.get("device", "unknown device"))
    on = machine.get("gpu") if device != "cpu" and machine.get("gpu") else machine.get("cpu")
    facts = [
        str(meta.get("created", ""))[:10],
        device if on is None else f"{device}: {on}",
        _counted(meta.get("threads"), "thread"),
        _counted(meta.get("blocks"), "block"),
    ]
    return ", ".join(fact for fact in facts if fact)


def _disturbed(run: Run) -> str:
    """What disturbed timed jobs, of those that were run again and of those that count."""
    counted = run.records[run.records["warnings"] != ""]
    kinds = {
        word
        for text in [*run.superseded["warnings"], *counted["warnings"]]
        for word in text.split(", ")
        if word
    }
    told = f"{len(counted)} of the records that count have a warning"
    crowded = run.superseded["status"] == "out-of-memory"
    if crowded.any():
        jobs = _counted(int(crowded.sum()), "job")
        told = f"{jobs} found no memory left and ran again without a neighbour; {told}"
    if not crowded.all():
        told = f"{_counted(int((~crowded).sum()), 'timed job')} met disturbance and ran again; {told}"
    named = f" ({listed(sorted(kinds))})" if kinds else ""
    return f"{told[0].upper()}{told[1:]}{named}: the records say what to do."


def _counted(count: int | None, noun: str) -> str:
    return "" if count is None else f"{count} {noun}{'' if count == 1 else 's'}"


def command(run: Run) -> str:
    """The command that made the run, as it would be typed."""
    words = run.meta.get("command") or ["onespec", "run", run.meta.get("suite", {}).get("name", "")]
    return shlex.join(str(word) for word in words)


_FAILED_CONTROLS = {
    "step_seconds": (
        "step time and inference",
        "moved its clocks: see to the machine (onespec doctor), measure again.",
    ),
    "peak_mib": ("peak memory", "changed what its processes held: measure again, with more memory_passes."),
}


def _withheld(control: Control, measure: str) -> str:
    """Why there are no verdicts on a measure, and what to do."""
    noun, advice = _FAILED_CONTROLS[measure]
    return (
        f"Verdicts on {noun} are withheld: {control.contender} and its twin are one program, and differ in "
        f"{listed(control.differs[measure])} (t test, 5 %, Holm over workloads). Something that this run "
        f"does not control {advice}"
    )


def warnings(run: Run) -> list[str]:
    """What a reader must know before trusting the tables."""
    control = run.control
    found = [] if control is None else [_withheld(control, measure) for measure in control.withheld]
    found += [_disturbed(run)] if len(run.superseded) or run.records["warnings"].any() else []
    found += [
        f"The contenders differ in {difference.name}, which is to be the same for all: "
        + "; ".join(f"{contender} {value}" for contender, value in difference.values.items())
        + "."
        for difference in differences(run.environments)
    ]
    if run.unreadable:
        found.append(
            f"{_counted(run.unreadable, 'line')} of records.jsonl could not be read and was left out."
        )
    if run.foreign:
        found.append(
            f"{_counted(run.foreign, 'record')} left out: made from another spec than this run's "
            "(the fingerprints differ)."
        )
    return found
