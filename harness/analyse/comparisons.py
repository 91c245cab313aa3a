"""What is found of each pair of a workload's ranked contenders: step time, inference, memory and metric."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from harness.analyse.contrasts import ABOVE, BELOW, EQUIVALENT, INCONCLUSIVE, against, among
from harness.plan.suite import ProtocolTable
from harness.spec.metrics import METRICS

if TYPE_CHECKING:
    from harness.analyse.control import Control

INFERENCE = "evaluate_samples_per_second"
WITHHELD = "withheld"
FASTER, SLOWER = "faster", "slower"
LESS, MORE = "less", "more"
BETTER, WORSE = "better", "worse"
COLUMNS = (
    *("workload", "measure", "first", "second", "pairs", "estimate", "low", "high"),
    *("margin", "detectable", "verdict", "why"),
    *("difference", "deviation", "p", "p_holm", "p_equivalent", "p_equivalent_holm"),
    *("rank_p", "rank_p_least"),
)
_CONTROLLED = {"step_seconds": ("step_seconds", INFERENCE), "peak_mib": ("peak_mib",)}
"""The measures whose verdicts rest on what a control compares: inference is timed by the same clock."""
LOWER_IS_BETTER = {"loss", *(name for name, metric in METRICS.items() if not metric.higher_is_better)}


@dataclass(frozen=True)
class Margins:
    """Differences too small to matter: of step time, inference and memory as a share; of the metric as a
    share of its mean over contenders.
    """

    equivalence: float
    metric: float

    @classmethod
    def of_run(cls, meta: dict[str, Any]) -> Margins:
        """As the run's protocol says, or today's defaults for a run that was made before there were any."""
        protocol = meta.get("protocol") or {}
        return cls(
            float(protocol.get("equivalence_margin", ProtocolTable.equivalence_margin)),
            float(protocol.get("metric_margin", ProtocolTable.metric_margin)),
        )


def comparisons(
    table: pd.DataFrame,
    measured: pd.DataFrame,
    passes: pd.DataFrame,
    scores: pd.DataFrame,
    margins: Margins,
    control: Control | None,
) -> pd.DataFrame:
    """What was found of each pair of ranked contenders; one row a workload, measure and pair.

    `measure` is step_seconds (all pairs, by block), evaluate_samples_per_second (by block), peak_mib (by
    memory pass) or metric (by seed), the latter three against the first-ranked contender alone. `estimate`
    with its interval (`low`, `high`) is the second's over the first's, of a metric the second's less the
    first's; `margin` and `detectable` are in the same terms, as a share or as an amount. `verdict` is about
    the second (of a metric, equivalence comes before a difference, however sure), and `why` says what it
    lacks where it could not be tested; it is withheld where the `control` fails, of step time and inference
    by the twins' step times, of memory by their memory. The other columns are those of
    `harness.analyse.contrasts`.
    """
    found = []
    for workload, rows in in_order(table):
        order = list(rows["contender"])
        times = _times(wide(measured, workload, order, "block", "step_seconds"), margins.equivalence)
        rates = _rates(wide(measured, workload, order, "block", INFERENCE), margins.equivalence)
        memory = _memory(wide(passes, workload, order, "pass", "peak_mib"), margins.equivalence)
        metric = _metric(
            wide(scores, workload, order, "seed", "value"), margins.metric, rows["metric"].iloc[0]
        )
        found += [each.assign(workload=workload) for each in (times, rates, memory, metric)]
    if not found:
        return pd.DataFrame(columns=list(COLUMNS))
    every = pd.concat(found, ignore_index=True)[list(COLUMNS)]
    if control is not None:
        failing = [each for measure in control.withheld for each in _CONTROLLED[measure]]
        every["verdict"] = every["verdict"].mask(every["measure"].isin(failing), WITHHELD)
    return every


def _times(seconds: pd.DataFrame, margin: float) -> pd.DataFrame:
    pairs = among(seconds.transform(np.log), float(np.log1p(margin)))
    return _worded(of_ratios(pairs, margin), "step_seconds", sides("step_seconds"), "block")


def _rates(samples_per_second: pd.DataFrame, margin: float) -> pd.DataFrame:
    logarithms = samples_per_second.transform(np.log)
    pairs = against(logarithms, logarithms.columns[0], float(np.log1p(margin)))
    return _worded(of_ratios(pairs, margin), INFERENCE, sides(INFERENCE), "block")


def _memory(peaks: pd.DataFrame, margin: float) -> pd.DataFrame:
    pairs = against(peaks.transform(np.log), peaks.columns[0], float(np.log1p(margin)))
    return _worded(of_ratios(pairs, margin), "peak_mib", sides("peak_mib"), "memory pass")


def _metric(scores: pd.DataFrame, share: float, name: str) -> pd.DataFrame:
    margin = share * float(scores.abs().stack().mean()) if scores.notna().any(axis=None) else float("nan")
    pairs = against(scores, scores.columns[0], margin, of_metric=True)
    pairs = pairs.assign(estimate=pairs["difference"], margin=margin)
    return _worded(pairs, "metric", sides("metric", name), "seed")


def sides(measure: str, metric: str | None = None) -> tuple[str, str]:
    """What is said of a second that is below the first in a measure, and of one that is above."""
    if measure == "metric":
        return (BETTER, WORSE) if metric in LOWER_IS_BETTER else (WORSE, BETTER)
    words = {"step_seconds": (FASTER, SLOWER), INFERENCE: (SLOWER, FASTER), "peak_mib": (LESS, MORE)}
    return words[measure]


def in_order(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The ranked rows of each workload, the fastest first."""
    rows = table[table["rank"].notna()].sort_values(["rank", "contender"])
    for workload, mine in rows.groupby("workload", sort=False):
        yield str(workload), mine


def wide(values: pd.DataFrame, workload: str, order: list[str], along: str, name: str) -> pd.DataFrame:
    """Observations by what pairs them (rows) and contender (columns in this order)."""
    mine = values[values["workload"] == workload]
    found = mine.pivot_table(index=along, columns="contender", values=name, aggfunc="mean")
    return found.reindex(columns=order).astype(float)


def of_ratios(logarithms: pd.DataFrame, margin: float) -> pd.DataFrame:
    """Differences of logarithms as ratios."""
    ratios = {"estimate": np.exp(logarithms["difference"])}
    ratios |= {end: np.exp(logarithms[end]) for end in ("low", "high")}
    with np.errstate(over="ignore"):
        detectable = np.expm1(logarithms["detectable"])
    return logarithms.assign(**ratios, detectable=detectable, margin=margin)


def _worded(pairs: pd.DataFrame, measure: str, said: tuple[str, str], paired_by: str) -> pd.DataFrame:
    words = {BELOW: said[0], ABOVE: said[1], EQUIVALENT: EQUIVALENT, INCONCLUSIVE: INCONCLUSIVE}
    why = pairs["pairs"].map(lambda count: too_few(int(count), paired_by)).astype(object)
    return pairs.assign(measure=measure, verdict=pairs["verdict"].map(words), why=why)


def too_few(pairs: int, paired_by: str) -> str | None:
    """Why a comparison of so many pairs tells nothing."""
    if pairs >= 2:
        return None
    return f"{pairs or 'no'} {paired_by} in common, and a spread needs 2"
