"""Models and programs: what fits, what they count, and how their weights begin."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from harness.spec.codec import SpecError
from harness.spec.initializers import draw
from harness.spec.layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPool2D,
    Pass,
    ReLU,
    Shape,
)
from harness.spec.losses import CrossEntropy, MeanSquaredError
from harness.spec.model import Input, Model, Node, sequential
from harness.spec.optimizers import SGD
from harness.spec.penalties import L2
from harness.spec.program import Call, Program, Term, Update
from harness.spec.reference import Reference
from harness.spec.tape import Array
from tests.differences import anywhere, check_update, generator, words


@dataclass(frozen=True)
class Add(Layer):
    """The sum of two tensors of one shape."""

    arity: ClassVar[int | None] = 2

    def output_shape(self, *inputs: Shape) -> Shape:
        if inputs[0] != inputs[1]:
            raise SpecError(f"needs one shape twice, got {inputs[0]} and {inputs[1]}")
        return inputs[0]

    def apply(self, this: Pass, parameters: Mapping[str, Array], *inputs: Array) -> Array:
        return inputs[0] + inputs[1]


@pytest.fixture(autouse=True)
def language() -> Iterator[None]:
    with words(add=Add):
        yield


def graph(*nodes: Node, outputs: tuple[str, ...] = ("out",)) -> Model:
    return Model({"x": Input((4,))}, nodes, outputs)


def classifier(model: Model, shape: Shape) -> Program:
    call = Call("output", "model", ("x",))
    update = Update(
        "train", (call,), (Term(CrossEntropy(), ("output", "y")),), ("model",), SGD(0.1), (L2(0.1),)
    )
    return Program({"x": shape, "y": ()}, {"model": model}, (update,), (call,), ("output",))


def residual() -> Model:
    return graph(
        Node("first", Dense(3), ("x",)),
        Node("relu", ReLU(), ("first",)),
        Node("second", Dense(3), ("relu",)),
        Node("sum", Add(), ("first", "second")),
        Node("out", Dense(2), ("sum",)),
    )


DENSE = Node("out", Dense(3), ("x",))

MISTAKES: list[tuple[tuple[Node, ...], tuple[str, ...], str]] = [
    ((Node("out", Dense(3), ("y",)),), ("out",), "nodes[0].inputs: unknown tensor 'y'. There is x."),
    ((DENSE,), ("oot",), "outputs: unknown tensor 'oot'. Did you mean 'out'?"),
    (
        (Node("out", ReLU(), ("later",)), Node("later", ReLU(), ("x",))),
        ("out",),
        "nodes[0].inputs: unknown tensor 'later'",
    ),
    ((DENSE, DENSE), ("out",), "nodes[1].name: the name 'out' is taken"),
    ((Node("x", Dense(3), ("x",)),), ("x",), "nodes[0].name: the name 'x' is taken"),
    (
        (Node("a/b", Dense(3), ("x",)),),
        ("a/b",),
        "nodes[0].name: a name is not empty and has no slash, got 'a/b'",
    ),
    ((Node("", Dense(3), ("x",)),), ("",), "nodes[0].name: a name is not empty"),
    (
        (DENSE, Node("conv", Conv2D(1, (1, 1)), ("out",))),
        ("conv",),
        "nodes[1].layer: conv (conv2d): needs an image",
    ),
    ((DENSE, Node("sum", Add(), ("x", "out"))), ("sum",), "nodes[1].layer: sum (add): needs one shape twice"),
    ((Node("out", Dense(3), ("x", "x")),), ("out",), "nodes[0].inputs: out (dense) takes 1, got 2"),
    ((Node("out", ReLU(), ()),), ("out",), "nodes[0].inputs: out (relu) takes 1, got 0"),
    ((Node("out", Add(), ("x",)),), ("out",), "nodes[0].inputs: out (add) takes 2, got 1"),
]


@pytest.mark.parametrize(("nodes", "outputs", "message"), MISTAKES)
def test_a_graph_that_does_not_fit_is_refused_by_node_and_layer(
    nodes: tuple[Node, ...], outputs: tuple[str, ...], message: str
) -> None:
    with pytest.raises(SpecError) as mistake:
        graph(*nodes, outputs=outputs)
    assert str(mistake.value).startswith(message)


def test_a_chain_is_one_input_and_each_node_fed_by_the_one_before() -> None:
    assert sequential((4,), Dense(3), ReLU()).is_chain()
    assert not residual().is_chain()
    assert not graph(Node("a", ReLU(), ("x",)), Node("b", ReLU(), ("x",)), outputs=("b",)).is_chain()
    assert not graph(Node("a", ReLU(), ("x",)), Node("b", ReLU(), ("a",)), outputs=("a",)).is_chain()
    assert not graph(Node("a", ReLU(), ("x",)), outputs=("a", "x")).is_chain()
    assert not Model({"x": Input((4,)), "y": Input((4,))}, (Node("a", ReLU(), ("x",)),), ("a",)).is_chain()


def test_a_sequential_names_its_nodes_by_layer_and_number() -> None:
    model = sequential((8, 8, 1), Conv2D(2, (3, 3)), ReLU(), Flatten(), Dense(4), ReLU(), Dense(2))
    assert [node.name for node in model.nodes] == [
        "conv2d1",
        "relu1",
        "flatten1",
        "dense1",
        "relu2",
        "dense2",
    ]
    assert model.outputs == ("dense2",)
    assert model.shapes()["flatten1"] == (72,)


def test_evaluate_calls_each_node_once_in_order() -> None:
    called = []

    def apply(node: Node, *values: str) -> str:
        called.append(node.name)
        return f"{node.name}({', '.join(values)})"

    assert residual().evaluate(["x"], apply) == ("out(sum(first(x), second(relu(first(x)))))",)
    assert called == ["first", "relu", "second", "sum", "out"]


def test_a_residual_graph_is_what_numpy_says_and_so_is_its_gradient() -> None:
    program = classifier(residual(), (4,))
    weights = anywhere(program.initial(0))
    batch = {"x": generator(1).normal(size=(5, 4)), "y": np.array([0, 1, 1, 0, 1])}
    k = {name.removeprefix("model/"): value for name, value in weights.items()}
    first = batch["x"] @ k["first/kernel"] + k["first/bias"]
    both = first + np.maximum(first, 0) @ k["second/kernel"] + k["second/bias"]
    found = Reference(program, weights).predict(batch)["output"]
    assert np.allclose(found, both @ k["out/kernel"] + k["out/bias"], rtol=1e-13)
    check_update(program, program.updates[0], weights, batch)


def test_without_randomness_switches_off_dropout_alone() -> None:
    model = sequential((4,), Dense(3), Dropout(0.5), BatchNorm())
    assert [node.layer for node in model.without_randomness().nodes] == [Dense(3), Dropout(0.0), BatchNorm()]


def mnist_mlp() -> Program:
    model = sequential((28, 28, 1), Flatten(), Dense(128), ReLU(), Dense(64), ReLU(), Dense(10))
    return classifier(model, (28, 28, 1))


def lenet5() -> Program:
    layers: list[Layer] = [
        Conv2D(6, (5, 5), padding="same"),
        ReLU(),
        MaxPool2D(),
        Conv2D(16, (5, 5)),
        ReLU(),
        MaxPool2D(),
        Flatten(),
        *[layer for units in (120, 84) for layer in (Dense(units), ReLU())],
        Dense(10),
    ]
    return classifier(sequential((28, 28, 1), *layers), (28, 28, 1))


def test_the_mlp_of_the_introductions_has_its_known_size() -> None:
    assert mnist_mlp().count() == 784 * 128 + 128 + 128 * 64 + 64 + 64 * 10 + 10 == 109_386
    dense = 2 * (784 * 128 + 128 * 64 + 64 * 10) + 128 + 64 + 10
    assert mnist_mlp().flops() == dense + 128 + 64


def test_lenet5_has_its_known_size() -> None:
    assert lenet5().count() == 61_706
    convolutions = 28 * 28 * 6 * (2 * 25 + 1) + 10 * 10 * 16 * (2 * 25 * 6 + 1)
    pools = 14 * 14 * 6 * 4 + 5 * 5 * 16 * 4
    dense = 2 * (400 * 120 + 120 * 84 + 84 * 10) + 120 + 84 + 10
    relus = 28 * 28 * 6 + 10 * 10 * 16 + 120 + 84
    assert lenet5().flops() == convolutions + pools + dense + relus


def normalized() -> Program:
    return classifier(sequential((4,), Dense(3), BatchNorm(), Dense(2)), (4,))


def test_a_program_names_its_tensors_by_model_node_and_tensor() -> None:
    program = normalized()
    trained = [
        "dense1/kernel",
        "dense1/bias",
        "batch_norm1/scale",
        "batch_norm1/shift",
        "dense2/kernel",
        "dense2/bias",
    ]
    state = ["batch_norm1/running_mean", "batch_norm1/running_variance"]
    assert set(program.parameters()) == {f"model/{name}" for name in (*trained, *state)}
    assert program.moved(program.updates[0]) == [f"model/{name}" for name in trained]
    assert program.penalized(program.updates[0]) == ["model/dense1/kernel", "model/dense2/kernel"]
    assert program.count() == 4 * 3 + 3 + 3 + 3 + 3 * 2 + 2


def test_a_model_with_several_outputs_gives_each_a_name() -> None:
    model = graph(Node("a", Dense(3), ("x",)), Node("b", Dense(2), ("x",)), outputs=("a", "b"))
    call = Call("heads", "model", ("x",))
    program = Program({"x": (4,)}, {"model": model}, (), (call,), ("heads.1", "heads"))
    assert program.output_shapes() == {"heads.1": (2,), "heads": (3,)}
    weights = program.initial(0)
    found = Reference(program, weights).predict({"x": np.eye(4)})
    assert np.array_equal(found["heads.1"], weights["model/b/kernel"])


CALL = Call("output", "model", ("x",))
TERM = Term(CrossEntropy(), ("output", "y"))

MISFITS: list[tuple[dict[str, Any], str]] = [
    (
        {"calls": (Call("output", "modell", ("x",)),)},
        "updates[0].calls[0].model: unknown name 'modell'. Did you mean 'model'?",
    ),
    ({"calls": (Call("output", "model", ("z",)),)}, "updates[0].calls[0].inputs: unknown name 'z'"),
    (
        {"calls": (Call("output", "model", ("y",)),)},
        "updates[0].calls[0].inputs: model 'model' takes [(4,)], got [()]",
    ),
    (
        {"calls": (Call("output", "model", ("x", "x")),)},
        "updates[0].calls[0].inputs: model 'model' takes [(4,)], got [(4,), (4,)]",
    ),
    ({"calls": (CALL, CALL)}, "updates[0].calls[1].name: the name 'output' is taken"),
    ({"calls": (Call("x", "model", ("x",)),)}, "updates[0].calls[0].name: the name 'x' is taken"),
    (
        {"terms": (Term(CrossEntropy(), ("outptu", "y")),)},
        "updates[0].terms[0].inputs: unknown name 'outptu'. Did you mean 'output'?",
    ),
    ({"terms": (Term(CrossEntropy(), ("y", "y")),)}, "updates[0].terms[0].loss: cross_entropy needs logits"),
    (
        {"terms": (Term(MeanSquaredError(), ("output", "x")),)},
        "updates[0].terms[0].loss: mean_squared_error needs one shape twice",
    ),
    (
        {"terms": (Term(CrossEntropy(), ("output",)),)},
        "updates[0].terms[0].loss: cross_entropy needs",
    ),
    ({"terms": ()}, "updates[0].terms: needs at least one term"),
    ({"moves": ("mode",)}, "updates[0].moves: unknown name 'mode'. Did you mean 'model'?"),
]


@pytest.mark.parametrize(("change", "message"), MISFITS)
def test_a_program_that_does_not_fit_is_refused_by_its_place(change: dict[str, Any], message: str) -> None:
    model = sequential((4,), Dense(3))
    fields: dict[str, Any] = {"name": "train", "calls": (CALL,), "terms": (TERM,), "moves": ("model",)}
    update = Update(**{**fields, **change}, optimizer=SGD(0.1))
    with pytest.raises(SpecError) as mistake:
        Program({"x": (4,), "y": ()}, {"model": model}, (update,), (CALL,), ("output",))
    assert str(mistake.value).startswith(message)


def test_names_of_models_updates_and_outputs_are_held_to_rules_too() -> None:
    model = sequential((4,), Dense(3))
    update = Update("train", (CALL,), (TERM,), ("model",), SGD(0.1))
    arrays: dict[str, Shape] = {"x": (4,), "y": ()}
    with pytest.raises(SpecError, match=r"updates\[1\].name: the name 'train' is taken"):
        Program(arrays, {"model": model}, (update, update), (CALL,), ("output",))
    with pytest.raises(SpecError, match="no slash"):
        Program(arrays, {"a/b": model}, (), (), ())
    with pytest.raises(SpecError, match="outputs: unknown name 'outptu'"):
        Program(arrays, {"model": model}, (update,), (CALL,), ("outptu",))
    with pytest.raises(SpecError, match=r"predict\[0\].model: unknown name 'net'"):
        Program(arrays, {"model": model}, (update,), (Call("output", "net", ("x",)),), ("output",))


def test_initial_weights_follow_from_the_seed() -> None:
    program = mnist_mlp()
    first, again, other = program.initial(3), program.initial(3), program.initial(4)
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["model/dense1/kernel"], other["model/dense1/kernel"])


def test_initial_weights_are_pinned() -> None:
    found = draw("model/dense1/kernel", (2, 2), "glorot_uniform", 2, 2, 0)
    assert found.tolist() == [
        [0.044386494904756546, 1.1016719341278076],
        [0.4977986812591553, -0.9410432577133179],
    ]


def test_initial_weights_do_not_depend_on_other_layers() -> None:
    small = classifier(sequential((4,), Dense(3), Dense(2)), (4,)).initial(0)
    large = classifier(
        sequential((4,), Dense(3), Dropout(0.1), BatchNorm(), Dense(2), Dense(2)), (4,)
    ).initial(0)
    for name in ("model/dense1/kernel", "model/dense2/kernel"):
        assert np.array_equal(small[name], large[name])
    assert not np.array_equal(large["model/dense2/kernel"].ravel()[:4], large["model/dense3/kernel"].ravel())


def test_initial_weights_are_float64_numbers_that_float32_can_hold() -> None:
    for value in {**lenet5().initial(0), **normalized().initial(0)}.values():
        assert value.dtype == np.float64
        assert np.array_equal(value, value.astype(np.float32).astype(np.float64))


def test_state_and_biases_begin_at_zero_and_scales_and_variances_at_one() -> None:
    for name, value in normalized().initial(0).items():
        if not name.endswith("kernel"):
            assert np.all(value == (1 if name.endswith(("scale", "variance")) else 0))


FAN_IN, FAN_OUT = 300, 200
VARIANCES: list[tuple[Any, float, float]] = [
    ("glorot_uniform", 2 / (FAN_IN + FAN_OUT), math.sqrt(6 / (FAN_IN + FAN_OUT))),
    ("he_uniform", 2 / FAN_IN, math.sqrt(6 / FAN_IN)),
    ("he_normal", 2 / FAN_IN, math.inf),
    ("lecun_normal", 1 / FAN_IN, math.inf),
]


@pytest.mark.parametrize(("initializer", "variance", "limit"), VARIANCES)
def test_initial_weights_have_the_variance_of_their_initializer(
    initializer: Any, variance: float, limit: float
) -> None:
    found = draw("kernel", (FAN_IN, FAN_OUT), initializer, FAN_IN, FAN_OUT, 0)
    assert found.var() == pytest.approx(variance, rel=0.02)
    assert abs(found.mean()) < 5 * math.sqrt(variance / found.size)
    assert np.abs(found).max() <= limit * (1 + 1e-6)
    tail = 1.0 if math.isfinite(limit) else 0.9545
    assert np.mean(np.abs(found) < 2 * math.sqrt(variance)) == pytest.approx(tail, abs=0.005)
