"""The order of the batches: drawn once, with NumPy, and handed to every contender as a file."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from harness.errors import UsageError


def generator(seed: int, *stream: int) -> np.random.Generator:
    """NumPy's PCG64 seeded with `[seed, *stream]`.

    NumPy pads the seed words with zeros, so `[seed]` and `[seed, 0]` are the same stream; and a word above
    32 bits spills into the next, which is why larger seeds are refused.
    """
    if not 0 <= seed < 2**32:
        raise UsageError(f"the seed must lie in 0 ... 2**32 - 1, not {seed}")
    return np.random.Generator(np.random.PCG64([seed, *stream]))


def batch_order(examples: int, batch_size: int | None, epochs: int, seed: int) -> npt.NDArray[np.int32]:
    """Which example stands where in which batch: int32 of shape (epochs, steps per epoch, batch size).

    Every epoch is a fresh permutation of the `examples`, drawn with `generator(seed, epoch)`. Batches are
    always full: what is left over at an epoch's end is left out of that epoch. A `batch_size` of None is the
    full batch, one step an epoch.

    Raises `UsageError` where a number is below one or a batch is larger than the data.
    """
    size = examples if batch_size is None else batch_size
    numbers = {"the number of examples": examples, "the batch size": size, "the number of epochs": epochs}
    for what, number in numbers.items():
        if number < 1:
            raise UsageError(f"{what} must be at least 1, not {number}")
    if examples > np.iinfo(np.int32).max:
        raise UsageError(f"{examples} examples are more than an int32 can number")
    if size > examples:
        raise UsageError(
            f"a batch of {size} is larger than the training set of {examples} examples: "
            "choose a smaller batch, or leave the batch size out for the full batch"
        )
    steps = examples // size
    order = np.empty((epochs, steps, size), np.int32)
    for epoch in range(epochs):
        order[epoch] = generator(seed, epoch).permutation(examples)[: steps * size].reshape(steps, size)
    return order
