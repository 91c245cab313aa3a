"""Two recorded runs: what changed between them beyond noise, and what of them cannot be compared.

A contender of the first run is compared with one of the second where both were proven and measured on a
workload of one fingerprint, and on the same hardware unless the hardware is what is compared. Processes of
two runs are independent samples (Welch's t test); final metrics are paired by seed where the runs have at
least two seeds in common, since a seed fixes initial weights and batch order; and two contenders of one and
the same run are compared block by block. All comparisons of two runs are one family.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from harness.analyse.comparisons import WITHHELD, WORSE, Margins, of_ratios, sides, too_few, wide
from harness.analyse.contrasts import ABOVE, BELOW, LEVEL, compare, compare_samples, judge
from harness.analyse.control import MEASURES as CONTROLLED
from harness.analyse.memory import memory_passes
from harness.analyse.run import Run
from harness.analyse.summary import final_scores
from harness.errors import UsageError, unknown
from harness.machine import HARDWARE

Pair = tuple[str, str]

MEASURES = {**CONTROLLED, "metric": "seed"}
"""What is compared, and what pairs its observations within a run."""
RULES = {"slower": "step_seconds", "memory": "peak_mib", "worse": "metric"}
"""The word of a rule, and the measure that may not change for the worse."""

_NOUNS = {"step_seconds": "process", "peak_mib": "memory pass", "metric": "seed"}
_PAIRED_NOUNS = _NOUNS | {"step_seconds": "block"}
_COLUMNS = (
    *("workload", "first", "second", "measure", "metric", "paired", "first_count", "second_count"),
    *("first_value", "second_value", "estimate", "low", "high", "margin", "detectable", "verdict", "why"),
    *("difference", "error", "freedom", "p", "p_holm", "p_equivalent", "p_equivalent_holm"),
)


@dataclass(frozen=True)
class Change:
    """A fact that is not the same in both runs; `of` names the compared contenders, none where it is of the
    whole run.
    """

    of: tuple[str, ...]
    kind: str
    name: str
    first: str
    second: str


@dataclass(frozen=True)
class Refusal:
    """What is in both runs and cannot be compared: everything, a workload, or contenders in it; and why."""

    workload: str | None
    contender: str | None
    reason: str


@dataclass(frozen=True)
class Alone:
    """A workload or contender (`kind`) that only one of the runs has."""

    kind: str
    name: str
    run: str


@dataclass(frozen=True)
class Between:
    """The second run beside the first.

    `table`: one row a workload, pair of contenders and measure (of `MEASURES`). `estimate` with its interval
    (`low`, `high`) is the second's over the first's, of a metric the second's less the first's; `margin` and
    `detectable` are in the same terms, as a share or as an amount. `first_value` and `second_value` are means
    (of logarithms, of step times and memory). `verdict` is about the second (of a metric, equivalence comes
    before a difference, however sure), and `why` says what it lacks.
    The other columns are those of `harness.analyse.contrasts`. `failed_controls` names, by measure, the
    runs whose twins differ: verdicts on it are withheld.
    """

    first: Run
    second: Run
    margins: Margins
    table: pd.DataFrame
    changes: tuple[Change, ...]
    refused: tuple[Refusal, ...]
    alone: tuple[Alone, ...]
    failed_controls: Mapping[str, tuple[str, ...]]

    @property
    def one_run(self) -> bool:
        """Whether both are the same run, so that its blocks pair them."""
        return _one(self.first, self.second)


def between(first: Run, second: Run, match: Sequence[Pair] = (), *, other_hardware: bool = False) -> Between:
    """Compare the second run with the first.

    Contenders are matched by name, or where `match` has pairs (of the first run, of the second) only those.
    Raises `UsageError` for a name that a run does not have, or where a contender would meet itself.
    """
    _check(first, second, match)
    # The stricter margins, where the runs' protocols differ in them.
    margins = Margins(
        min(first.margins.equivalence, second.margins.equivalence),
        min(first.margins.metric, second.margins.metric),
    )
    failed = _failed_controls(first, second)
    refused: list[Refusal] = []
    rows: list[dict[str, Any]] = []
    hardware = _changes("hardware", _hardware(first), _hardware(second))
    if hardware and not other_hardware:
        facts = "; ".join(f"{change.name}: {change.first}, then {change.second}" for change in hardware)
        refused.append(Refusal(None, None, f"the runs were made on other hardware ({facts})"))
    else:
        tables = [_tables(run) for run in (first, second)]
        for workload in first.workloads:
            if workload in second.workloads:
                pairs, unfit = _pairs(first, second, workload, match)
                refused += unfit
                for pair in pairs:
                    rows += _rows(tables, (first, second), workload, pair, margins)
    labels = list(dict.fromkeys((row["first"], row["second"]) for row in rows))
    return Between(
        first,
        second,
        margins,
        _judged(rows, margins, failed),
        (*hardware, *_of_runs(first, second), *_of_contenders(first, second, labels)),
        tuple(refused),
        _alone(first, second, match),
        failed,
    )


def label(first: str, second: str) -> str:
    """Two contenders as one name: `a`, or `a → b`."""
    return first if first == second else f"{first} → {second}"


def _one(first: Run, second: Run) -> bool:
    return first.folder.resolve() == second.folder.resolve()


def _check(first: Run, second: Run, match: Sequence[Pair]) -> None:
    for pair in match:
        for run, name in zip((first, second), pair, strict=True):
            known = set(run.summary["contender"])
            if name not in known:
                raise unknown(f"contender of {run.name}", name, known)
    if not _one(first, second):
        return
    if not match:
        raise UsageError(
            f"both are the run {first.name}, where each contender would meet itself: "
            "name two of its contenders with --match A=B"
        )
    same = [one for one, other in match if one == other]
    if same:
        raise UsageError(f"{same[0]} of {first.name} cannot be compared with itself")


def _failed_controls(*runs: Run) -> dict[str, tuple[str, ...]]:
    names = {
        measure: [run.name for run in runs if run.control is not None and measure in run.control.withheld]
        for measure in CONTROLLED
    }
    return {measure: tuple(dict.fromkeys(failing)) for measure, failing in names.items() if failing}


def _hardware(run: Run) -> dict[str, Any]:
    machine = run.meta.get("machine") or {}
    facts = {name: machine.get(name) for name in HARDWARE}
    return facts | {name: run.meta.get(name) for name in ("device", "threads")}


def _of_runs(first: Run, second: Run) -> list[Change]:
    """What differs in machine, protocol and the harness itself, besides the hardware."""
    found = []
    for kind in ("machine", "protocol", "software"):
        facts = [
            {name: value for name, value in (run.meta.get(kind) or {}).items() if name not in HARDWARE}
            for run in (first, second)
        ]
        found += _changes(kind, *facts)
    return found


def _of_contenders(first: Run, second: Run, pairs: list[Pair]) -> list[Change]:
    """What differs in the environments of compared contenders: Python, packages, variables, settings."""
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for pair in pairs:
        one, other = (_facts(run, name) for run, name in zip((first, second), pair, strict=True))
        for kind in ("python", "package", "variable", "setting"):
            for change in _changes(kind, one.get(kind, {}), other.get(kind, {})):
                key = (change.kind, change.name, change.first, change.second)
                found.setdefault(key, []).append(label(*pair))
    return [Change(tuple(names), *key) for key, names in found.items()]


def _facts(run: Run, contender: str) -> dict[str, dict[str, str]]:
    mine = run.environments[run.environments["contender"] == contender]
    found: dict[str, dict[str, str]] = {}
    for (item, name), values in mine.groupby(["item", "name"])["value"]:
        found.setdefault(str(item), {})[str(name)] = ", ".join(sorted(set(values)))
    return found


def _changes(kind: str, first: dict[str, Any], second: dict[str, Any]) -> list[Change]:
    names = [*first, *(name for name in second if name not in first)]
    return [
        Change((), kind, name, _said(first.get(name)), _said(second.get(name)))
        for name in names
        if first.get(name) != second.get(name)
    ]


def _said(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _alone(first: Run, second: Run, match: Sequence[Pair]) -> tuple[Alone, ...]:
    kinds = [("workload", set(first.workloads), set(second.workloads))]
    if not match:
        kinds.append(("contender", set(first.summary["contender"]), set(second.summary["contender"])))
    return tuple(
        Alone(kind, name, run.name)
        for kind, one, other in kinds
        for run, mine in ((first, one - other), (second, other - one))
        for name in sorted(mine)
    )


def _pairs(first: Run, second: Run, workload: str, match: Sequence[Pair]) -> tuple[list[Pair], list[Refusal]]:
    """The pairs of contenders that can be compared in a workload, and why others of both runs cannot."""
    reason = _other_spec(first, second, workload)
    if reason:
        return [], [Refusal(workload, None, reason)]
    in_both = set(first.summary["contender"]) & set(second.summary["contender"])
    named = [str(name) for name in first.summary_of(workload)["contender"]]
    more = [str(name) for name in second.summary_of(workload)["contender"] if name not in named]
    pairs, refused = [], []
    for pair in match or [(name, name) for name in (*named, *more) if name in in_both]:
        unfit = [
            f"{name} in {run.name}: {said}"
            for run, name in zip((first, second), pair, strict=True)
            if (said := _unfit(run, workload, name))
        ]
        if unfit:
            refused.append(Refusal(workload, label(*pair), "; ".join(unfit)))
        else:
            pairs.append(pair)
    return pairs, refused


def _other_spec(first: Run, second: Run, workload: str) -> str | None:
    """Why the two runs' workloads of this name are not one."""
    one, other = (run.meta["workloads"][workload] for run in (first, second))
    prints = [about.get("fingerprint") for about in (one, other)]
    if None in prints:
        return "a run without its fingerprint: whether both computed the same cannot be known"
    if prints[0] == prints[1]:
        return None
    specs = [about.get("spec") or {} for about in (one, other)]
    differing = [name for name in {**specs[0], **specs[1]} if specs[0].get(name) != specs[1].get(name)]
    what = f"another spec ({', '.join(differing)})" if differing else "the same spec on other data"
    return f"{what}: fingerprints {prints[0][:12]} and {prints[1][:12]}"


