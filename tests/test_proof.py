"""The proof accepts the reference itself, tells errors as it says, and catches every planted fault."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import pytest

from harness.spec import proof
from harness.spec.layers import (
    GELU,
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MultiHeadAttention,
    Pass,
    ReLU,
    Shape,
    Softmax,
    Tanh,
    spatial,
)
from harness.spec.losses import CrossEntropy
from harness.spec.model import Model, Node, sequential
from harness.spec.optimizers import SGD, Adam, Optimizer
from harness.spec.penalties import L2
from harness.spec.program import Call, Program, Term, Update
from harness.spec.proof import Batches, Check, Precision
from harness.spec.reference import Batch, Reference, Tensors
from harness.spec.tape import Array, transpose
from harness.worker.verify import verdict
from tests.differences import Values, generator

IMAGE, CLASSES, BATCH = (9, 8, 2), 4, 16
PRECISIONS: tuple[Precision, ...] = ("float64", "float32")

LAYERS: tuple[Layer, ...] = (
    Conv2D(4, (3, 3), (2, 2), "same", bias=False),
    BatchNorm(),
    ReLU(),
    AvgPool2D((3, 3), (2, 2), "same"),
    Flatten(),
    Dropout(0.3),
    Dense(6),
    Tanh(),
    Dense(6),
    Tanh(),
    Dense(CLASSES),
)


def program(
    *layers: Layer, optimizer: Optimizer, penalties: tuple[L2, ...] = (L2(1e-3),), shape: Shape = IMAGE
) -> Program:
    call = Call("output", "model", ("x",))
    term = Term(CrossEntropy(), ("output", "y"))
    update = Update("train", (call,), (term,), ("model",), optimizer, penalties)
    model = sequential(shape, *layers)
    return Program({"x": shape, "y": ()}, {"model": model}, (update,), (call,), ("output",))


ADAM = program(*LAYERS, optimizer=Adam(1e-2, weight_decay=1e-2))
MOMENTUM = program(*LAYERS, optimizer=SGD(5e-2, 0.9))
PROGRAMS = {"adam": ADAM, "momentum": MOMENTUM}
INITIAL = ADAM.initial(0)


def batches() -> Batches:
    count = proof.STEPS * BATCH
    random = generator(0)
    x = random.normal(0.5, 1.0, size=(count, *IMAGE)).astype(np.float32)
    y = random.integers(0, CLASSES, size=count).astype(np.int32)
    return Batches({"x": x, "y": y}, np.arange(count, dtype=np.int32).reshape(proof.STEPS, BATCH))


BATCHES = batches()


@dataclass(frozen=True)
class Proof:
    """A program's reference evidence, with the scale and the tolerances that follow from it."""

    reference: Tensors
    scale: dict[str, float]
    allowed: dict[Precision, dict[str, float]]

    def failures(self, evidence: Tensors, precision: Precision) -> list[Check]:
        checks = proof.compare(evidence, self.reference, self.scale, self.allowed[precision])
        return [check for check in checks if not check.passed]


def prepared(given: Program, initial: Tensors = INITIAL, batches: Batches = BATCHES) -> Proof:
    reference = proof.reference_evidence(given, initial, batches)
    allowed = {
        precision: proof.tolerances(given, initial, batches, reference, precision) for precision in PRECISIONS
    }
    return Proof(reference, proof.scales(reference, initial), allowed)


@pytest.fixture(scope="module")
def proofs() -> dict[str, Proof]:
    return {name: prepared(given) for name, given in PROGRAMS.items()}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("optimizer", ["adam", "momentum"])
def test_the_reference_passes_its_own_proof(
    proofs: dict[str, Proof], optimizer: str, precision: Precision
) -> None:
    evidence = proof.reference_evidence(PROGRAMS[optimizer], INITIAL, BATCHES, precision)
    assert proofs[optimizer].failures(evidence, precision) == []


def test_the_evidence_has_every_tensor_before_and_after_the_steps(proofs: dict[str, Proof]) -> None:
    tensors = set(ADAM.parameters())
    trained = {name for name in tensors if "running" not in name}
    assert set(proofs["adam"].reference) == {
        "output/output",
        "loss/train",
        *(f"gradient/{name}" for name in trained),
        "loss/after steps",
        *(f"parameter/{name}" for name in tensors),
        "output after steps/output",
    }


def test_float64_tolerances_are_near_1e_10(proofs: dict[str, Proof]) -> None:
    for each in proofs.values():
        assert {1e-10} == set(each.allowed["float64"].values())


