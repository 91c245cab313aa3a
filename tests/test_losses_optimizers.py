"""Losses, penalties and optimizers against their formulas, written out here a second time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness.spec import codec
from harness.spec.codec import SpecError
from harness.spec.layers import Parameter
from harness.spec.losses import BinaryCrossEntropy, CrossEntropy, Loss, MeanSquaredError, Sharpe, Yolo
from harness.spec.optimizers import SGD, Adam, Optimizer, RMSProp
from harness.spec.penalties import L1, L2, Penalty
from harness.spec.schedules import Cosine, Schedule, StepDecay, rate_at
from harness.spec.tape import Array, gradients
from tests.differences import Values, check_gradients, generator

LOGITS = generator(0).normal(size=(4, 3))
LABELS = np.array([2, 0, 1, 1], np.int32)


def loss(given: Loss, *inputs: Values) -> float:
    return float(given.apply(*map(Array, inputs)).value)


def likelihoods() -> list[float]:
    probabilities = [[math.exp(x) / sum(map(math.exp, row)) for x in row] for row in LOGITS.tolist()]
    return [row[label] for row, label in zip(probabilities, LABELS, strict=True)]


def test_every_loss_penalty_and_optimizer_is_tested_here() -> None:
    assert set(codec.members(Loss)) == {
        "cross_entropy",
        "binary_cross_entropy",
        "mean_squared_error",
        "sharpe",
        "yolo",
    }
    assert set(codec.members(Penalty)) == {"l1", "l2"}
    assert set(codec.members(Optimizer)) == {"sgd", "adam", "rmsprop"}
    assert set(codec.members(Schedule)) == {"cosine", "step_decay"}


def test_cross_entropy_is_the_mean_or_sum_of_negative_log_likelihoods() -> None:
    each = [-math.log(p) for p in likelihoods()]
    assert loss(CrossEntropy(), LOGITS, LABELS) == pytest.approx(sum(each) / 4, rel=1e-14)
    assert loss(CrossEntropy("sum"), LOGITS, LABELS) == pytest.approx(sum(each), rel=1e-14)


def test_cross_entropy_gradient_is_softmax_less_one_hot() -> None:
    logits = Array(LOGITS)
    (found,) = gradients(CrossEntropy("sum").apply(logits, Array(LABELS)), [logits])
    softmax = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)
    assert np.allclose(found, softmax - np.eye(3)[LABELS], atol=1e-15)


def test_weights_say_which_positions_of_the_batch_count() -> None:
    logits = generator(2).normal(size=(2, 3, 4))
    labels, weights = np.array([[0, 1, 2], [3, 0, 1]]), np.array([[1.0, 1, 0], [0.5, 0, 0]])
    flat = zip(logits.reshape(6, 1, 4), labels.reshape(6, 1), strict=True)
    each = [loss(CrossEntropy(), row, label) for row, label in flat]
    counted = each[0] + each[1] + 0.5 * each[3]
    assert loss(CrossEntropy(), logits, labels, weights) == pytest.approx(counted / 2.5, rel=1e-14)
    assert loss(CrossEntropy("sum"), logits, labels, weights) == pytest.approx(counted, rel=1e-14)
    check_gradients(lambda a: CrossEntropy().apply(a, Array(labels), Array(weights)), logits)


def test_the_sharpe_ratio_is_the_mean_over_the_spread_of_a_batch() -> None:
    holdings, returns = generator(3).random((5, 3)), generator(4).normal(size=(5, 3))
    earned = [sum(h * r for h, r in zip(*rows, strict=True)) for rows in zip(holdings, returns, strict=True)]
    centre = sum(earned) / 5
    variance = sum((each - centre) ** 2 for each in earned) / 5
    expected = -centre / math.sqrt(variance + 0.1)
    assert loss(Sharpe(0.1), holdings, returns) == pytest.approx(expected, rel=1e-13)
    check_gradients(lambda a: Sharpe().apply(a, Array(returns)), holdings)


def test_cross_entropy_is_finite_for_a_confident_mistake() -> None:
    assert loss(CrossEntropy(), np.array([[1e4, 0.0]]), np.array([1])) == 1e4


def test_mean_squared_error_averages_over_an_example_then_reduces_over_the_batch() -> None:
    prediction, target = generator(1).normal(size=(2, 4, 3, 2))
    squares = sum((p - t) ** 2 for p, t in zip(prediction.ravel(), target.ravel(), strict=True))
    assert loss(MeanSquaredError(), prediction, target) == pytest.approx(squares / 24, rel=1e-14)
    assert loss(MeanSquaredError("sum"), prediction, target) == pytest.approx(squares / 6, rel=1e-14)


def test_mean_squared_error_of_plain_numbers() -> None:
    assert loss(MeanSquaredError(), np.array([1.0, 4.0]), np.array([0.0, 0.0])) == 8.5
    assert loss(MeanSquaredError("sum"), np.array([1.0, 4.0]), np.array([0.0, 0.0])) == 17


def test_mean_squared_error_takes_integer_targets() -> None:
    prediction = np.array([[0.5, 2.0]])
    for dtype in (np.uint8, np.int64):
        assert loss(MeanSquaredError(), prediction, np.array([[1, 255]], dtype)) == (0.25 + 253**2) / 2


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_loss_gradients_are_those_of_central_differences(reduction: Any) -> None:
    check_gradients(lambda a: CrossEntropy(reduction).apply(a, Array(LABELS)), LOGITS)
    check_gradients(MeanSquaredError(reduction).apply, LOGITS, LOGITS[::-1].copy())


@pytest.mark.parametrize("given", [CrossEntropy(), CrossEntropy("sum")])
def test_losses_keep_float32(given: Loss) -> None:
    logits = Array(LOGITS.astype(np.float32))
    assert given.apply(logits, Array(LABELS)).dtype == np.float32
    assert MeanSquaredError().apply(logits, logits).dtype == np.float32


def test_losses_refuse_shapes_that_do_not_fit() -> None:
    with pytest.raises(SpecError, match="logits"):
        CrossEntropy().check((3, 3), ())
    with pytest.raises(SpecError, match="logits"):
        CrossEntropy().check((3,), (3,))
    with pytest.raises(SpecError, match="shape"):
        MeanSquaredError().check((3,), (4,))


def test_penalties_sum_over_the_kernel_without_a_half() -> None:
    kernel = np.array([[1.0, -2.0], [0.0, 3.0]])
    for penalty, expected, slope in (
        (L1(0.1), 0.6, [[0.1, -0.1], [0.0, 0.1]]),
        (L2(0.1), 1.4, [[0.2, -0.4], [0.0, 0.6]]),
    ):
        array = Array(kernel)
        scalar = penalty.apply(array)
        assert float(scalar.value) == pytest.approx(expected, rel=1e-14)
        assert np.allclose(gradients(scalar, [array])[0], slope, rtol=1e-14)


START = np.array([1.0, -2.0, 0.5])
GRADIENTS = [np.array([0.1, -0.3, 1e-7]), np.array([-0.2, 0.3, 1e-7]), np.array([0.05, 0.1, -3e-7])]


def run(optimizer: Optimizer, dtype: Any = np.float64) -> list[Values]:
    """The parameter after each of three steps."""
    parameter = START.astype(dtype)
    slots = optimizer.slots(parameter)
    steps = []
    for count, gradient in enumerate(GRADIENTS, 1):
        parameter, slots = optimizer.step(parameter, gradient.astype(dtype), slots, count)
        steps.append(parameter)
    return steps


def test_plain_gradient_descent_subtracts_the_scaled_gradient() -> None:
    found = run(SGD(0.1))
    assert np.allclose(found[0], START - 0.1 * GRADIENTS[0], rtol=1e-15)
    assert np.allclose(found[2], START - 0.1 * sum(GRADIENTS), rtol=1e-15)


def test_momentum_keeps_gradients_and_the_rate_stands_outside() -> None:
    a, b, c = GRADIENTS
    found = run(SGD(0.1, 0.9))
    assert np.allclose(found[0], START - 0.1 * a, rtol=1e-14)
    assert np.allclose(found[1], START - 0.1 * (a + b + 0.9 * a), rtol=1e-14)
    assert np.allclose(found[2], START - 0.1 * (a + b + 0.9 * a + c + 0.9 * b + 0.81 * a), rtol=1e-14)
    velocity = np.ones(1)
    slow, _ = SGD(0.01, 0.5).step(np.zeros(1), np.zeros(1), {"velocity": velocity}, 2)
    fast, _ = SGD(1.0, 0.5).step(np.zeros(1), np.zeros(1), {"velocity": velocity}, 2)
    assert (slow[0], fast[0]) == (-0.005, -0.5)


def adam(beta1: float, beta2: float, epsilon: float, rate: float) -> list[Values]:
    """Kingma and Ba's closed form: moments as weighted sums over all gradients so far."""
    parameter, steps = START, []
    for t in range(1, 4):
        ages = [t - 1 - i for i in range(t)]
        first = sum((1 - beta1) * beta1**age * g for age, g in zip(ages, GRADIENTS[:t], strict=True))
        second = sum((1 - beta2) * beta2**age * g**2 for age, g in zip(ages, GRADIENTS[:t], strict=True))
        parameter = parameter - rate * (first / (1 - beta1**t)) / (np.sqrt(second / (1 - beta2**t)) + epsilon)
        steps.append(parameter)
    return steps


