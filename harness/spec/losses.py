"""Losses: each a number for a batch, with one meaning in NumPy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from harness.spec.codec import SpecError, family, later, member
from harness.spec.layers.base import Shape, check_positive, check_rate
from harness.spec.tape import Array, log_softmax, mean, pick, reshape, softplus, sqrt, tanh, total

Reduction = Literal["mean", "sum"]
"""Over the examples of the batch: their mean, or their sum."""


@family
@dataclass(frozen=True)
class Loss:
    """A function of tensors that gives one number."""

    arity: ClassVar[int | None] = 2
    """How many inputs it takes. None: `check` decides."""

    def check(self, *inputs: Shape) -> None:
        """Raise SpecError where these example shapes do not fit."""

    def apply(self, *inputs: Array) -> Array:
        """The meaning: a scalar for inputs of shape (batch, *shape)."""
        raise NotImplementedError


def _reduce(per_example: Array, reduction: Reduction) -> Array:
    return mean(per_example) if reduction == "mean" else total(per_example)


@member("cross_entropy")
@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Softmax cross-entropy of logits (batch, *shape, classes) against integer labels (batch, *shape):
    -log softmax(logits)[label], averaged over an example's positions.

    With `label_smoothing` s the label's share is 1 - s, and s is spread over all classes alike
    (Szegedy et al. 2016).

    A third input of weights (batch, *shape), not negative, says how much each position counts: 1 where there
    is a token and 0 where there is padding. The loss is then the sum of weight times cross-entropy over all
    positions of the batch, for the `mean` divided by the sum of the weights, which must not be zero.
    """

    reduction: Reduction = "mean"
    label_smoothing: float = later(0.0)
    arity: ClassVar[int | None] = None

    def __post_init__(self) -> None:
        check_rate(label_smoothing=self.label_smoothing)

    def check(self, *inputs: Shape) -> None:
        """Logits (*shape, classes), labels (*shape) and perhaps weights (*shape)."""
        logits, *others = inputs
        if len(others) not in (1, 2) or not logits or any(shape != logits[:-1] for shape in others):
            wanted = "logits (*shape, classes), integer labels (*shape) and perhaps weights (*shape)"
            raise SpecError(f"cross_entropy needs {wanted}, got {' and '.join(map(str, inputs))}")

    def apply(self, *inputs: Array) -> Array:
        """Negative log-likelihood of the labels."""
        logits, labels, *weights = inputs
        scores = log_softmax(logits)
        found = -pick(scores, labels.value)
        if self.label_smoothing:
            found = found * (1 - self.label_smoothing) - mean(scores, -1) * self.label_smoothing
        if weights:
            counted = total(found * weights[0])
            return counted / total(weights[0]) if self.reduction == "mean" else counted
        return _reduce(_per_example(found), self.reduction)


@member("binary_cross_entropy")
@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """Cross-entropy of the sigmoid of logits (batch, *shape) against targets in [0, 1], averaged over an
    example's elements: log(1 + exp(logit)) - target * logit.

    The targets are a second input of the same shape or, where `target` is given, that number everywhere.
    """

    target: float | None = None
    reduction: Reduction = "mean"
    arity: ClassVar[int | None] = None

    def check(self, *inputs: Shape) -> None:
        """One tensor with `target`, two of one shape without."""
        if len(inputs) != (2 if self.target is None else 1) or len(set(inputs)) != 1:
            wanted = "logits and targets of one shape" if self.target is None else "logits alone"
            raise SpecError(f"binary_cross_entropy needs {wanted}, got {list(inputs)}")

    def apply(self, *inputs: Array) -> Array:
        """Mean over each example, then the reduction."""
        logits = inputs[0]
        target = inputs[1] if self.target is None else self.target
        return _reduce(_per_example(softplus(logits) - logits * target), self.reduction)


