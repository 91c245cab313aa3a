"""A suite file: which workloads, which contenders, and how to measure them.

The form of the file is the dataclasses here; `suites/README.md` shows it by example.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness import paths
from harness.errors import UsageError, unknown
from harness.plan.lines import line_of
from harness.plan.variants import AS_WRITTEN, Origin, Sweep, expand
from harness.spec import codec
from harness.spec.codec import SpecError
from harness.spec.data import Data
from harness.spec.layers.base import Layer, check_positive
from harness.spec.losses import Loss
from harness.spec.optimizers import Optimizer
from harness.spec.penalties import Penalty


@dataclass(frozen=True)
class RecipeTable:
    """`[workload.recipe]`: examples a batch (or "full": the whole training set), and epochs."""

    batch_size: int | Literal["full"]
    epochs: int


@dataclass(frozen=True)
class WorkloadTable:
    """`[[workload]]`: a model (an architecture's name with its arguments, or a chain of layers); the data;
    the training; what to judge by. `target` is the first metric's goal, the mean over seeds. `proof_batch`
    is the proof's batch size where the training's would take NumPy too long.
    """

    name: str
    data: Data
    optimizer: Optimizer
    recipe: RecipeTable
    metrics: tuple[str, ...]
    title: str = ""
    task: str = "classify"
    architecture: str | None = None
    model: dict[str, Any] = field(default_factory=dict)
    layers: tuple[Layer, ...] = ()
    loss: Loss | None = None
    clip_norm: float | None = None
    penalties: tuple[Penalty, ...] = ()
    target: float | None = None
    proof_batch: int | None = None

    def __post_init__(self) -> None:
        if self.proof_batch is not None:
            check_positive(proof_batch=self.proof_batch)
        if not self.metrics:
            raise SpecError("needs at least one metric", ("metrics",))
        if (self.architecture is None) == (not self.layers):
            raise SpecError("needs either an architecture or layers, not both and not neither", ("name",))
        if self.model and self.architecture is None:
            raise SpecError("arguments are for an architecture, and none is named", ("model",))
        if not self.name or not set(self.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-."):
            raise SpecError("is made of small letters, digits, '-' and '.'", ("name",))


@dataclass(frozen=True)
class ProtocolTable:
    """`[protocol]`: blocks of fresh processes; how many of them also train by the recipe, each from a seed of
    its own; how long a process looks; how many more processes tell each contender's memory; and which
    differences are too small to matter, as a share of step time or memory, and of the metric's mean.
    `control` is the contender that enters twice, "first" the first one of the run, or "none". A job that was
    disturbed is run again `repeats` times at most (`harness.hazards`). `subnormals`, `affinity` and `gc` are
    the same for all (`harness.worker.settings`), as are `variables` of the environment, except where a mode
    has one of its own.
    """

    blocks: int = 3
    seeds: int = 1
    warmup_seconds: float = 0.3
    block_seconds: float = 0.05
    train_blocks: int = 20
    memory_passes: int = 3
    evaluate_passes: int = 5
    curve_points: int = 10
    latency_batches: tuple[int, ...] = (1, 32)
    latency_seconds: float = 0.5
    ceilings: bool = True
    subnormals: Literal["flush", "default"] = "flush"
    affinity: Literal["inherit", "pinned"] = "inherit"
    gc: Literal["freeze", "off", "default"] = "freeze"
    variables: dict[str, str] = field(default_factory=dict)
    control: str = "first"
    repeats: int = 2
    time_limit_seconds: float = 600.0
    equivalence_margin: float = 0.05
    metric_margin: float = 0.01

    def __post_init__(self) -> None:
        check_positive(
            blocks=self.blocks,
            seeds=self.seeds,
            block_seconds=self.block_seconds,
            train_blocks=self.train_blocks,
            memory_passes=self.memory_passes,
            evaluate_passes=self.evaluate_passes,
            curve_points=self.curve_points,
            latency_seconds=self.latency_seconds,
            time_limit_seconds=self.time_limit_seconds,
            equivalence_margin=self.equivalence_margin,
            metric_margin=self.metric_margin,
        )
        for index, batch in enumerate(self.latency_batches):
            if batch < 1:
                raise SpecError(f"must be positive, got {batch}", ("latency_batches", index))
        if self.seeds > self.blocks:
            raise SpecError(
                f"cannot be more than blocks ({self.blocks}): a seed is trained in a block of its own",
                ("seeds",),
            )


@dataclass(frozen=True)
class Suite:
    """A suite file as it is written."""

    title: str
    contenders: tuple[str, ...]
    workload: tuple[WorkloadTable, ...]
    protocol: ProtocolTable = field(default_factory=ProtocolTable)

    def __post_init__(self) -> None:
        names = [workload.name for workload in self.workload]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise SpecError(f"the name {name!r} is taken", ("workload", index, "name"))
        if not self.workload:
            raise SpecError("a suite needs at least one [[workload]]", ("workload",))
        if not self.contenders:
            raise SpecError("a suite needs at least one contender", ("contenders",))


@dataclass(frozen=True)
class SuiteFile:
    """A suite at a size, with the text it was read from, so that a mistake can be shown in its line."""

    name: str
    path: Path
    text: str
    size: str
    suite: Suite
    origins: tuple[Origin, ...]
    sweeps: tuple[Sweep, ...]

    def mistake(self, error: SpecError) -> UsageError:
        """The error with its file and line."""
        return _located(self.path, self.text, self.origins, error)


def suite_folder() -> Path:
    """Where the suites of the checkout are."""
    return paths.root() / "suites"


def suite_names() -> list[str]:
    """The names of the suites of the checkout."""
    return sorted(path.stem for path in suite_folder().glob("*.toml"))


def find_suite(name: str) -> Path:
    """The file of a suite, by its name or by a path. Raises UsageError with the nearest right name."""
    if name.endswith(".toml") or "/" in name:
        path = Path(name)
        if not path.is_file():
            raise UsageError(f"there is no suite file {name}")
        return path
    if name not in suite_names():
        raise unknown("suite", name, suite_names())
    return suite_folder() / f"{name}.toml"


def read_suite(path: Path, size: str = AS_WRITTEN) -> SuiteFile:
    """Read a suite file. Raises UsageError with file, line and field where it has a mistake."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}") from None
    return parse_suite(path.stem, path, text, size)


def parse_suite(name: str, path: Path, text: str, size: str = AS_WRITTEN) -> SuiteFile:
    """A suite from its text; `path` is for messages and for the architectures beside it."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}") from None
    origins: tuple[Origin, ...] = ()
    try:
        expanded = expand(data, size)
        origins = expanded.origins
        suite = codec.decode(Suite, expanded.data)
    except SpecError as error:
        raise _located(path, text, origins, error) from None
    return SuiteFile(name, path, text, size, suite, origins, expanded.sweeps)


def _located(path: Path, text: str, origins: tuple[Origin, ...], error: SpecError) -> UsageError:
    """A mistake with the line and the field it is in; of a variant's field, where that stands in the file."""
    place = error.path
    match place:
        case ("workload", int(index), *field) if index < len(origins):
            place = origins[index].place(tomllib.loads(text), tuple(field))
    line = line_of(text, place)
    where = f"{path}:{line}" if line else str(path)
    return UsageError(f"{where}: {SpecError(error.message, place)}")
