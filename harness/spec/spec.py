"""The whole spec of a workload: program, data, recipe and metrics, with its fingerprint."""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.errors import unknown
from harness.spec import codec
from harness.spec.data import Data
from harness.spec.layers.base import check_positive
from harness.spec.metrics import METRICS
from harness.spec.program import Program


@dataclass(frozen=True)
class Recipe:
    """How long and in what bites: examples a batch (None: the whole training set) and epochs."""

    batch_size: int | None
    epochs: int

    def __post_init__(self) -> None:
        check_positive(epochs=self.epochs)
        if self.batch_size is not None:
            check_positive(batch_size=self.batch_size)


@dataclass(frozen=True)
class Spec:
    """What every contender must compute. Equal fingerprints, and only those, may be compared."""

    program: Program
    data: Data
    recipe: Recipe
    metrics: tuple[str, ...]

    def __post_init__(self) -> None:
        for index, name in enumerate(self.metrics):
            if name not in METRICS:
                raise codec.SpecError(str(unknown("metric", name, METRICS)), ("metrics", index))

    def fingerprint(self, data_fingerprint: str) -> str:
        """SHA-256 (hex) of the canonical JSON together with the data's own checksum.

        Initial weights and batch order follow from the spec and a replicate's seed, by NumPy's PCG64.
        """
        return codec.fingerprint(replace(self, data=self.data.without_place()), data_fingerprint)