@pytest.mark.parametrize("numbers", [(0.9, 0.999, 1e-8, 1e-3), (0.5, 0.9, 1e-2, 0.1)])
def test_adam_follows_the_closed_form(numbers: tuple[float, float, float, float]) -> None:
    beta1, beta2, epsilon, rate = numbers
    expected = adam(*numbers)
    for found, wanted in zip(run(Adam(rate, beta1, beta2, epsilon)), expected, strict=True):
        assert np.allclose(found, wanted, rtol=1e-14)


def test_adam_adds_epsilon_after_the_bias_correction() -> None:
    # In the first step the corrected moments are the gradient and its square, whatever the betas.
    gradient, epsilon = 1e-7, 1e-8
    moved = START[2] - run(Adam(1.0, epsilon=epsilon))[0][2]
    assert moved == pytest.approx(gradient / (gradient + epsilon), rel=1e-6)
    before = gradient / (gradient + epsilon / math.sqrt(1 - 0.999))
    assert abs(moved - before) > 0.6


def test_weight_decay_is_decoupled_and_scaled_by_the_rate() -> None:
    plain, decayed = run(Adam(0.01))[0], run(Adam(0.01, weight_decay=0.1))[0]
    assert np.allclose(decayed - plain, -0.01 * 0.1 * START, rtol=1e-12)


