"""A program with every word of the language in it, and the files that prove a contender on it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from harness.plan.proof_files import save_arrays, write_proof
from harness.spec.codec import encode
from harness.spec.layers import (
    GELU,
    Add,
    AvgPool2D,
    BatchNorm,
    Concatenate,
    Conv2D,
    Conv2DTranspose,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Reshape,
    Sigmoid,
    Softmax,
    Tanh,
    Upsample2D,
)
from harness.spec.losses import BinaryCrossEntropy, CrossEntropy, MeanSquaredError, Yolo
from harness.spec.model import Model, Network, sequential
from harness.spec.optimizers import SGD, Adam, RMSProp
from harness.spec.penalties import L1, L2
from harness.spec.program import Call, Program, Term, Update
from harness.spec.schedules import Cosine, StepDecay
from harness.worker.job import write_json
from tests.sequence_ground import SEQUENCES, TOKENS

SHAPE = (8, 8, 1)
CLASSES = 10
BATCH = 16
EXAMPLES = 160
EPSILON = 1e-4
"""Adam's, large enough to be seen: at 1e-8 its place moves less than float32 loses by itself."""


def images() -> Model:
    """Convolutions with even and uneven padding, both poolings, both running variances, dropout."""
    return sequential(
        SHAPE,
        Conv2D(4, (3, 3), padding="same"),
        BatchNorm(),
        ReLU(),
        MaxPool2D(),
        Conv2D(6, (2, 2), strides=(2, 2), padding=((1, 0), (0, 1)), bias=False),
        Conv2D(6, (4, 4), strides=(2, 2), padding="same"),
        Tanh(),
        MaxPool2D((2, 2), strides=(1, 1), padding="same"),
        AvgPool2D((2, 2), strides=(1, 1), padding="same"),
        Flatten(),
        Dense(24),
        BatchNorm(momentum=0.8, running_variance="unbiased"),
        Sigmoid(),
        Dropout(0.3),
        Dense(24),
        Tanh(),
        Dense(CLASSES),
    )


def codes() -> Model:
    """A dense autoencoder with a softmax code."""
    return sequential((12,), Dense(6, initializer="he_normal"), Softmax(), Dense(12), Sigmoid())


def branches() -> Model:
    """Branches that are added and joined; transposed and depthwise convolutions; every other layer."""
    net = Network(SHAPE)
    stem = net.chain("x", Conv2D(4, (3, 3), padding="same"), LeakyReLU(0.1))
    short = net.chain(stem, DepthwiseConv2D((3, 3), padding="same", multiplier=1), BatchNorm())
    summed = net.add(Add(), stem, short)
    down = net.chain(summed, DepthwiseConv2D((3, 3), (2, 2), "same", multiplier=2, bias=False), GELU())
    up = net.chain(down, Conv2DTranspose(3, (3, 3), (2, 2), "same"), LayerNorm())
    grown = net.chain(down, Upsample2D((2, 2)), Conv2D(2, (1, 1)), GELU("tanh"))
    joined = net.add(Concatenate(), summed, up, grown)
    wide = net.chain(joined, Conv2DTranspose(4, (4, 4), (2, 2), bias=False), Tanh())
    pooled = net.chain(wide, GlobalAvgPool2D(), LayerNorm(), Dense(18), Reshape((3, 3, 2)))
    out = net.chain(pooled, Conv2DTranspose(3, (2, 2), (1, 1), "same"), Flatten(), Dense(CLASSES))
    return net.model(out)


def vectors() -> Model:
    """Vectors that are normalized, added and joined."""
    net = Network((12,))
    stem = net.chain("x", Dense(16), Sigmoid(), LayerNorm())
    deep = net.chain(stem, Dense(16), Tanh())
    joined = net.add(Concatenate(), net.add(Add(), stem, deep), deep)
    return net.model(net.add(Dense(CLASSES), joined))


def grid() -> Model:
    """A vector made an image, by a transposed and a depthwise convolution, and a vector again."""
    return sequential(
        (12,),
        Dense(18),
        Reshape((3, 3, 2)),
        Conv2DTranspose(4, (3, 3), (2, 2), "same"),
        DepthwiseConv2D((3, 3), (2, 2), "same", multiplier=2),
        GlobalAvgPool2D(),
        Dense(CLASSES),
    )


def one_update(
    arrays: dict[str, tuple[int, ...]], model: Model, loss: Any, *inputs: str, **more: Any
) -> Program:
    """A model on x, one loss term of its output and `inputs`."""
    call = Call("output", "model", ("x",))
    update = Update("train", (call,), (Term(loss, ("output", *inputs)),), ("model",), **more)
    return Program(arrays, {"model": model}, (update,), (call,), ("output",))