def test_float32_tolerances_follow_from_rounding(proofs: dict[str, Proof]) -> None:
    for each in proofs.values():
        allowed = each.allowed["float32"]
        assert all(proof.FLOOR["float32"] <= value < 1e-3 for value in allowed.values())
        assert allowed["loss/train"] < 1e-5
        assert np.median(list(allowed.values())) < 1e-4


def test_no_tensor_is_held_to_less_than_the_median_of_its_kind(proofs: dict[str, Proof]) -> None:
    for each in proofs.values():
        kinds: dict[str, list[str]] = {}
        for name in each.allowed["float32"]:
            kinds.setdefault(name.split("/")[0], []).append(name)
        for names in kinds.values():
            allowed = [each.allowed["float32"][name] for name in names]
            rounding = proof.FLOOR["float32"] * max(each.scale[name] for name in names)
            least = [max(min(allowed), rounding / each.scale[name]) for name in names]
            at_least = [value == pytest.approx(low) for value, low in zip(allowed, least, strict=True)]
            assert sum(at_least) >= len(names) / 2


def test_tolerances_grow_where_numbers_are_coarse_to_a_unit_of_float32_where_none_enter(
    proofs: dict[str, Proof],
) -> None:
    exact = proofs["adam"]
    coarse = proof.tolerances(ADAM, INITIAL, BATCHES, exact.reference, "float64", coarse_numbers=True)
    assert all(coarse[name] >= tolerance for name, tolerance in exact.allowed["float64"].items())
    assert 1e-7 < coarse["parameter/model/dense1/kernel"] < 1e-3
    assert proof.COARSE_FLOOR <= coarse["output/output"] < 10 * proof.COARSE_FLOOR


def test_what_steps_make_of_a_constant_that_a_kernel_rounds_is_allowed_where_numbers_are_coarse() -> None:
    # GELU is flat somewhere: a gradient is next to nothing there, and Adam makes a full step of it.
    layers = (Flatten(), Dense(6), GELU(), Dense(6), GELU(), Dense(CLASSES))
    smooth = program(*layers, optimizer=Adam(1e-2), penalties=())
    initial = smooth.initial(0)
    exact = prepared(smooth, initial)
    coarse = proof.tolerances(smooth, initial, BATCHES, exact.reference, "float64", coarse_numbers=True)
    rounded = {name: value * (1 + 2.0**-24) for name, value in initial.items()}
    evidence = proof.reference_evidence(smooth, rounded, BATCHES)
    checks = proof.compare(evidence, exact.reference, exact.scale, coarse)
    assert [check for check in checks if not check.passed] == []


def test_a_tensor_that_a_precision_cannot_decide_is_told_by_its_tolerance() -> None:
    # The gradient of a bias before batch normalization is zero but for rounding; Adam makes full steps of it.
    biased = program(Conv2D(4, (3, 3), (2, 2), "same"), *LAYERS[1:], optimizer=Adam(1e-2))
    initial = biased.initial(0)
    reference = proof.reference_evidence(biased, initial, BATCHES)
    allowed = proof.tolerances(biased, initial, BATCHES, reference, "float32")
    undecided = {name for name, tolerance in allowed.items() if tolerance > 1}
    assert undecided == {"gradient/model/conv2d1/bias", "parameter/model/conv2d1/bias"}


def test_what_is_zero_in_the_reference_may_be_rounding_in_a_framework() -> None:
    # A step that sees itself alone attends to itself, whatever the queries.
    layers = (MultiHeadAttention(1, causal=True), Flatten(), Dense(CLASSES))
    alone = program(*layers, optimizer=SGD(1e-2), penalties=(), shape=(1, 4))
    x = np.random.default_rng(0).normal(size=(proof.STEPS * BATCH, 1, 4)).astype(np.float32)
    found = prepared(alone, alone.initial(0), replace(BATCHES, arrays={**BATCHES.arrays, "x": x}))
    (name,) = [each for each in found.reference if each.startswith("gradient") and "query_kernel" in each]
    assert not found.reference[name].any()
    largest = max(found.scale[each] for each in found.scale if each.startswith("gradient"))
    for units, failing in ((2, 0), (20, 1)):
        rounding = np.full_like(found.reference[name], units * 2.0**-23 * largest)
        assert len(found.failures({**found.reference, name: rounding}, "float32")) == failing


