"""Sentences about a run, worded so that they claim no more than the numbers show."""

from __future__ import annotations

import shlex

from harness.analyse.headline import Headline, headline
from harness.analyse.run import Run
from harness.report.numbers import significant

CAVEAT = "No verdicts yet: a spread is the smallest to the largest process, not a confidence interval."


def result(run: Run, workload: str) -> str:
    """One workload's result in a sentence or two."""
    found = headline(run.summary, workload)
    if found.fastest is None:
        return "Nothing is ranked here: no contender was both proven and measured without a failure."
    parts = [_fastest(found)]
    if found.overlapping:
        parts.append(_overlap(found))
    if found.unranked:
        parts.append(f"{found.unranked} not ranked; the reasons are below the table.")
    return " ".join(parts)


def _fastest(found: Headline) -> str:
    time = f"{significant(found.step_seconds * 1000)} ms"
    if found.processes > 1:
        low, high = (significant(bound * 1000) for bound in (found.step_seconds_min, found.step_seconds_max))
        time += f" ({low} to {high} over {found.processes} processes)"
    else:
        time += " (one process, so without a spread)"
    if found.slowest is None:
        return f"{found.fastest} is the only ranked contender: {time} a step."
    sentence = f"Of {found.ranked} proven contenders, {found.fastest} has the shortest median step: {time}"
    ratio = significant(found.slowest_ratio)
    return f"{sentence}; {found.slowest} has the longest, {ratio} times that."


def _overlap(found: Headline) -> str:
    names = listed(found.overlapping)
    verb = "overlaps" if len(found.overlapping) == 1 else "overlap"
    noun = "range" if len(found.overlapping) == 1 else "ranges"
    return f"The {noun} of {names} {verb} that of {found.fastest}, so the order between them is open."


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


def _counted(count: int | None, noun: str) -> str:
    return "" if count is None else f"{count} {noun}{'' if count == 1 else 's'}"


def command(run: Run) -> str:
    """The command that made the run, as it would be typed."""
    words = run.meta.get("command") or ["onespec", "run", run.meta.get("suite", {}).get("name", "")]
    return shlex.join(str(word) for word in words)


def warnings(run: Run) -> list[str]:
    """What a reader must know before trusting the tables."""
    found = []
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
