"""A spec's JSON: there and back, one text and fingerprint for one meaning, mistakes told by their place."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.spec import codec
from harness.spec.codec import SpecError
from harness.spec.data import Data
from harness.spec.layers import (
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    MaxPool2D,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
)
from harness.spec.losses import CrossEntropy, Loss
from harness.spec.model import Model, sequential
from harness.spec.optimizers import SGD, Adam, Optimizer
from harness.spec.penalties import L1, L2
from harness.spec.program import Call, Program, Term, Update
from harness.spec.spec import Recipe, Spec
from tests.differences import words

rates = st.floats(0, 0.99)
positive = st.floats(1e-9, 1e3)
initializers = st.sampled_from(["glorot_uniform", "he_uniform", "he_normal", "lecun_normal"])
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
paddings = st.sampled_from(["valid", "same", ((0, 1), (0, 0)), ((0, 0), (1, 1))])
wide = st.tuples(st.integers(2, 3), st.integers(2, 3))

anywhere_layers: st.SearchStrategy[Layer] = st.one_of(
    st.sampled_from([ReLU(), Sigmoid(), Tanh(), Softmax()]),
    st.builds(Dropout, rates),
    st.builds(BatchNorm, positive, rates, st.sampled_from(["biased", "unbiased"])),
)
image_layers = anywhere_layers | st.one_of(
    st.builds(Conv2D, st.integers(1, 4), pairs, pairs, paddings, st.booleans(), initializers),
    st.builds(MaxPool2D, wide, st.none() | pairs, paddings),
    st.builds(AvgPool2D, wide, st.none() | pairs, paddings),
)
vector_layers = anywhere_layers | st.builds(Dense, st.integers(1, 5), st.booleans(), initializers)
optimizers = st.builds(SGD, positive, rates) | st.builds(Adam, positive, rates, rates, positive, rates)
penalties = st.lists(st.builds(L1, positive) | st.builds(L2, positive), max_size=2).map(tuple)


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    """A classifier: layers over images as far as they fit, then over vectors."""
    image: list[Layer] = []
    for layer in draw(st.lists(image_layers, max_size=4)):
        try:
            sequential((8, 8, 2), *image, layer)
        except SpecError:
            continue
        image.append(layer)
    model = sequential((8, 8, 2), *image, Flatten(), *draw(st.lists(vector_layers, max_size=3)), Dense(3))
    call = Call("output", "model", ("x",))
    term = Term(CrossEntropy(draw(st.sampled_from(["mean", "sum"]))), ("output", "y"), draw(positive))
    update = Update("train", (call,), (term,), ("model",), draw(optimizers), draw(penalties))
    program = Program({"x": (8, 8, 2), "y": ()}, {"model": model}, (update,), (call,), ("output",))
    recipe = Recipe(draw(st.none() | st.integers(1, 64)), draw(st.integers(1, 9)))
    return Spec(program, Data("digits", draw(rates), draw(st.integers(0, 9))), recipe, ("accuracy",))


def fixed() -> Spec:
    model = sequential(
        (8, 8, 1), Conv2D(4, (3, 3), padding="same"), BatchNorm(), ReLU(), MaxPool2D(), Flatten(), Dense(10)
    )
    call = Call("output", "model", ("x",))
    term = Term(CrossEntropy(), ("output", "y"))
    update = Update("train", (call,), (term,), ("model",), Adam(), (L2(1e-4),))
    program = Program({"x": (8, 8, 1), "y": ()}, {"model": model}, (update,), (call,), ("output",))
    return Spec(program, Data("digits"), Recipe(32, 5), ("accuracy",))


GOLDEN = "c91fa2187bcc48e45dcb0875981efc8ea66c46e2ef2e0375912a695c13c1f997"


def test_the_language_has_not_changed_unnoticed() -> None:
    # A change of this value makes every record of before incomparable: raise codec.LANGUAGE with it.
    assert fixed().fingerprint("data") == GOLDEN


@settings(derandomize=True, deadline=None, max_examples=60, database=None)
@given(specs())
def test_any_spec_comes_back_from_its_json(spec: Spec) -> None:
    text = codec.canonical(spec)
    back = codec.decode(Spec, json.loads(text))
    assert back == spec
    assert codec.canonical(back) == text
    assert codec.decode(Spec, json.loads(json.dumps(codec.encode(spec)))) == spec


def reversed_keys(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: reversed_keys(data[key]) for key in reversed(data)}
    return [reversed_keys(item) for item in data] if isinstance(data, list) else data


@settings(derandomize=True, deadline=None, max_examples=20, database=None)
@given(specs())
def test_the_canonical_text_does_not_depend_on_the_order_of_keys(spec: Spec) -> None:
    turned = codec.decode(Spec, reversed_keys(codec.encode(spec)))
    assert codec.canonical(turned) == codec.canonical(spec)


def test_the_json_spells_out_every_field() -> None:
    assert codec.encode(Dense(3)) == {
        "type": "dense",
        "units": 3,
        "bias": True,
        "initializer": "glorot_uniform",
    }
    for layer in (Dense(3), MaxPool2D()):
        assert set(codec.encode(layer)) == {field.name for field in dataclasses.fields(layer)} | {"type"}


def test_defaults_may_be_left_out_when_read() -> None:
    assert codec.decode(Layer, {"type": "dense", "units": 3}) == Dense(3)
    assert codec.decode(Layer, {"type": "max_pool2d", "strides": None}) == MaxPool2D()


def test_one_and_one_point_zero_have_one_fingerprint() -> None:
    assert codec.canonical(SGD(1)) == codec.canonical(SGD(1.0))
    assert codec.fingerprint(SGD(1)) == codec.fingerprint(
        codec.decode(Optimizer, {"type": "sgd", "learning_rate": 1})
    )
    assert type(codec.encode(SGD(1))["learning_rate"]) is float
    assert codec.fingerprint(SGD(1.0)) != codec.fingerprint(SGD(2.0))


@dataclass(frozen=True)
class Steps(Optimizer):
    rates: tuple[float, ...]
    named: dict[str, float]


def test_numbers_inside_lists_and_tables_have_one_fingerprint_too() -> None:
    with words(steps=Steps):
        assert codec.canonical(Steps((1, 2), {"a": 3})) == codec.canonical(Steps((1.0, 2.0), {"a": 3.0}))


def test_every_field_is_part_of_the_fingerprint() -> None:
    spec = fixed()
    others = [
        dataclasses.replace(spec, data=Data("digits", seed=1)),
        dataclasses.replace(spec, recipe=Recipe(None, 5)),
        dataclasses.replace(spec, metrics=()),
    ]
    texts = [codec.fingerprint(spec, "data"), codec.fingerprint(spec, "other")]
    assert len({*texts, *[other.fingerprint("data") for other in others]}) == 5


def test_the_version_of_the_language_is_part_of_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    before = codec.fingerprint(Dense(1))
    monkeypatch.setattr(codec, "LANGUAGE", codec.LANGUAGE + 1)
    assert codec.fingerprint(Dense(1)) != before


def edit(*path: str | int, to: Any = None, drop: bool = False) -> Any:
    """The JSON of the fixed spec with one place changed."""
    data = json.loads(codec.canonical(fixed()))
    place = data
    for step in path[:-1]:
        place = place[step]
    if drop:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return data


NODES = ("program", "models", "model", "nodes")
CONV = (*NODES, 0, "layer")
AT_NODES = "program.models.model.nodes"
AT_CONV = f"{AT_NODES}[0].layer"
OPTIMIZER = ("program", "updates", 0, "optimizer")
AT_OPTIMIZER = "program.updates[0].optimizer"

MISTAKES: list[tuple[str, Any, str]] = [
    (
        "unknown field",
        edit(*CONV, "filter", to=3),
        f"{AT_CONV}.filter: unknown field 'filter'. Did you mean 'filters'?",
    ),
    (
        "unknown field at the top",
        edit("recepe", to={}),
        "recepe: unknown field 'recepe'. Did you mean 'recipe'?",
    ),
    ("missing field", edit(*CONV, "filters", drop=True), f"{AT_CONV}.filters: is missing"),
    (
        "missing table",
        edit("program", "models", "model", "inputs", drop=True),
        "program.models.model.inputs: is missing",
    ),
    ("string for integer", edit(*CONV, "filters", to="4"), f"{AT_CONV}.filters: must be an integer, got '4'"),
    ("float for integer", edit(*CONV, "filters", to=4.0), f"{AT_CONV}.filters: must be an integer, got 4.0"),
    ("true for integer", edit(*CONV, "filters", to=True), f"{AT_CONV}.filters: must be an integer, got True"),
    (
        "true for number",
        edit(*OPTIMIZER, "beta1", to=True),
        f"{AT_OPTIMIZER}.beta1: must be a number, got True",
    ),
    ("one for true", edit(*CONV, "bias", to=1), f"{AT_CONV}.bias: must be true or false, got 1"),
    ("number for string", edit("data", "name", to=3), "data.name: must be a string, got 3"),
    ("list for table", edit("data", to=[]), "data: must be a table, got []"),
    ("table for list", edit(*NODES, to={}), "program.models.model.nodes: must be a list, got {}"),
    (
        "null for number",
        edit(*OPTIMIZER, "beta1", to=None),
        f"{AT_OPTIMIZER}.beta1: must be a number, got None",
    ),
    ("item of a list", edit(*CONV, "size", to=[3, "3"]), f"{AT_CONV}.size[1]: must be an integer, got '3'"),
    ("wrong length", edit(*CONV, "size", to=[3, 3, 3]), f"{AT_CONV}.size: must have 2 items, got 3"),
    (
        "choice of a list: wrong length",
        edit(*CONV, "padding", to=[[1, 1]]),
        f"{AT_CONV}.padding: must have 2 items, got 1",
    ),
    (
        "choice of a list: inside",
        edit(*CONV, "padding", to=[[1, 1], [1]]),
        f"{AT_CONV}.padding[1]: must have 2 items, got 1",
    ),
    (
        "choice of words",
        edit(*CONV, "padding", to="sane"),
        f"{AT_CONV}.padding: unknown value 'sane'. Did you mean 'same'?",
    ),
    (
        "neither choice",
        edit(*CONV, "padding", to=1),
        f"{AT_CONV}.padding: unknown value '1'. There is same, valid.",
    ),
    (
        "unknown word",
        edit(*CONV, "initializer", to="he_unifrom"),
        f"{AT_CONV}.initializer: unknown value 'he_unifrom'. Did you mean 'he_uniform'?",
    ),
    (
        "unknown type",
        edit(*CONV, "type", to="conv2"),
        f"{AT_CONV}.type: unknown layer 'conv2'. Did you mean 'conv2d'?",
    ),
    ("type of another family", edit(*CONV, "type", to="adam"), f"{AT_CONV}.type: unknown layer 'adam'."),
    ("type that is no string", edit(*CONV, "type", to=["conv2d"]), f"{AT_CONV}.type: unknown layer"),
    (
        "missing type",
        edit(*OPTIMIZER, "type", drop=True),
        f"{AT_OPTIMIZER}: needs a type: one of adam, rmsprop, sgd",
    ),
    (
        "not a number",
        edit(*OPTIMIZER, "epsilon", to=math.nan),
        f"{AT_OPTIMIZER}.epsilon: must be a finite number, got nan",
    ),
    (
        "infinite",
        edit(*OPTIMIZER, "epsilon", to=math.inf),
        f"{AT_OPTIMIZER}.epsilon: must be a finite number, got inf",
    ),
    ("what the class refuses", edit(*CONV, "filters", to=0), f"{AT_CONV}.filters: must be positive, got 0"),
    (
        "what the model refuses",
        edit(*NODES, 5, "layer", to={"type": "conv2d", "filters": 1, "size": [1, 1]}),
        f"{AT_NODES}[5].layer: dense1 (conv2d): needs an image",
    ),
    (
        "an input that is not there",
        edit(*NODES, 1, "inputs", to=["conv2d"]),
        f"{AT_NODES}[1].inputs: unknown tensor 'conv2d'. Did you mean 'conv2d1'?",
    ),
    (
        "a metric that is not there",
        edit("metrics", to=["accurcy"]),
        "metrics[0]: unknown metric 'accurcy'. Did you mean 'accuracy'?",
    ),
    (
        "a model that is not there",
        edit("program", "updates", 0, "moves", to=["modl"]),
        "program.updates[0].moves: unknown name 'modl'. Did you mean 'model'?",
    ),
]


@pytest.mark.parametrize(("data", "message"), [pytest.param(*case[1:], id=case[0]) for case in MISTAKES])
def test_a_mistake_is_told_by_its_place_and_the_nearest_name(data: Any, message: str) -> None:
    with pytest.raises(SpecError) as mistake:
        codec.decode(Spec, data)
    assert str(mistake.value).startswith(message)
    assert mistake.value.exit_code == 2


BUILT_WRONG: list[tuple[Callable[[], object], str]] = [
    (lambda: Dense(3.0), "units: must be an integer, got 3.0"),  # type: ignore[arg-type]
    (lambda: Dense(np.int64(3)), "units: must be an integer"),  # type: ignore[arg-type]
    (lambda: SGD(math.inf), "learning_rate: must be a finite number, got inf"),
    (lambda: Conv2D(1, (3, 3, 3)), "size: must have 2 items, got 3"),  # type: ignore[arg-type]
    (lambda: Dense(3, initializer="he"), "initializer: unknown value 'he'"),  # type: ignore[arg-type]
]


@pytest.mark.parametrize(("build", "message"), BUILT_WRONG)
def test_what_is_built_in_python_is_held_to_the_same_rules(build: Callable[[], object], message: str) -> None:
    with pytest.raises(SpecError) as mistake:
        codec.canonical(build())
    assert str(mistake.value).startswith(message)


def test_lists_given_for_tuples_are_the_same_spec() -> None:
    loose = Conv2D(1, [3, 3])  # type: ignore[arg-type]
    assert codec.canonical(loose) == codec.canonical(Conv2D(1, (3, 3)))


@pytest.fixture
def more_words() -> Iterator[None]:
    with words(steps=Steps):
        yield


def test_a_new_member_is_known_by_its_name(more_words: None) -> None:
    steps = Steps((0.1, 0.2), {"a": 1.0})
    data = {"type": "steps", "rates": [0.1, 0.2], "named": {"a": 1.0}}
    assert codec.encode(steps) == data
    assert codec.decode(Optimizer, data) == steps


def test_words_of_one_test_are_gone_after_it() -> None:
    assert "steps" not in codec.members(Optimizer)


def test_a_model_keeps_its_meaning_whatever_the_order_of_its_inputs() -> None:
    data = json.loads(codec.canonical(sequential((3,), Dense(2))))
    data["inputs"] = {"x": data["inputs"]["x"], "aside": {"shape": [5]}}
    model = codec.decode(Model, data)
    assert list(model.inputs) == ["aside", "x"]
    assert list(codec.decode(Model, reversed_keys(codec.encode(model))).inputs) == ["aside", "x"]


def test_a_field_that_came_later_is_silent_until_it_is_used() -> None:
    assert codec.encode(CrossEntropy()) == {"type": "cross_entropy", "reduction": "mean"}
    smoothed = codec.encode(CrossEntropy(label_smoothing=0.1))
    assert smoothed == {"type": "cross_entropy", "reduction": "mean", "label_smoothing": 0.1}
    for data in ({"type": "cross_entropy", "reduction": "mean"}, smoothed):
        assert codec.encode(codec.decode(Loss, data)) == data
