"""Metrics that need more than NumPy, and pictures: made by the harness from the test outputs of a worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import isfinite
from pathlib import Path

from harness.score.case import Case, ScoreError
from harness.score.detection import map50
from harness.score.generation import frechet_distance
from harness.score.pictures import kind_of, make
from harness.score.reduction import mse_over_pca
from harness.score.texts import bleu, generating
from harness.spec.metrics import METRICS
from harness.spec.spec import Spec

__all__ = ["SCORES", "generating", "keep", "outputs_wanted", "scores", "wanted"]

SCORES: dict[str, Callable[[Case], float]] = {
    "map50": map50,
    "frechet_distance": frechet_distance,
    "mse_over_pca": mse_over_pca,
    "bleu": bleu,
}
"""By the names that `METRICS` gives to what is not computed there."""


def wanted(spec: Spec) -> bool:
    """Whether something of the test split is to be scored or shown."""
    return any(name in SCORES for name in spec.metrics) or kind_of(spec) is not None


def outputs_wanted(spec: Spec) -> tuple[str, ...]:
    """The program's outputs that a worker is to leave: none where only generated tokens are looked at."""
    scored = any(name in SCORES and name != "bleu" for name in spec.metrics)
    return spec.program.outputs if scored or kind_of(spec) not in (None, "texts") else ()


def scores(case: Case) -> dict[str, float]:
    """Those of the spec's metrics that a worker leaves to the harness.

    Raises ScoreError, whatever goes wrong: a record says it.
    """
    found = {}
    for name in case.spec.metrics:
        if name not in SCORES:
            continue
        with _named(name):
            METRICS[name].check(case.test)
            found[name] = SCORES[name](case)
            if not isfinite(found[name]):
                raise ScoreError(f"the score is {found[name]}")
    return found


def keep(case: Case, path: Path, seed: int) -> None:
    """Keep what there is to see of the case, if anything, in the file `path`. Raises ScoreError."""
    kind = kind_of(case.spec)
    if kind is not None:
        with _named("pictures"):
            make(case, kind, seed).write(path)


@contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        reason = str(error) if isinstance(error, ScoreError) else f"{type(error).__name__}: {error}"
        raise ScoreError(f"{what}: {reason}") from error