def test_a_number_so_near_a_kink_that_rounding_decides_may_fall_on_either_side() -> None:
    unit, near = 2.0**-23, BATCH // 2
    kinked = program(
        *(Dense(1, bias=False), ReLU(), Dense(CLASSES)), optimizer=SGD(1e-2), penalties=(), shape=(2,)
    )
    initial = {**kinked.initial(0), "model/dense1/kernel": np.array([[1.0], [-1 - 5 * unit]])}
    x = np.random.default_rng(0).normal(size=(proof.STEPS * BATCH, 2)).astype(np.float32)
    y = BATCHES.arrays["y"].copy()
    x[:near], y[:near] = 1.0, 0
    batches = replace(BATCHES, arrays={"x": x, "y": y})
    other = {"x": x.copy(), "y": y}
    other["x"][0, 0] += 6 * unit
    evidence = proof.reference_evidence(kinked, initial, replace(batches, arrays=other))
    found = prepared(kinked, initial, batches)
    name = "gradient/model/dense1/kernel"
    assert proof.errors(evidence, found.reference, found.scale)[name] > 1e-3
    assert found.failures(evidence, "float32") == []
    assert found.failures(evidence, "float64")[0].tensor.startswith("gradient")


def test_errors_are_root_mean_squares_over_the_reference() -> None:
    reference = {"output/a": np.array([3.0, 4.0, 0.0, 0.0])}
    scale = proof.scales(reference, {})
    assert scale == {"output/a": 2.5}
    given = {"output/a": np.array([3.0, 4.0, 0.0, 1.0])}
    assert proof.errors(given, reference, scale) == {"output/a": 0.2}


def test_the_error_of_a_parameter_is_a_share_of_the_way_it_went() -> None:
    initial = {"model/kernel": np.array([100.0, 100.0])}
    reference = {"parameter/model/kernel": np.array([101.0, 99.0])}
    scale = proof.scales(reference, initial)
    given = {"parameter/model/kernel": np.array([101.1, 99.1])}
    found = proof.errors(given, reference, scale)["parameter/model/kernel"]
    assert found == pytest.approx(0.1, rel=1e-9)


def test_a_tensor_that_is_zero_is_measured_against_the_largest_of_its_kind() -> None:
    evidence = {"gradient/a": np.full(2, 10.0), "gradient/b": np.zeros(2), "output/c": np.zeros(2)}
    assert proof.scales(evidence, {}) == {
        "gradient/a": 10.0,
        "gradient/b": 10.0 * proof.NEGLIGIBLE,
        "output/c": 1.0,
    }


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"output/a": np.ones(3)},
        {"output/a": np.ones((2, 1))},
        {"output/a": np.array([1.0, np.nan])},
        {"output/a": np.array([1.0, np.inf])},
    ],
)
def test_what_is_missing_misshapen_or_not_finite_is_infinitely_wrong(given: Tensors) -> None:
    reference = {"output/a": np.ones(2)}
    assert proof.errors(given, reference, {"output/a": 1.0}) == {"output/a": math.inf}
    (check,) = proof.compare(given, reference, {"output/a": 1.0}, {"output/a": 1e9})
    assert check == Check("output/a", None, 1e9)
    assert not check.passed


def test_a_training_that_multiplies_rounding_is_no_proof() -> None:
    calm = {"parameter/a": 1e-10, "parameter/b": 1e-10, "parameter/c": 5.0, "gradient/a": 3.0}
    assert proof.undecided(calm) is None, "a single tensor may be at rest but for rounding"
    reason = proof.undecided(calm | {"parameter/b": 0.5})
    assert reason is not None
    assert "median tolerance is 0.5" in reason
    checks = [{"tensor": name, "error": 0.0, "tolerance": 0.5} for name in calm]
    assert verdict({"float32": checks, "float64": checks}) == reason
    assert verdict({"float32": checks}) is None, "float32 may leave the steps to float64"


def test_checks_come_worst_first() -> None:
    reference = {name: np.ones(1) for name in ("fine", "bad", "gone")}
    given = {"fine": np.full(1, 1.25), "bad": np.full(1, 1.5)}
    allowed = {"fine": 1.0, "bad": 0.1, "gone": 1.0}
    checks = proof.compare(given, reference, dict.fromkeys(reference, 1.0), allowed)
    assert [(check.tensor, check.error, check.passed) for check in checks] == [
        ("gone", None, False),
        ("bad", 0.5, False),
        ("fine", 0.25, True),
    ]


class OtherSide(Conv2D):
    """The odd pixel of SAME padding before the image instead of after it."""

    def pads(self, shape: Shape) -> spatial.Pads:
        (top, bottom), (left, right) = super().pads(shape)
        return (bottom, top), (right, left)


