"""The reference runs whole programs: their gradients, training and state, and updates taken in turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from harness.spec.codec import SpecError
from harness.spec.layers import (
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    MaxPool2D,
    ReLU,
    Shape,
    Sigmoid,
    Tanh,
)
from harness.spec.losses import CrossEntropy, Loss, MeanSquaredError
from harness.spec.model import Model, sequential
from harness.spec.optimizers import SGD, Adam
from harness.spec.penalties import L1, L2
from harness.spec.program import Call, Program, Term, Update
from harness.spec.reference import Reference
from harness.spec.tape import Array, absolute, exp, log, mean, relu
from tests.differences import Values, anywhere, check_update, generator, words

IMAGE = (6, 6, 2)
CLASSES = 3


def classifier(*, dropout: float = 0.0, batch_norm: BatchNorm = BatchNorm(), **update: Any) -> Program:  # noqa: B008
    model = sequential(
        IMAGE,
        Conv2D(3, (3, 3), (2, 2), "same"),
        batch_norm,
        ReLU(),
        MaxPool2D(),
        Flatten(),
        Dropout(dropout),
        Dense(4),
        Tanh(),
        Dense(CLASSES),
    )
    call = Call("output", "model", ("x",))
    given: dict[str, Any] = {"optimizer": SGD(0.1, 0.5), "penalties": (L1(1e-2), L2(1e-2)), **update}
    moves = Update("train", (call,), (Term(CrossEntropy(), ("output", "y")),), ("model",), **given)
    return Program({"x": IMAGE, "y": ()}, {"model": model}, (moves,), (call,), ("output",))


def examples(count: int = 8, seed: int = 0) -> dict[str, Values]:
    """Images with labels that a small net can learn: the brightest of three corners."""
    x = generator(seed).normal(size=(count, *IMAGE))
    corners = np.stack([x[:, :3, :3], x[:, :3, 3:], x[:, 3:, :3]], 1).sum((2, 3, 4))
    return {"x": x, "y": np.argmax(corners, 1).astype(np.int32)}


def test_the_gradient_of_a_whole_program_is_that_of_central_differences() -> None:
    program = classifier()
    check_update(program, program.updates[0], anywhere(program.initial(0)), examples())


def test_penalties_and_weights_of_terms_add_up() -> None:
    program, batch = classifier(penalties=()), examples()
    update, tensors = program.updates[0], anywhere(program.initial(0))
    plain = Reference(program, tensors).loss(update, batch)
    weighed = replace(update, terms=(replace(update.terms[0], weight=2.5), *update.terms))
    assert Reference(program, tensors).loss(weighed, batch) == pytest.approx(3.5 * plain, rel=1e-13)
    kernels = [value for name, value in tensors.items() if name.endswith("kernel")]
    added = sum(0.2 * np.abs(k).sum() + 0.3 * (k**2).sum() for k in kernels)
    penalized = replace(update, penalties=(L1(0.2), L2(0.3)))
    assert Reference(program, tensors).loss(penalized, batch) == pytest.approx(plain + added, rel=1e-13)


@pytest.mark.parametrize("optimizer", [SGD(0.3), SGD(0.05, 0.9), Adam(0.02, weight_decay=1e-3)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_training_reduces_the_loss(optimizer: Any, dtype: Any) -> None:
    program, batch = classifier(optimizer=optimizer, penalties=()), examples(24)
    reference = Reference(program, program.initial(0), dtype)
    losses = reference.train([batch] * 50)
    assert losses[-1] < 0.5 * losses[0]
    assert {tensor.dtype for tensor in reference.tensors.values()} == {np.dtype(dtype)}
    found = reference.predict(batch)["output"]
    assert np.mean(found.argmax(-1) == batch["y"]) > 0.8


def test_one_step_is_the_optimizer_on_each_gradient() -> None:
    program, batch = classifier(optimizer=SGD(0.25), penalties=()), examples()
    reference = Reference(program, program.initial(0))
    loss, found, state = reference.loss_and_gradients(program.updates[0], batch)
    before = reference.tensors
    assert reference.train([batch]) == [loss]
    for name, gradient in found.items():
        assert np.array_equal(reference.tensors[name], before[name] - 0.25 * gradient)
    for name, value in state.items():
        assert np.array_equal(reference.tensors[name], value)
    assert set(found) | set(state) == set(before)


def test_running_statistics_are_updated_and_never_trained() -> None:
    program, batch = classifier(batch_norm=BatchNorm(momentum=0.75)), examples()
    reference = Reference(program, program.initial(0))
    _, found, state = reference.loss_and_gradients(program.updates[0], batch)
    statistics = {"model/batch_norm1/running_mean", "model/batch_norm1/running_variance"}
    assert set(state) == statistics
    assert not statistics & set(found)
    kernel = reference.tensors["model/conv2d1/kernel"]
    padded = np.pad(batch["x"], ((0, 0), (0, 1), (0, 1), (0, 0)))
    rows = [padded[:, i : i + 3, j : j + 3].reshape(8, -1) for i in (0, 2, 4) for j in (0, 2, 4)]
    convolved = np.concatenate(rows) @ kernel.reshape(-1, 3)
    reference.train([batch])
    after = reference.tensors
    assert np.allclose(after["model/batch_norm1/running_mean"], 0.25 * convolved.mean(0), rtol=1e-12)
    variance = 0.75 + 0.25 * convolved.var(0)
    assert np.allclose(after["model/batch_norm1/running_variance"], variance, rtol=1e-12)


def test_evaluation_leaves_everything_as_it_was_and_does_not_mix_examples() -> None:
    program, batch = classifier(), examples()
    reference = Reference(program, anywhere(program.initial(0)))
    before = {name: value.copy() for name, value in reference.tensors.items()}
    together = reference.predict(batch)["output"]
    alone = [reference.predict({name: value[i : i + 1] for name, value in batch.items()}) for i in range(8)]
    assert np.allclose(together, np.concatenate([each["output"] for each in alone]), rtol=1e-13)
    assert all(np.array_equal(reference.tensors[name], value) for name, value in before.items())


def test_dropout_is_drawn_in_training_and_off_in_evaluation() -> None:
    program, batch = classifier(dropout=0.5, penalties=()), examples()
    update, tensors = program.updates[0], program.initial(0)
    random = Reference(program, tensors, random=generator(1))
    assert random.loss(update, batch) != random.loss(update, batch)
    still = Reference(program.without_randomness(), tensors)
    assert still.loss(update, batch) == still.loss(update, batch)
    assert np.array_equal(random.predict(batch)["output"], still.predict(batch)["output"])


def test_float32_is_float64_but_for_rounding() -> None:
    program, batch = classifier(), examples()
    results = [
        Reference(program, program.initial(0), dtype).loss_and_gradients(program.updates[0], batch)
        for dtype in (np.float64, np.float32)
    ]
    (exact, gradients, _), (rounded, theirs, _) = results
    assert rounded == pytest.approx(exact, rel=1e-6)
    assert rounded != exact
    for name, gradient in gradients.items():
        assert theirs[name].dtype == np.float32
        assert np.allclose(theirs[name], gradient, rtol=1e-4, atol=1e-6)


@dataclass(frozen=True)
class Logistic(Loss):
    """Cross-entropy of logits (batch, 1), all real (log(1 + exp(-x))) or all made (log(1 + exp(x)))."""

    real: bool
    arity: ClassVar[int | None] = 1

    def check(self, *inputs: Shape) -> None:
        if inputs[0] != (1,):
            raise SpecError(f"needs one logit, got {inputs[0]}")

    def apply(self, *inputs: Array) -> Array:
        x = inputs[0]
        return mean(log(exp(-absolute(x)) + 1.0) + relu(-x if self.real else x))


@pytest.fixture
def language() -> Iterator[None]:
    with words(logistic=Logistic):
        yield


def gan(*, normalized: bool = True) -> Program:
    """Each step: the discriminator learns to tell real from made, then the generator to deceive it.

    Batch normalization of the discriminator takes real and made examples apart, so that their means, the only
    thing to learn here, are hidden from it.
    """
    generator_model = sequential((2,), Dense(4), BatchNorm(), ReLU(), Dense(3))
    judging = (Dense(4), BatchNorm(), Tanh(), Dense(1)) if normalized else (Dense(4), Tanh(), Dense(1))
    discriminator = sequential((3,), *judging)
    make = Call("made", "generator", ("noise",))
    judge_real, judge_made = Call("real?", "discriminator", ("x",)), Call("made?", "discriminator", ("made",))
    tell = (Term(Logistic(real=True), ("real?",)), Term(Logistic(real=False), ("made?",), 0.5))
    deceive = (Term(Logistic(real=True), ("made?",)),)
    return Program(
        {"x": (3,), "noise": (2,)},
        {"generator": generator_model, "discriminator": discriminator},
        (
            Update("tell", (make, judge_real, judge_made), tell, ("discriminator",), SGD(0.3), (L2(1e-2),)),
            Update("deceive", (make, judge_made), deceive, ("generator",), Adam(0.01, beta1=0.5)),
        ),
        (make,),
        ("made",),
    )


def noise_and_reals(count: int = 16) -> dict[str, Values]:
    random = generator(7)
    return {"x": random.normal(2.0, 0.3, size=(count, 3)), "noise": random.normal(size=(count, 2))}


def test_both_updates_of_a_gan_have_the_gradients_of_central_differences(language: None) -> None:
    program = gan()
    tensors = anywhere(program.initial(0))
    for update in program.updates:
        check_update(program, update, tensors, noise_and_reals())


def test_each_update_of_a_gan_moves_its_own_model_after_the_one_before(language: None) -> None:
    program, batch = gan(), noise_and_reals()
    tell, deceive = program.updates
    start = anywhere(program.initial(0))

    first = Reference(replace(program, updates=(tell,)), start)
    first.train([batch])
    moved = {name for name in start if not np.array_equal(first.tensors[name], start[name])}
    assert {name.split("/")[0] for name in moved if "running" not in name} == {"discriminator"}
    assert set(program.moved(tell)) <= moved

    second = Reference(replace(program, updates=(deceive,)), first.tensors)
    second.train([batch])
    for name in program.moved(tell):
        assert np.array_equal(second.tensors[name], first.tensors[name])
    for name in program.moved(deceive):
        assert not np.array_equal(second.tensors[name], first.tensors[name])

    both = Reference(program, start)
    both.train([batch])
    assert all(np.array_equal(both.tensors[name], second.tensors[name]) for name in start)


def test_a_model_called_twice_goes_on_from_the_state_its_first_call_left(language: None) -> None:
    program, batch = gan(), noise_and_reals()
    tensors = anywhere(program.initial(0))
    name = "discriminator/batch_norm1/running_mean"
    k, b = tensors["discriminator/dense1/kernel"], tensors["discriminator/dense1/bias"]
    reference = Reference(program, tensors)
    _, _, state = reference.loss_and_gradients(program.updates[0], batch)
    g = {key.removeprefix("generator/"): value for key, value in tensors.items()}
    hidden = batch["noise"] @ g["dense1/kernel"] + g["dense1/bias"]
    hidden = (hidden - hidden.mean(0)) / np.sqrt(hidden.var(0) + 1e-5) * g["batch_norm1/scale"] + g[
        "batch_norm1/shift"
    ]
    made = np.maximum(hidden, 0) @ g["dense2/kernel"] + g["dense2/bias"]
    once = 0.9 * tensors[name] + 0.1 * (batch["x"] @ k + b).mean(0)
    assert np.allclose(state[name], 0.9 * once + 0.1 * (made @ k + b).mean(0), rtol=1e-12)


def test_a_gan_learns_where_the_real_examples_lie(language: None) -> None:
    program, batch = gan(normalized=False), noise_and_reals()
    reference = Reference(program, program.initial(0))

    def distance() -> float:
        return float(np.abs(reference.predict(batch)["made"].mean(0) - 2.0).max())

    before = distance()
    reference.train([batch] * 300)
    assert distance() < 0.3 * before


def test_an_autoencoder_reconstructs_its_own_input() -> None:
    model: Model = sequential((4, 4, 1), AvgPool2D(), Flatten(), Dense(16), Sigmoid())
    flat: Model = sequential((4, 4, 1), Flatten())
    calls = (Call("made", "coder", ("x",)), Call("flat", "flat", ("x",)))
    update = Update("train", calls, (Term(MeanSquaredError(), ("made", "flat")),), ("coder",), Adam(0.05))
    program = Program({"x": (4, 4, 1)}, {"coder": model, "flat": flat}, (update,), calls, ("made",))
    batch = {"x": np.repeat(np.repeat(generator(2).uniform(size=(6, 2, 2, 1)), 2, 1), 2, 2)}
    losses = Reference(program, program.initial(0)).train([batch] * 100)
    assert losses[-1] < 0.1 * losses[0]


def test_clipping_scales_the_whole_gradient_to_its_norm() -> None:
    call = Call("output", "model", ("x",))
    term = Term(MeanSquaredError(), ("output", "y"))
    update = Update("train", (call,), (term,), ("model",), SGD(1.0), clip_norm=0.25)
    models = {"model": sequential((3,), Dense(2))}
    program = Program({"x": (3,), "y": (2,)}, models, (update,), (call,), ("output",))
    batch = {"x": generator(0).normal(size=(4, 3)), "y": np.zeros((4, 2))}
    for size in (100.0, 1e-3):
        initial = {name: value * size for name, value in program.initial(0).items()}
        reference = Reference(program, initial)
        _, found, _ = reference.loss_and_gradients(update, batch)
        norm = float(np.sqrt(sum(np.sum(gradient**2) for gradient in found.values())))
        assert (norm > 0.25) == (size == 100.0)
        reference.train([batch])
        for name, gradient in found.items():
            step = initial[name] - reference.tensors[name]
            assert np.allclose(step, gradient * min(1.0, 0.25 / norm), rtol=1e-10)


def test_decay_of_sgd_is_a_penalty_of_half_the_rate_that_no_loss_shows() -> None:
    decay, penalty = SGD(0.05, 0.9, weight_decay=0.2, decays="kernels"), SGD(0.05, 0.9)
    decayed = classifier(optimizer=decay, penalties=())
    penalized = classifier(optimizer=penalty, penalties=(L2(0.1),))
    weights = anywhere(decayed.initial(0))
    one, other = Reference(decayed, weights), Reference(penalized, weights)
    assert one.train([examples()] * 3)[0] < other.train([examples()] * 3)[0]
    for name, tensor in one.tensors.items():
        assert np.allclose(tensor, other.tensors[name], rtol=1e-12), name


def test_decay_that_is_for_kernels_alone_moves_no_bias() -> None:
    # So large an epsilon leaves nothing of the step but the decay.
    every = Adam(0.1, epsilon=1e12, weight_decay=0.5)
    for optimizer, share in ((every, 0.95), (replace(every, decays="kernels"), 1.0)):
        program = classifier(optimizer=optimizer)
        weights = anywhere(program.initial(0))
        reference = Reference(program, weights)
        reference.train([examples()])
        for name, expected in (("kernel", 0.95), ("bias", share)):
            before, after = weights[f"model/dense1/{name}"], reference.tensors[f"model/dense1/{name}"]
            assert np.allclose(after, expected * before, rtol=1e-9)
