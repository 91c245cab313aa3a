"""A workload of a suite as a spec, and its data, weights, batch order and proof as files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.data import catalogue
from harness.data.data_set import DataSet, array_shapes
from harness.data.order import batch_order
from harness.data.prepared import Prepared, prepare
from harness.data.tokens import PAD
from harness.errors import UsageError, unknown
from harness.plan.architectures import Given, build_models
from harness.plan.proof_files import Due, save_arrays
from harness.plan.suite import SuiteFile, WorkloadTable
from harness.plan.tasks import TASKS, Training
from harness.spec.codec import SpecError
from harness.spec.derivations import with_derived
from harness.spec.layers.sequence import Embedding
from harness.spec.metrics import METRICS
from harness.spec.model import Model, sequential
from harness.spec.spec import Recipe, Spec


@dataclass(frozen=True)
class Workload:
    """One spec at one size, with its target, on a data set."""

    name: str
    title: str
    target: float | None
    spec: Spec
    data_set: DataSet
    train_examples: int
    proof_batch: int | None = None

    @property
    def test_examples(self) -> int:
        """Examples of the test split."""
        return self.data_set.test_examples

    @property
    def batch_size(self) -> int:
        """Examples in a training batch; the whole training set for a full batch."""
        return self.spec.recipe.batch_size or self.train_examples

    @property
    def proof_batch_size(self) -> int:
        """Examples in a batch of the proof."""
        return self.proof_batch or self.batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in an epoch."""
        return self.train_examples // self.batch_size

    def token_arrays(self) -> list[str]:
        """The arrays of a batch that a training step reads as the data's tokens: those that a model embeds
        by a table with a row for each of them.
        """
        program = self.spec.program
        read = set()
        for call in (call for update in program.updates for call in update.calls):
            model = program.models[call.model]
            embedded = {
                node.inputs[0]
                for node in model.nodes
                if isinstance(node.layer, Embedding) and node.layer.tokens >= self.data_set.tokens > 0
            }
            read |= {array for name, array in zip(model.inputs, call.inputs, strict=True) if name in embedded}
        return sorted(read & set(program.arrays))

    def tokens_per_sample(self, data: Prepared) -> float | None:
        """How many tokens a training example has on average, padding left out; None where it has none."""
        names = self.token_arrays()
        if not names:
            return None
        arrays = data.arrays()
        return sum(np.count_nonzero(arrays[f"train_{name}"] != PAD) for name in names) / self.train_examples


def workloads(suite: SuiteFile, names: list[str] | None = None) -> list[Workload]:
    """The workloads of a suite, all or the named ones; `mlp` stands for its variants too, and
    `mlp.activation` for all levels of that sweep. No data is touched but the user's own, for shapes.

    Raises UsageError: an unknown name, or a mistake in the suite with its line and field.
    """
    known = {table.name: index for index, table in enumerate(suite.suite.workload)}
    chosen: dict[int, None] = {}
    levels = {f"{sweep.workload}.{sweep.factor}": set(sweep.levels.values()) for sweep in suite.sweeps}
    for name in names or known:
        wanted = levels.get(name, set())
        found = [
            index
            for full, index in known.items()
            if full == name or full.startswith(f"{name}.") or full in wanted
        ]
        if not found:
            raise unknown("workload", name, known)
        chosen.update(dict.fromkeys(found))
    return [_workload(suite, index) for index in chosen]


def _workload(suite: SuiteFile, index: int) -> Workload:
    table = suite.suite.workload[index]
    try:
        return _build(table, suite.path.parent)
    except SpecError as error:
        raise suite.mistake(error.under("workload", index)) from None