def test_decay_joins_the_gradient_of_sgd_and_its_velocity() -> None:
    a, b, _ = GRADIENTS
    first, second, _ = run(SGD(0.1, 0.9, weight_decay=0.5))
    assert np.allclose(first, START - 0.1 * (a + 0.5 * START), rtol=1e-14)
    assert np.allclose(second, first - 0.1 * (0.9 * (a + 0.5 * START) + b + 0.5 * first), rtol=1e-14)
    assert np.allclose(run(SGD(0.1, weight_decay=0.5))[0], first, rtol=1e-14)


def test_decay_of_kernels_leaves_biases_and_scales_alone() -> None:
    rule = Adam(0.1, weight_decay=0.5, decays="kernels")
    kernel, bias = Parameter((1,), "zeros", penalized=True), Parameter((1,), "zeros")
    assert rule.of(kernel) == rule
    assert rule.of(bias) == Adam(0.1, decays="kernels")
    assert Adam(0.1, weight_decay=0.5).of(bias) == Adam(0.1, weight_decay=0.5)
    assert SGD(0.1).of(bias) == SGD(0.1)
    assert SGD(0.1, weight_decay=0.5, decays="kernels").of(bias) == SGD(0.1, decays="kernels")


def test_optimizers_leave_their_arguments_as_they_were() -> None:
    for optimizer in (SGD(0.1, 0.9), Adam(0.1)):
        parameter, gradient = START.copy(), GRADIENTS[0].copy()
        slots = optimizer.slots(parameter)
        optimizer.step(parameter, gradient, slots, 1)
        assert np.array_equal(parameter, START)
        assert np.array_equal(gradient, GRADIENTS[0])
        assert all(not slot.any() for slot in slots.values())