class CountsPadding(AvgPool2D):
    """The mean over the whole window, padding included."""

    def counts(self, shape: Shape) -> Values:
        return np.asarray(float(math.prod(self.size)))


class NoBias(Dense):
    """A bias that is there and never added."""

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        return inputs[0] @ parameters["kernel"] + parameters["bias"] * 0.0


class Transposed(Dense):
    """x W^T instead of x W."""

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        return inputs[0] @ transpose(parameters["kernel"], (1, 0)) + parameters["bias"]


class AlwaysDrops(Dropout):
    """Dropout left on in evaluation."""

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        return super().apply(Pass(training=True, random=generator(1)), parameters, *inputs)


class Coupled(Adam):
    """Weight decay as a part of the gradient."""

    def step(self, parameter: Values, gradient: Values, slots: Mapping[str, Values], count: int) -> Any:
        plain = Adam(self.learning_rate, self.beta1, self.beta2, self.epsilon)
        return plain.step(parameter, gradient + self.weight_decay * parameter, slots, count)


class EarlyEpsilon(Adam):
    """Epsilon before the bias correction: as if it were divided by sqrt(1 - beta2^t)."""

    def step(self, parameter: Values, gradient: Values, slots: Mapping[str, Values], count: int) -> Any:
        larger = self.epsilon / math.sqrt(1 - self.beta2**count)
        return replace(as_adam(self), epsilon=larger).step(parameter, gradient, slots, count)


def as_adam(given: Adam) -> Adam:
    return Adam(given.learning_rate, given.beta1, given.beta2, given.epsilon, given.weight_decay)


def same_fields(cls: type[Any], given: Any) -> Any:
    return cls(**{field.name: getattr(given, field.name) for field in fields(given)})


def with_layers(given: Program, change: Callable[[str, Layer], Layer]) -> Program:
    model = given.models["model"]
    nodes = tuple(replace(node, layer=change(node.name, node.layer)) for node in model.nodes)
    return replace(given, models={"model": replace(model, nodes=nodes)})


def with_layer(name: str, **changes: Any) -> Callable[[Program], Program]:
    def fault(given: Program) -> Program:
        return with_layers(given, lambda at, layer: replace(layer, **changes) if at == name else layer)

    return fault


def as_class(name: str, cls: type[Any]) -> Callable[[Program], Program]:
    def fault(given: Program) -> Program:
        return with_layers(given, lambda at, layer: same_fields(cls, layer) if at == name else layer)

    return fault


def with_update(**changes: Any) -> Callable[[Program], Program]:
    return lambda given: replace(given, updates=(replace(given.updates[0], **changes),))


def with_optimizer(change: Callable[[Any], Optimizer]) -> Callable[[Program], Program]:
    return lambda given: with_update(optimizer=change(given.updates[0].optimizer))(given)


def softmax_first(given: Program) -> Program:
    model = given.models["model"]
    last = Node("softmax", Softmax(), model.outputs)
    return replace(given, models={"model": Model(model.inputs, (*model.nodes, last), ("softmax",))})


def swapped(first: int, second: int) -> Batches:
    order = BATCHES.order.copy()
    order[[first, second]] = order[[second, first]]
    return Batches(BATCHES.arrays, order)


class OneGradientZero(Reference):
    """One gradient never reaches its parameter."""

    def loss_and_gradients(self, update: Update, batch: Batch) -> tuple[float, Tensors, Tensors]:
        loss, found, state = super().loss_and_gradients(update, batch)
        name = "model/batch_norm1/shift"
        return loss, {**found, name: np.zeros_like(found[name])}, state


class LaterGradientZero(OneGradientZero):
    """The same, but not yet in the first step."""

    def loss_and_gradients(self, update: Update, batch: Batch) -> tuple[float, Tensors, Tensors]:
        if self.count > 1:
            return super().loss_and_gradients(update, batch)
        return Reference.loss_and_gradients(self, update, batch)


@dataclass(frozen=True)
class Fault:
    """What is wrong, as a change of the program, of the batches or of the way it is run."""

    program: Callable[[Program], Program] = lambda given: given
    batches: Batches = BATCHES
    reference: type[Reference] = Reference

    def evidence(self, given: Program, precision: Precision, patch: pytest.MonkeyPatch) -> Tensors:
        patch.setattr(proof, "Reference", self.reference)
        return proof.reference_evidence(self.program(given), INITIAL, self.batches, precision)


