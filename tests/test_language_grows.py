"""What the language does not have yet needs new words only: a layer and a loss defined here in NumPy."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import pytest

from harness.spec import codec
from harness.spec.codec import SpecError
from harness.spec.layers import Dense, Layer, Parameter, Pass, Shape
from harness.spec.losses import Loss
from harness.spec.model import Input, Model, Node, sequential
from harness.spec.optimizers import SGD
from harness.spec.program import Call, Program, Term, Update
from harness.spec.reference import Reference
from harness.spec.tape import Array, absolute, mean, relu
from tests.differences import anywhere, check_update, generator, words


@dataclass(frozen=True)
class PReLU(Layer):
    """A leaky ReLU whose slope is learnt, one for each channel (He et al. 2015)."""

    def output_shape(self, *inputs: Shape) -> Shape:
        return inputs[0]

    def parameters(self, *inputs: Shape) -> dict[str, Parameter]:
        return {"slope": Parameter(inputs[0][-1:], "zeros")}

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        return relu(inputs[0]) - relu(-inputs[0]) * parameters["slope"]


@dataclass(frozen=True)
class Bilinear(Layer):
    """The product of two vectors, element by element."""

    arity: ClassVar[int | None] = None

    def output_shape(self, *inputs: Shape) -> Shape:
        if len(inputs) != 2 or inputs[0] != inputs[1]:
            raise SpecError(f"needs two tensors of one shape, got {list(inputs)}")
        return inputs[0]

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        return inputs[0] * inputs[1]


@dataclass(frozen=True)
class MeanAbsoluteError(Loss):
    def apply(self, *inputs: Array) -> Array:
        return mean(absolute(inputs[0] - inputs[1]))


@pytest.fixture(autouse=True)
def language() -> Iterator[None]:
    with words(prelu=PReLU, bilinear=Bilinear, mean_absolute_error=MeanAbsoluteError):
        yield


def test_a_new_layer_and_a_new_loss_are_differentiated_trained_and_written_as_the_others() -> None:
    model = sequential((3,), Dense(4), PReLU(), Dense(2))
    call = Call("output", "model", ("x",))
    update = Update("train", (call,), (Term(MeanAbsoluteError(), ("output", "value")),), ("model",), SGD(0.1))
    program = Program({"x": (3,), "value": (2,)}, {"model": model}, (update,), (call,), ("output",))
    assert codec.decode(Program, json.loads(codec.canonical(program))) == program
    batch = {"x": generator(1).normal(size=(5, 3)), "value": generator(2).normal(size=(5, 2))}
    weights = anywhere(program.initial(0))
    check_update(program, update, weights, batch)
    losses = Reference(program, weights).train([batch] * 60)
    assert losses[-1] < 0.5 * losses[0]
    assert program.parameters()["model/prelu1/slope"].shape == (4,)


@pytest.mark.parametrize("inputs", [("a", "b"), ("a",)])
def test_a_new_layer_refuses_inputs_by_its_own_rule(inputs: tuple[str, ...]) -> None:
    given = {"a": Input((3,)), "b": Input((4,))}
    with pytest.raises(SpecError, match=r"nodes\[0\].layer: out \(bilinear\): needs two tensors"):
        Model(given, (Node("out", Bilinear(), inputs),), ("out",))


def test_new_words_are_read_with_the_same_messages() -> None:
    with pytest.raises(SpecError, match="Did you mean 'prelu'"):
        codec.decode(Layer, {"type": "prelo"})