@pytest.mark.parametrize(
    "optimizer",
    [
        SGD(0.1),
        SGD(Cosine(0.1, 5, warmup=2), 0.9, weight_decay=0.1),
        Adam(0.1, weight_decay=0.1),
        RMSProp(StepDecay(0.1, 1)),
    ],
)
def test_optimizers_keep_float32(optimizer: Optimizer) -> None:
    assert [step.dtype for step in run(optimizer, np.float32)] == [np.float32] * 3


REFUSED: list[tuple[Callable[[], Any], str]] = [
    (lambda: SGD(0.0), "learning_rate"),
    (lambda: SGD(float("nan")), "learning_rate"),
    (lambda: SGD(0.1, 1.0), "momentum"),
    (lambda: SGD(0.1, weight_decay=-0.1), "weight_decay"),
    (lambda: Adam(-1.0), "learning_rate"),
    (lambda: Adam(beta1=1.0), "beta1"),
    (lambda: Adam(beta2=-0.1), "beta2"),
    (lambda: Adam(epsilon=0.0), "epsilon"),
    (lambda: Adam(weight_decay=-0.1), "weight_decay"),
    (lambda: Adam(weight_decay=float("nan")), "weight_decay"),
    (lambda: RMSProp(0.0), "learning_rate"),
    (lambda: RMSProp(rho=1.0), "rho"),
    (lambda: RMSProp(epsilon=0.0), "epsilon"),
    (lambda: Cosine(0.0, 5), "start"),
    (lambda: Cosine(0.1, 5, warmup=5), "steps"),
    (lambda: Cosine(0.1, 5, warmup=-1), "warmup"),
    (lambda: Cosine(0.1, 5, end=-0.1), "end"),
    (lambda: StepDecay(0.1, 0), "every"),
    (lambda: StepDecay(0.1, 5, 0.0), "factor"),
    (lambda: CrossEntropy(label_smoothing=1.0), "label_smoothing"),
    (lambda: Yolo(0), "anchors"),
    (lambda: L1(0.0), "rate"),
    (lambda: L2(-1.0), "rate"),
]


@pytest.mark.parametrize(("mistake", "field"), REFUSED)
def test_a_refusal_names_the_field(mistake: Callable[[], Any], field: str) -> None:
    with pytest.raises(SpecError) as refusal:
        mistake()
    assert refusal.value.path == (field,)


def test_label_smoothing_spreads_its_share_over_all_classes() -> None:
    each = []
    for row, label in zip(LOGITS.tolist(), LABELS.tolist(), strict=True):
        scores = [x - math.log(sum(map(math.exp, row))) for x in row]
        each.append(-sum((0.7 * (k == label) + 0.1) * score for k, score in enumerate(scores)))
    assert loss(CrossEntropy(label_smoothing=0.3), LOGITS, LABELS) == pytest.approx(sum(each) / 4, rel=1e-14)


def test_cross_entropy_averages_over_positions() -> None:
    logits, labels = generator(3).normal(size=(2, 5, 3)), generator(4).integers(0, 3, (2, 5))
    flat = loss(CrossEntropy(), logits.reshape(10, 3), labels.reshape(10))
    assert loss(CrossEntropy(), logits, labels) == pytest.approx(flat, rel=1e-14)
    assert loss(CrossEntropy("sum"), logits, labels) == pytest.approx(2 * flat, rel=1e-14)


def test_binary_cross_entropy_is_that_of_the_sigmoid() -> None:
    targets = generator(5).uniform(size=LOGITS.shape)
    expected = 0.0
    for x, t in zip(LOGITS.ravel(), targets.ravel(), strict=True):
        p = 1 / (1 + math.exp(-x))
        expected -= (t * math.log(p) + (1 - t) * math.log(1 - p)) / LOGITS.size
    assert loss(BinaryCrossEntropy(), LOGITS, targets) == pytest.approx(expected, rel=1e-13)
    ones = loss(BinaryCrossEntropy(), LOGITS, np.ones_like(LOGITS))
    assert loss(BinaryCrossEntropy(1.0), LOGITS) == pytest.approx(ones, rel=1e-14)
    assert loss(BinaryCrossEntropy(1.0), np.array([[-1e4]])) == 1e4


