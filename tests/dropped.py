"""What a framework's dropout does. `python -m tests.dropped BACKEND_FOLDER MODE`, where the backend lives.

A model that is the identity and then dropout is trained on ones against ones, at a rate that moves nothing.
The loss of a step tells what share of the numbers was kept, provided that they were scaled by 1 / (1 - rate).
Prints JSON: {"shares": one a step, "evaluation": the largest difference of an evaluation from ones}.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Literal

import numpy as np

from harness.spec.layers import Dense, Dropout
from harness.spec.losses import MeanSquaredError
from harness.spec.model import sequential
from harness.spec.optimizers import SGD
from harness.spec.program import Call, Program, Term, Update
from harness.worker.backend import load_backend
from harness.worker.protocol import Built, Setting

RATE = 0.4
BATCH, WIDTH, STEPS = 64, 64, 100


def program() -> Program:
    """The identity and dropout."""
    call = Call("output", "model", ("x",))
    term = Term(MeanSquaredError(), ("output", "x"))
    update = Update("train", (call,), (term,), ("model",), SGD(1e-30))
    model = sequential((WIDTH,), Dense(WIDTH, bias=False), Dropout(RATE))
    return Program({"x": (WIDTH,)}, {"model": model}, (update,), (call,), ("output",))


def main() -> None:
    """Train, evaluate and print."""
    folder, mode = Path(sys.argv[1]), sys.argv[2]
    precision: Literal["float32"] = "float32"
    setting = Setting(mode, precision, "cpu", 1, BATCH)
    built: Built = load_backend(folder.name, folder).build(program(), setting)
    built.load({"model/dense1/kernel": np.eye(WIDTH)})
    placed = built.place({"x": np.ones((BATCH, WIDTH), np.float32)})
    staged = built.stage(placed, np.arange(BATCH, dtype=np.int32)[np.newaxis])
    kept, dropped = (RATE / (1 - RATE)) ** 2, 1.0
    losses = [built.mean_loss(built.train(staged)) for _ in range(STEPS)]
    shares = [(dropped - loss) / (dropped - kept) for loss in losses]
    (output,) = built.evaluate(staged).values()
    print(json.dumps({"shares": shares, "evaluation": float(np.abs(output - 1).max())}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