def gan() -> Program:
    """A generator and a discriminator of images."""
    generator = sequential(
        (6,),
        Dense(16, bias=False),
        Reshape((2, 2, 4)),
        BatchNorm(),
        ReLU(),
        Conv2DTranspose(4, (4, 4), (2, 2), "same", bias=False),
        BatchNorm(),
        ReLU(),
        Conv2DTranspose(1, (4, 4), (2, 2), "same"),
        Sigmoid(),
    )
    discriminator = sequential(
        SHAPE,
        Conv2D(4, (4, 4), (2, 2), "same"),
        LeakyReLU(),
        Conv2D(8, (4, 4), (2, 2), "same", bias=False),
        BatchNorm(),
        LeakyReLU(),
        Flatten(),
        Dense(1),
    )
    return adversaries(generator, discriminator)


def adversaries(generator: Model, discriminator: Model) -> Program:
    """A generator from noise and a discriminator, each moved by its own update."""
    make = Call("made", "generator", ("noise",))
    judge_real, judge_made = Call("real?", "discriminator", ("x",)), Call("made?", "discriminator", ("made",))
    real, false = BinaryCrossEntropy(1.0), BinaryCrossEntropy(0.0)
    optimizer = Adam(1e-3, beta1=0.5, epsilon=EPSILON)
    tell = (Term(real, ("real?",)), Term(false, ("made?",), 0.5))
    return Program(
        {"x": discriminator.inputs["x"].shape, "noise": (6,)},
        {"generator": generator, "discriminator": discriminator},
        (
            Update("tell", (make, judge_real, judge_made), tell, ("discriminator",), optimizer),
            Update("deceive", (make, judge_made), (Term(real, ("made?",)),), ("generator",), optimizer),
        ),
        (make,),
        ("made",),
    )


_DOWN = (Conv2D(4, (3, 3), (2, 2), "same"), LeakyReLU())
VISION = {
    "branches": one_update(
        {"x": SHAPE, "y": ()},
        branches(),
        CrossEntropy(label_smoothing=0.1),
        "y",
        optimizer=SGD(Cosine(0.1, 8, end=0.01, warmup=3), momentum=0.9),
        clip_norm=0.5,
    ),
    "pixels": one_update(
        {"x": SHAPE, "labels": (8, 8)},
        sequential(SHAPE, *_DOWN, Upsample2D(), Conv2D(CLASSES, (3, 3), padding="same")),
        CrossEntropy(),
        "labels",
        optimizer=RMSProp(StepDecay(1e-2, 4, 0.5), epsilon=EPSILON),
    ),
    "masks": one_update(
        {"x": SHAPE, "mask": SHAPE},
        sequential(SHAPE, *_DOWN, Conv2DTranspose(1, (2, 2), (2, 2))),
        BinaryCrossEntropy(),
        "mask",
        optimizer=Adam(Cosine(1e-2, 20), epsilon=EPSILON, weight_decay=0.1),
    ),
    "detector": one_update(
        {"x": SHAPE, "boxes": (4, 4, 2, 5), "classes": (4, 4, 2)},
        sequential(SHAPE, *_DOWN, Conv2D(2 * 8, (1, 1))),
        Yolo(2),
        "boxes",
        "classes",
        optimizer=Adam(epsilon=EPSILON),
        clip_norm=10.0,
    ),
    "gan": gan(),
    "gelu": one_update(
        {"x": (12,), "y": ()},
        sequential(
            (12,),
            Dense(16),
            BatchNorm(),
            GELU(),
            Dense(16),
            BatchNorm(momentum=0.8, running_variance="unbiased"),
            GELU("tanh"),
            Dense(CLASSES),
        ),
        CrossEntropy(),
        "y",
        optimizer=SGD(StepDecay(0.1, 4, warmup=2)),
    ),
}
"""What vision adds: in `branches` every layer, in the others the losses, optimizers and a second update."""

SMALL = {
    "vectors": one_update(
        {"x": (12,), "y": ()},
        vectors(),
        CrossEntropy(label_smoothing=0.1),
        "y",
        optimizer=SGD(Cosine(0.1, 8, end=0.01, warmup=3), momentum=0.9, weight_decay=0.1, decays="kernels"),
        clip_norm=2.0,
    ),
    "grid": one_update({"x": (12,), "y": ()}, grid(), CrossEntropy(), "y", optimizer=SGD(0.1)),
    "duel": adversaries(
        sequential((6,), Dense(16), ReLU(), Dense(12)),
        sequential((12,), Dense(16), BatchNorm(), LeakyReLU(), Dense(1)),
    ),
}
"""Words of vision again, in programs that take a compiler little time: for one fault after another."""