def test_yolo_by_hand() -> None:
    # One place, two anchors, one class: an object at the first, none at the second.
    predictions = np.array([[[[0.0, 0.0, 0.3, -0.2, 1.0, 5.0, 0.5, 0.5, 0.5, 0.5, -2.0, 1.0]]]])
    boxes = np.array([[[[[1.0, 0.7, 0.4, 0.1, 0.1], [0.0, 0.9, 0.9, 0.9, 0.9]]]]])
    squares = (0.5 - 0.7) ** 2 + (0.5 - 0.4) ** 2 + 0.2**2 + 0.3**2
    there = 5.0 * squares + math.log(1 + math.exp(-1.0))
    expected = there + 0.5 * math.log(1 + math.exp(-2.0))
    classes = np.zeros((1, 1, 1, 2), np.int32)
    assert loss(Yolo(2), predictions, boxes, classes) == pytest.approx(expected, rel=1e-14)


def test_new_losses_have_the_gradients_of_central_differences() -> None:
    check_gradients(lambda a: CrossEntropy(label_smoothing=0.2).apply(a, Array(LABELS)), LOGITS)
    check_gradients(BinaryCrossEntropy().apply, LOGITS, generator(6).uniform(size=LOGITS.shape))
    random = generator(7)
    boxes = random.uniform(size=(2, 2, 3, 2, 5))
    boxes[..., 0] = boxes[..., 0] > 0.5
    classes = random.integers(0, 3, (2, 2, 3, 2))
    check_gradients(
        lambda a: Yolo(2).apply(a, Array(boxes), Array(classes)), random.normal(size=(2, 2, 3, 16))
    )


def test_cosine_rises_in_a_line_and_falls_by_half_a_wave() -> None:
    schedule = Cosine(0.8, 12, end=0.2, warmup=4)
    assert [schedule.rate(done) for done in range(4)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    expected = {4: 0.8, 6: 0.5 + 0.3 * math.cos(math.pi / 4), 8: 0.5, 12: 0.2, 100: 0.2}
    assert {done: schedule.rate(done) for done in expected} == pytest.approx(expected)
    assert Cosine(0.8, 10).rate(0) == 0.8


def test_step_decay_is_a_stair() -> None:
    schedule = StepDecay(0.8, 3, 0.5, warmup=2)
    assert [schedule.rate(done) for done in range(7)] == pytest.approx([0.4, 0.8, 0.8, 0.4, 0.4, 0.4, 0.2])


def test_a_number_is_its_own_schedule() -> None:
    assert rate_at(0.3, 17) == 0.3


def test_rmsprop_divides_by_the_root_with_epsilon_inside() -> None:
    optimizer = RMSProp(0.1, rho=0.75, epsilon=0.04)
    parameter, slots = np.array([1.0]), optimizer.slots(np.array([1.0]))
    parameter, slots = optimizer.step(parameter, np.array([0.4]), slots, 1)
    assert parameter[0] == pytest.approx(1 - 0.1 * 0.4 / math.sqrt(0.25 * 0.16 + 0.04))
    parameter, slots = optimizer.step(parameter, np.array([0.0]), slots, 2)
    assert slots["second"][0] == pytest.approx(0.75 * 0.04)


def test_losses_of_other_shapes_are_refused() -> None:
    for given, shapes in (
        (BinaryCrossEntropy(), ((3,),)),
        (BinaryCrossEntropy(1.0), ((3,), (3,))),
        (BinaryCrossEntropy(), ((3,), (2,))),
        (Yolo(2), ((4, 4, 13), (4, 4, 2, 5), (4, 4, 2))),
        (Yolo(2), ((4, 4, 16), (4, 4, 1, 5), (4, 4, 1))),
        (CrossEntropy(), ((4, 3), (3,))),
        (CrossEntropy(), ((4, 3), (4,), (3,))),
        (CrossEntropy(), ((4, 3), (4,), (4,), (4,))),
        (Sharpe(), ((4,), (3,))),
        (Sharpe(), ((4, 2), (4, 2))),
    ):
        with pytest.raises(SpecError, match="needs"):
            given.check(*shapes)
