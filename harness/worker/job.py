"""A job: everything that one process needs, as one JSON file beside the arrays it names.

    {"schema": 1, "job": "digits-mlp/torch/measure/0", "kind": "verify" | "measure" | "memory",
     "backend": {"name": "torch", "folder": "..."}, "mode": "eager", "device": "cpu", "threads": 2,
     "program": {...}, "batch_size": 32, "metrics": ["accuracy"],
     "data": {"train": {"x": "train_x.npy", ...}, "validation": {...}, "test": {...}},
     "weights": "weights.npz", "order": "order.npy", "proof": "proof",
     "protocol": {...}, "result": "result.json", "variables": {"OMP_NUM_THREADS": "2"},
     "outputs": "outputs.npz", "left": ["output"],
     "generate": {"prompt": 1, "count": 15, "examples": 200} | null, "planted": null}

Paths are absolute. `order` is int32 (epochs, steps, batch); `proof` a folder (see `harness.worker.verify`).
At `outputs`, unless it is null, a job that trains leaves at the end, by name, those outputs for the test
split that `left` names (null: all), and as `generated` the tokens that `generate` asks for. `planted` is a
disturbance of known size, in the jobs of a calibration alone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from harness.spec import codec
from harness.spec.program import Program
from harness.worker.protocol import Setting

SCHEMA = 1


@dataclass(frozen=True)
class Protocol:
    """How long a measurement looks, the same for every contender."""

    warmup_seconds: float = 0.3
    """Steps are run and not counted for at least this long."""
    block_seconds: float = 0.05
    """A timed block has as many steps as fill about this long."""
    train_blocks: int = 20
    evaluate_passes: int = 5
    learn: bool = True
    """Whether to train by the recipe and take the curve and the final metric."""
    curve_points: int = 10
    """Points of the training curve an epoch."""
    latency_batches: tuple[int, ...] = (1, 32)
    """Batch sizes of inference whose latency is taken."""
    latency_seconds: float = 0.5
    """So long are single calls timed, for each batch size and for training, unless 200 are done before."""
    subnormals: Literal["flush", "default"] = "flush"
    """Flushed to zero in every thread, or as each framework leaves them."""
    affinity: Literal["inherit", "pinned"] = "inherit"
    """The cores that the run was given, or as many of them as there are threads."""
    gc: Literal["freeze", "off", "default"] = "freeze"
    """What Python's garbage collector does while a clock runs (`harness.worker.settings.settle`)."""


@dataclass(frozen=True)
class Planted:
    """A disturbance of known size (`harness.worker.planted`)."""

    slowdown: float = 0.0
    """Every training call takes longer by this share of its own time."""
    memory_bytes: int = 0
    """So much memory is held besides, from before the framework is imported until the end."""


@dataclass(frozen=True)
class JobBackend:
    """The backend's name and its folder."""

    name: str
    folder: str


@dataclass(frozen=True)
class Generating:
    """How many tokens to generate, after how many of an example's own, for how many first examples."""

    prompt: int
    count: int
    examples: int


@dataclass(frozen=True)
class Job:
    """See the module's docstring."""

    schema: int
    job: str
    kind: Literal["verify", "measure", "memory"]
    backend: JobBackend
    mode: str
    device: str
    threads: int
    program: Program
    batch_size: int
    metrics: tuple[str, ...]
    data: dict[str, dict[str, str]]
    weights: str
    order: str
    proof: str
    protocol: Protocol
    result: str
    variables: dict[str, str] = field(default_factory=dict)
    """Of the environment: what the process was started with, besides the user's own."""
    outputs: str | None = None
    planted: Planted | None = None
    left: tuple[str, ...] | None = None
    generate: Generating | None = None

    @staticmethod
    def read(path: Path) -> Job:
        """The job in a file. Raises SpecError where it is not one."""
        return codec.decode(Job, json.loads(path.read_text()))

    def setting(self, precision: Literal["float32", "float64"] = "float32") -> Setting:
        """What the backend is told."""
        return Setting(self.mode, precision, self.device, self.threads, self.batch_size)

    def arrays(self, split: str) -> dict[str, np.ndarray]:
        """The arrays of a split, mapped from their files."""
        return {name: np.load(path, mmap_mode="r") for name, path in self.data[split].items()}

    def initial(self) -> dict[str, np.ndarray]:
        """Initial weights by canonical name, float64."""
        with np.load(self.weights, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}

    def epochs(self) -> np.ndarray:
        """The batch order: int32 (epochs, steps, batch)."""
        order: np.ndarray = np.load(self.order)
        return order


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a file that is there whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w") as file:
        json.dump(data, file, allow_nan=False)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
