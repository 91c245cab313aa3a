"""The reference's side of a proof, computed once for a workload and left as files for every contender."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.spec import proof
from harness.spec.program import Program
from harness.worker.job import write_json

LAST = "tolerances.json"
"""The file that is written last: where it is, the others are."""


@dataclass(frozen=True)
class Due:
    """A reference to be written into `folder`, from the files of the initial weights and of the arrays that
    the batches are taken from.
    """

    folder: Path
    program: Program
    weights: Path
    arrays: Mapping[str, Path]
    batch_size: int

    @property
    def written(self) -> bool:
        """Whether an earlier call has written it."""
        return (self.folder / LAST).exists()

    def write(self) -> None:
        """Compute and write it."""
        arrays = {
            name: np.load(path, mmap_mode="r", allow_pickle=False) for name, path in self.arrays.items()
        }
        with np.load(self.weights, allow_pickle=False) as initial:
            write_proof(self.folder, self.program, dict(initial), arrays, self.batch_size)


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Arrays by name as one .npz file, which is there whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    partial.replace(path)


def write_proof(
    folder: Path,
    program: Program,
    initial: Mapping[str, np.ndarray],
    arrays: Mapping[str, np.ndarray],
    batch_size: int,
) -> None:
    """Write `batches.npz`, `reference.npz` and `tolerances.json` (see `harness.worker.verify`).

    The batches are the first examples of `arrays` in their own order, from the start again where they end.
    """
    folder.mkdir(parents=True, exist_ok=True)
    needed = proof.STEPS * batch_size
    available = len(next(iter(arrays.values())))
    used = {name: np.asarray(array[: min(needed, available)]) for name, array in arrays.items()}
    order = (np.arange(needed, dtype=np.int32) % min(needed, available)).reshape(proof.STEPS, batch_size)
    batches = proof.Batches(used, order)
    reference = proof.reference_evidence(program, initial, batches)
    allowed: dict[str, dict[str, float]] = {"scale": proof.scales(reference, initial)}
    for precision in ("float64", "float32"):
        allowed[precision] = proof.tolerances(program, initial, batches, reference, precision)
    allowed["float64 coarse"] = proof.tolerances(
        program, initial, batches, reference, "float64", coarse_numbers=True
    )
    save_arrays(folder / "batches.npz", {"order": order, **used})
    save_arrays(folder / "reference.npz", reference)
    write_json(folder / LAST, allowed)