PROGRAMS = {
    "momentum": one_update(
        {"x": SHAPE, "y": ()},
        images(),
        CrossEntropy(),
        "y",
        optimizer=SGD(0.05, momentum=0.9, weight_decay=1e-2),
        penalties=(L1(1e-4), L2(1e-3)),
    ),
    "adamw": one_update(
        {"x": (12,), "y": ()},
        vectors(),
        CrossEntropy(),
        "y",
        optimizer=Adam(1e-3, epsilon=EPSILON, weight_decay=0.1),
    ),
    "summed": one_update(
        {"x": (12,), "y": ()}, vectors(), CrossEntropy("sum"), "y", optimizer=SGD(1e-3, weight_decay=0.1)
    ),
    "autoencoder": one_update({"x": (12,)}, codes(), MeanSquaredError(), "x", optimizer=Adam()),
    **VISION,
    **SMALL,
    **SEQUENCES,
}


HIGHEST = {"y": 3, "labels": CLASSES, "classes": 3, "target": TOKENS, "next": TOKENS}
"""Of arrays of integers: what they stay below."""


def arrays(program: Program) -> dict[str, np.ndarray]:
    """Random numbers; tokens, classes, and lengths with the weights of as many positions."""
    random = np.random.Generator(np.random.PCG64(7))
    found: dict[str, np.ndarray] = {}
    inputs = {name: given for model in program.models.values() for name, given in model.inputs.items()}
    for name, shape in program.arrays.items():
        if name == "lengths":
            found[name] = random.integers(1, program.arrays["x"][0] + 1, EXAMPLES).astype(np.int32)
        elif name == "weights":
            real = np.arange(*shape) < random.integers(1, shape[0] + 1, (EXAMPLES, 1))
            found[name] = real.astype(np.float32)
        elif name in HIGHEST or (name in inputs and inputs[name].dtype == "int"):
            high = HIGHEST.get(name, TOKENS)
            found[name] = random.integers(0, high, (EXAMPLES, *shape)).astype(np.int32)
        else:
            found[name] = random.random((EXAMPLES, *shape)).astype(np.float32)
        if name == "boxes":
            found[name][..., 0] = found[name][..., 0] > 0.7
    return found


def initial(program: Program) -> dict[str, np.ndarray]:
    """Initial tensors, none of them at rest: a bias of zero would hide that it is not added."""
    random = np.random.Generator(np.random.PCG64(8))
    return {
        name: (value + random.uniform(0.01, 0.1, value.shape)).astype(np.float32).astype(np.float64)
        for name, value in program.initial(0).items()
    }


def write_job(
    folder: Path,
    program: Program,
    *,
    backend: Path,
    mode: str,
    kind: str = "verify",
    data: Mapping[str, np.ndarray] | None = None,
    **changes: Any,
) -> Path:
    """A job on `program` in `folder`, with its weights, order and (once for a folder) its proof. `data` has
    EXAMPLES examples of each array; without it they are drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = arrays(program) if data is None else data
    weights = initial(program)
    if not (folder / "proof" / "tolerances.json").exists():
        write_proof(folder / "proof", program, weights, data, BATCH)
        save_arrays(folder / "weights.npz", weights)
        np.save(folder / "order.npy", np.arange(EXAMPLES, dtype=np.int32).reshape(1, -1, BATCH))
        for name, array in data.items():
            np.save(folder / f"{name}.npy", array)
    split = {name: str(folder / f"{name}.npy") for name in data}
    job: Mapping[str, Any] = {
        "schema": 1,
        "job": f"ground/{backend.name}/{kind}",
        "kind": kind,
        "backend": {"name": backend.name, "folder": str(backend)},
        "mode": mode,
        "device": "cpu",
        "threads": 1,
        "program": encode(program),
        "batch_size": BATCH,
        "metrics": ["accuracy"] if "y" in data else [],
        "data": {"train": split, "validation": split, "test": split},
        "weights": str(folder / "weights.npz"),
        "order": str(folder / "order.npy"),
        "proof": str(folder / "proof"),
        "protocol": encode_protocol(),
        "result": str(folder / f"{backend.name}-{mode}-{kind}.result.json"),
        **changes,
    }
    path = folder / f"{backend.name}-{mode}-{kind}.json"
    write_json(path, job)
    return path


def encode_protocol() -> dict[str, Any]:
    """A protocol that takes no time."""
    return {
        "warmup_seconds": 0.0,
        "block_seconds": 0.001,
        "train_blocks": 2,
        "evaluate_passes": 2,
        "learn": True,
        "curve_points": 2,
    }