def _build(table: WorkloadTable, beside: Path) -> Workload:
    try:
        data_set = catalogue.of(table.data, beside)
    except UsageError as error:
        raise SpecError(str(error), ("data", "name")) from None
    if table.task not in TASKS:
        raise SpecError(str(unknown("task", table.task, TASKS)), ("task",))
    try:
        shapes = with_derived(array_shapes(data_set), table.data.derive)
    except SpecError as error:
        raise error.under("data") from None
    models = _models(table, beside, Given(shapes, data_set.outputs, data_set.tokens))
    for model in models.values():
        if "x" in model.inputs and (model.inputs["x"].dtype == "int") != (data_set.tokens > 0):
            made_of = "tokens" if data_set.tokens else "numbers"
            raise SpecError(f"takes no x of {made_of}, which {data_set.name} has", ("architecture",))
    training = Training(table.optimizer, table.loss, table.penalties, table.clip_norm)
    try:
        program = TASKS[table.task].program(models, shapes, training)
    except SpecError as error:
        raise SpecError(f"model, loss and data do not fit: {error.message}", ("name",)) from None
    batch_size = None if table.recipe.batch_size == "full" else table.recipe.batch_size
    _, examples = data_set.held(table.data.held_out, data_set.train_examples)
    if batch_size is not None and batch_size > examples:
        raise SpecError(f"is larger than the training set of {examples} examples", ("recipe", "batch_size"))
    try:
        recipe = Recipe(batch_size, table.recipe.epochs)
    except SpecError as error:
        raise error.under("recipe") from None
    spec = Spec(program, table.data, recipe, table.metrics)
    for index, name in enumerate(table.metrics):
        try:
            METRICS[name].check(shapes)
        except ValueError as error:
            raise SpecError(str(error), ("metrics", index)) from None
    return Workload(
        table.name,
        table.title or table.name,
        table.target,
        spec,
        data_set,
        examples,
        table.proof_batch,
    )


def _models(table: WorkloadTable, beside: Path, data: Given) -> dict[str, Model]:
    if table.architecture is not None:
        return build_models(table.architecture, beside, data, table.model)
    try:
        return {"model": sequential(data.shape, *table.layers, dtype="int" if data.tokens else "float")}
    except SpecError as error:
        # sequential's nodes are the suite's layers, one for one.
        raise SpecError(error.message, ("layers", *error.path[1:2])) from None


@dataclass(frozen=True)
class Inputs:
    """The files that every contender of a workload reads."""

    folder: Path
    data: Prepared

    def weights(self, seed: int) -> Path:
        """Initial weights of a replicate: .npz by canonical name."""
        return self.folder / f"weights-{seed}.npz"

    def order(self, seed: int) -> Path:
        """Batch order of a replicate: int32 (epochs, steps, batch)."""
        return self.folder / f"order-{seed}.npy"

    @property
    def proof(self) -> Path:
        """The folder of the proof."""
        return self.folder / "proof"

    def files(self) -> dict[str, dict[str, str]]:
        """The arrays of each split by name: paths."""
        found: dict[str, dict[str, str]] = {}
        for full_name in self.data.meta["arrays"]:
            split, _, name = full_name.partition("_")
            found.setdefault(split, {})[name] = str(self.data.path(full_name))
        return found


def load_data(
    workload: Workload, data_dir: Path | None, progress: Callable[..., None] | None = None
) -> Prepared:
    """The workload's data, prepared; downloaded first where need be."""
    data = workload.spec.data
    return prepare(
        workload.data_set,
        held_out=data.held_out,
        seed=data.seed,
        scale=data.scale,
        derive=data.derive,
        data_dir=data_dir,
        progress=progress,
    )


def write_inputs(workload: Workload, data: Prepared, folder: Path, seeds: list[int]) -> Inputs:
    """Draw weights and batch orders for each seed.

    What an earlier, interrupted call left is kept: the same spec and seed give the same files.
    """
    inputs = Inputs(folder, data)
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        if not inputs.order(seed).exists():
            recipe = workload.spec.recipe
            order = batch_order(workload.train_examples, recipe.batch_size, recipe.epochs, seed)
            save_arrays(inputs.weights(seed), workload.spec.program.initial(seed))
            _save_whole(inputs.order(seed), order)
    return inputs


def proof_due(workload: Workload, inputs: Inputs, seed: int) -> Due:
    """The reference's side of the workload's proof, at the initial weights of a replicate."""
    program = workload.spec.program
    arrays = {name: inputs.data.path(f"train_{name}") for name in program.arrays}
    return Due(inputs.proof, program, inputs.weights(seed), arrays, workload.proof_batch_size)


def _save_whole(path: Path, array: np.ndarray) -> None:
    partial = path.with_name(f"{path.stem}.partial.npy")
    np.save(partial, array)
    partial.replace(path)