@member("mean_squared_error")
@dataclass(frozen=True)
class MeanSquaredError(Loss):
    """Squared difference of prediction and target (batch, *shape), averaged over an example's elements."""

    reduction: Reduction = "mean"

    def check(self, *inputs: Shape) -> None:
        """Two tensors of one shape."""
        prediction, target = inputs
        if prediction != target:
            raise SpecError(f"mean_squared_error needs one shape twice, got {prediction} and {target}")

    def apply(self, *inputs: Array) -> Array:
        """Mean of squares over each example, then the reduction."""
        difference = inputs[0] - inputs[1]
        squares = difference * difference
        return _reduce(_per_example(squares), self.reduction)


@member("sharpe")
@dataclass(frozen=True)
class Sharpe(Loss):
    """Minus the Sharpe ratio of a batch (Moody and Saffell 2001): minus the mean of the batch's returns over
    sqrt(their biased variance + epsilon). An example's return is the sum over assets of holding times the
    asset's return, both (assets,).
    """

    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        check_positive(epsilon=self.epsilon)

    def check(self, *inputs: Shape) -> None:
        """Two vectors of one length."""
        holdings, returns = inputs
        if len(holdings) != 1 or holdings != returns:
            raise SpecError(f"sharpe needs holdings and returns (assets,), got {holdings} and {returns}")

    def apply(self, *inputs: Array) -> Array:
        """Over the whole batch."""
        earned = total(inputs[0] * inputs[1], 1)
        centre = mean(earned)
        apart = earned - centre
        return -centre / sqrt(mean(apart * apart) + self.epsilon)


@member("yolo")
@dataclass(frozen=True)
class Yolo(Loss):
    """The loss of a single-stage detector on a grid (Redmon et al. 2016, 2017).

    Inputs: predictions (rows, columns, anchors * (5 + classes)), for each anchor x, y, w, h, objectness and a
    logit a class; boxes (rows, columns, anchors, 5): objectness (1 where an object's centre and best anchor
    are, else 0), x and y of the centre in its cell in [0, 1], log of width and of height over the anchor's;
    classes (rows, columns, anchors), integers, 0 where there is no object.

    Of an example, summed over its places: where there is an object, `coordinate` times the squared error of
    (sigmoid(x), sigmoid(y), w, h), binary cross-entropy of the objectness and softmax cross-entropy of the
    class; elsewhere `no_object` times the binary cross-entropy of the objectness. The mean over the batch.
    """

    anchors: int
    coordinate: float = 5.0
    no_object: float = 0.5
    arity: ClassVar[int | None] = 3

    def __post_init__(self) -> None:
        check_positive(anchors=self.anchors, coordinate=self.coordinate, no_object=self.no_object)

    def check(self, *inputs: Shape) -> None:
        """Shapes as the class says, with at least one class."""
        predictions, boxes, classes = inputs
        fits = (
            len(predictions) == 3
            and predictions[2] % self.anchors == 0
            and predictions[2] // self.anchors > 5
            and boxes == (*predictions[:2], self.anchors, 5)
            and classes == boxes[:3]
        )
        if not fits:
            wanted = f"(rows, columns, {self.anchors} * (5 + classes)), (rows, columns, {self.anchors}, 5)"
            raise SpecError(f"yolo needs {wanted} and (rows, columns, {self.anchors}), got {list(inputs)}")

    def apply(self, *inputs: Array) -> Array:
        """The sum over places, the mean over the batch."""
        predictions, boxes, classes = inputs
        n, rows, columns, _ = predictions.shape
        found = reshape(predictions, (n, rows, columns, self.anchors, -1))
        there = boxes[..., 0]
        centre = (tanh(found[..., 0:2] * 0.5) + 1.0) * 0.5 - boxes[..., 1:3]
        extent = found[..., 2:4] - boxes[..., 3:5]
        squares = total(centre * centre, -1) + total(extent * extent, -1)
        objectness = found[..., 4]
        named = -pick(log_softmax(found[..., 5:]), classes.value)
        with_object = squares * self.coordinate + softplus(objectness) - objectness + named
        without = softplus(objectness) * self.no_object
        return mean(total(there * with_object + (1.0 - there) * without, (1, 2, 3)))


def _per_example(values: Array) -> Array:
    axes = tuple(range(1, len(values.shape)))
    return mean(values, axes) if axes else values