def _unfit(run: Run, workload: str, contender: str) -> str | None:
    """Why a contender is not ranked in a run, and so not compared."""
    rows = run.summary_of(workload)
    rows = rows[rows["contender"] == contender]
    if rows.empty:
        return "not among those of this workload"
    row = rows.iloc[0]
    return None if pd.notna(row["rank"]) else f"{row['status']}, {row['reason']}"


def _tables(run: Run) -> dict[str, pd.DataFrame]:
    """The observations of each measure, in the column `value`."""
    return {
        "step_seconds": run.processes.assign(value=run.processes["step_seconds"]),
        "peak_mib": memory_passes(run.records).rename(columns={"peak_mib": "value"}),
        "metric": final_scores(run.meta, run.curves),
    }


def _rows(
    tables: list[dict[str, pd.DataFrame]], runs: tuple[Run, Run], workload: str, pair: Pair, margins: Margins
) -> list[dict[str, Any]]:
    """One row a measure, not judged yet."""
    rows: list[dict[str, Any]] = []
    metric = str(runs[0].meta["workloads"][workload].get("metric"))
    for measure, along in MEASURES.items():
        first, second = (
            wide(table[measure], workload, [name], along, "value")[name].dropna()
            for table, name in zip(tables, pair, strict=True)
        )
        if measure == "metric":
            margin = margins.metric * float(pd.concat([first, second]).abs().mean())
        else:
            first, second = first.transform(np.log), second.transform(np.log)
            margin = float(np.log1p(margins.equivalence))
        in_common = first.index.intersection(second.index)
        paired = _one(*runs) or (measure == "metric" and len(in_common) >= 2)
        if paired:
            differences = (second.loc[in_common] - first.loc[in_common]).to_numpy(dtype=float)
            found = compare(differences[:, None], margin).iloc[0].to_dict()
            counts = [len(in_common)] * 2
        else:
            found = dict(compare_samples(first.to_numpy(dtype=float), second.to_numpy(dtype=float), margin))
            counts = [len(first), len(second)]
        names = {"workload": workload, "first": pair[0], "second": pair[1], "measure": measure}
        means = [float(side.mean()) for side in (first, second)]
        if measure != "metric":
            means = [float(np.exp(mean)) for mean in means]
        rows.append(
            {**names, "metric": metric, "paired": paired, "margin": margin, **found}
            | {"first_count": counts[0], "second_count": counts[1]}
            | {"first_value": means[0], "second_value": means[1]}
            | {"why": _why(runs, measure, paired, counts)}
        )
    return rows