SUM = Term(CrossEntropy("sum"), ("output", "y"))

BATCH_NORM, CONV, FIRST, SECOND = (f"model/{name}" for name in ("batch_norm1", "conv2d1", "dense1", "dense2"))
AFTER, BEFORE = "output after steps/output", "output/output"

FAULTS: dict[str, tuple[Fault, str]] = {
    "batch-norm epsilon": (
        Fault(with_layer("batch_norm1", epsilon=1e-3)),
        f"gradient/{FIRST}/kernel",
    ),
    "batch-norm momentum the other way round": (
        Fault(with_layer("batch_norm1", momentum=0.1)),
        f"parameter/{BATCH_NORM}/running_mean",
    ),
    "running variance unbiased": (
        Fault(with_layer("batch_norm1", running_variance="unbiased")),
        f"parameter/{BATCH_NORM}/running_variance",
    ),
    "learning rate off by 1 %": (
        Fault(with_optimizer(lambda given: replace(given, learning_rate=1.01 * given.learning_rate))),
        f"parameter/{FIRST}/kernel",
    ),
    "loss summed": (
        Fault(with_update(terms=(Term(CrossEntropy("sum"), ("output", "y")),))),
        "loss/train",
    ),
    "softmax before the loss": (Fault(softmax_first), "loss/train"),
    "bias missing": (Fault(as_class("dense2", NoBias)), f"gradient/{SECOND}/bias"),
    "kernel transposed": (Fault(as_class("dense2", Transposed)), BEFORE),
    "padding on the other side": (Fault(as_class("conv2d1", OtherSide)), BEFORE),
    "padding counted in average pooling": (Fault(as_class("avg_pool2d1", CountsPadding)), BEFORE),
    "dropout on in evaluation": (Fault(as_class("dropout1", AlwaysDrops)), BEFORE),
    "penalty with a half": (Fault(with_update(penalties=(L2(5e-4),))), f"gradient/{FIRST}/kernel"),
    "two batches swapped": (Fault(batches=swapped(4, 5)), "loss/after steps"),
    "last two batches swapped": (Fault(batches=swapped(8, 9)), AFTER),
    "one gradient zero": (Fault(reference=OneGradientZero), f"gradient/{BATCH_NORM}/shift"),
    "one gradient zero but in the first batch": (
        Fault(reference=LaterGradientZero),
        f"parameter/{BATCH_NORM}/shift",
    ),
}

OF_ADAM = {
    "decay coupled": (
        Fault(with_optimizer(lambda given: same_fields(Coupled, given))),
        f"parameter/{FIRST}/kernel",
    ),
}

OF_MOMENTUM = {
    "momentum forgotten": (
        Fault(with_optimizer(lambda given: SGD(given.learning_rate))),
        f"parameter/{FIRST}/kernel",
    ),
    "momentum of 0.89 for 0.9": (
        Fault(with_optimizer(lambda given: replace(given, momentum=0.89))),
        f"parameter/{FIRST}/kernel",
    ),
}

PLANTED = [
    pytest.param(optimizer, fault, tensor, id=f"{optimizer}: {name}")
    for optimizer, own in (("adam", OF_ADAM), ("momentum", OF_MOMENTUM))
    for name, (fault, tensor) in {**FAULTS, **own}.items()
]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("optimizer", "fault", "tensor"), PLANTED)
def test_a_planted_fault_is_caught_where_it_shows(
    proofs: dict[str, Proof],
    optimizer: str,
    fault: Fault,
    tensor: str,
    precision: Precision,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    evidence = fault.evidence(PROGRAMS[optimizer], precision, monkeypatch)
    caught = {check.tensor: check for check in proofs[optimizer].failures(evidence, precision)}
    assert tensor in caught
    error = caught[tensor].error
    assert error is not None
    assert error > 20 * caught[tensor].tolerance


def test_the_place_of_epsilon_is_caught_in_float64_alone(
    proofs: dict[str, Proof], monkeypatch: pytest.MonkeyPatch
) -> None:
    # At 1e-8, beside gradients of 1e-2, it is worth 5e-5 of a parameter's way: less than float32 loses there.
    fault = Fault(with_optimizer(lambda given: same_fields(EarlyEpsilon, given)))
    found = proofs["adam"].failures(fault.evidence(ADAM, "float64", monkeypatch), "float64")
    trained = {f"parameter/{name}" for name in ADAM.moved(ADAM.updates[0])}
    assert trained <= {check.tensor for check in found}
    assert all(check.error is not None and check.error < 1e-4 for check in found)