def _why(runs: tuple[Run, Run], measure: str, paired: bool, counts: list[int]) -> str | None:
    """What is too few in a comparison."""
    if paired:
        return too_few(counts[0], _PAIRED_NOUNS[measure])
    lacking = [
        f"{count or 'no'} {_NOUNS[measure]} in {run.name}"
        for run, count in zip(runs, counts, strict=True)
        if count < 2
    ]
    return f"{' and '.join(lacking)}, and a spread needs 2" if lacking else None


def _judged(
    rows: list[dict[str, Any]], margins: Margins, failed_controls: Mapping[str, tuple[str, ...]]
) -> pd.DataFrame:
    if not rows:
        return pd.DataFrame(columns=list(_COLUMNS))
    table = pd.DataFrame(rows).astype({"why": object})
    of_metric = table["measure"] == "metric"
    judged = judge(table, of_metric)
    metrics = judged[of_metric].assign(estimate=judged["difference"])
    table = pd.concat([of_ratios(judged[~of_metric], margins.equivalence), metrics]).sort_index()
    table["verdict"] = [
        dict(zip((BELOW, ABOVE), sides(measure, metric), strict=True)).get(found, found)
        for measure, metric, found in zip(table["measure"], table["metric"], table["verdict"], strict=True)
    ]
    for measure, names in failed_controls.items():
        theirs = table["measure"] == measure
        table.loc[theirs, "verdict"] = WITHHELD
        table.loc[theirs, "why"] = f"the control of {' and of '.join(names)} failed"
    return table[list(_COLUMNS)]


@dataclass(frozen=True)
class Rule:
    """A change for the worse that must not be: of a measure (`word` of `RULES`) by more than a `share`."""

    word: str
    share: float

    def __str__(self) -> str:
        """As it is written."""
        return f"{self.word}>{self.share * 100:g}%"


@dataclass(frozen=True)
class Answer:
    """What comparisons say to a rule: those that have `broken` it, and of all others how many rule such a
    change out (`excluded`), and which leave it `open`, each with the reason.
    """

    rule: Rule
    broken: tuple[str, ...]
    excluded: int
    open: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """1 broken, 3 not known of all, 0 kept."""
        if self.broken:
            return 1
        return 3 if self.open or not self.excluded else 0


def answer(found: Between, rule: Rule) -> Answer:
    """Hold the comparisons to a rule.

    One breaks it with a difference that its test claims and an interval that lies beyond the share as a
    whole, also where the share is below the margin of equivalence. It rules such a change out where its
    interval lies within the share as a whole. All else leaves it open: an interval that holds the share
    (whatever the comparison could have told from no change at all), and whatever is in both runs and could
    not be compared. A share of a metric is one of its mean in the first run.
    """
    broken, left_open, excluded = [], [], 0
    for row in found.table[found.table["measure"] == RULES[rule.word]].to_dict("records"):
        name = f"{row['workload']} {label(str(row['first']), str(row['second']))}"
        low, high = _as_shares({str(key): value for key, value in row.items()})
        if row["verdict"] != WITHHELD and row["p_holm"] <= LEVEL and low > rule.share:
            broken.append(name)
        elif row["verdict"] != WITHHELD and high <= rule.share:
            excluded += 1
        else:
            interval = f"its interval goes from {_told(low)} to {_told(high)}"
            left_open.append(f"{name} ({row['why'] or interval})")
    for refusal in found.refused:
        what = " ".join(filter(None, (refusal.workload, refusal.contender))) or "everything"
        left_open.append(f"{what} ({refusal.reason})")
    return Answer(rule, tuple(broken), excluded, tuple(left_open))


def _as_shares(row: dict[str, Any]) -> tuple[float, float]:
    """The ends of the interval as shares of the first's, where a change for the worse is above 0."""
    if row["measure"] != "metric":
        return row["low"] - 1, row["high"] - 1
    mean = abs(row["first_value"]) or float("nan")
    low, high = row["low"] / mean, row["high"] / mean
    return (-high, -low) if sides("metric", row["metric"])[0] == WORSE else (low, high)


def _told(share: float) -> str:
    return f"{share:+.1%}" if share <= 10 else "more than +1,000%"
