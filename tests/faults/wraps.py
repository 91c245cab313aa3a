"""What is wrong about a program that is built as it should be: its tensors, its batches, its tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.worker.protocol import Built, Decoder, Tensors

Given = Mapping[str, np.ndarray]


class Wrapped(Built):
    """A built program with something wrong about it."""

    def __init__(self, built: Built) -> None:
        self.built = built
        self.coarse_numbers = built.coarse_numbers  # type: ignore[misc]

    def load(self, tensors: Given) -> None:
        self.built.load(tensors)

    def tensors(self) -> Tensors:
        return self.built.tensors()

    def place(self, arrays: Given) -> Any:
        return self.built.place(arrays)

    def stage(self, placed: Any, order: np.ndarray) -> Any:
        return self.built.stage(placed, order)

    def train(self, staged: Any) -> Any:
        return self.built.train(staged)

    def mean_loss(self, handle: Any) -> float:
        return self.built.mean_loss(handle)

    def evaluate(self, staged: Any) -> Tensors:
        return self.built.evaluate(staged)

    def gradients(self, staged: Any, update: int) -> tuple[float, Tensors]:
        return self.built.gradients(staged, update)

    def decoder(self, batch_size: int) -> Decoder:
        return self.built.decoder(batch_size)

    def wait(self) -> None:
        self.built.wait()


@dataclass(frozen=True)
class Misread:
    """Tensors taken for others: the way there, and the way back."""

    there: Callable[[Given], Given]
    back: Callable[[Given], Given]

    def __call__(self, built: Built) -> Built:
        """The program with its tensors so misunderstood, from first to last."""
        return Misunderstood(built, self)


class Misunderstood(Wrapped):
    """Tensors come in and go out as what they are not."""

    def __init__(self, built: Built, misread: Misread) -> None:
        super().__init__(built)
        self.misread = misread

    def load(self, tensors: Given) -> None:
        self.built.load(self.misread.there(tensors))

    def tensors(self) -> Tensors:
        return dict(self.misread.back(self.built.tensors()))

    def gradients(self, staged: Any, update: int) -> tuple[float, Tensors]:
        loss, found = self.built.gradients(staged, update)
        return loss, dict(self.misread.back(found))


def layout(
    names: Sequence[str],
    there: Callable[[np.ndarray], np.ndarray],
    back: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Misread:
    """The numbers of some tensors at other places, or others. Without `back` they go out as they are."""

    def changing(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Given], Given]:
        return lambda tensors: {
            name: np.ascontiguousarray(change(tensor)) if name in names else tensor
            for name, tensor in tensors.items()
        }

    return Misread(changing(there), changing(back or (lambda tensor: tensor)))


def exchanged(*pairs: tuple[str, str]) -> Misread:
    """Of each pair each tensor is taken for the other."""
    other = {**dict(pairs), **{second: first for first, second in pairs}}

    def exchange(tensors: Given) -> Given:
        return {other.get(name, name): tensor for name, tensor in tensors.items()}

    return Misread(exchange, exchange)


def added(more: Callable[[Given], Given]) -> Misread:
    """Tensors that the right program does not have."""
    return Misread(lambda tensors: {**tensors, **more(tensors)}, lambda tensors: tensors)


@dataclass(frozen=True)
class Placed:
    """Some arrays are not what was given: `change` gives those."""

    change: Callable[[Given], Given]

    def __call__(self, built: Built) -> Built:
        """The program on such arrays."""
        return OnOtherArrays(built, self.change)


class OnOtherArrays(Wrapped):
    """Arrays are changed before they are placed."""

    def __init__(self, built: Built, change: Callable[[Given], Given]) -> None:
        super().__init__(built)
        self.change = change

    def place(self, arrays: Given) -> Any:
        return self.built.place({**arrays, **self.change(arrays)})


class BatchesSwapped(Wrapped):
    """The fourth and fifth batch change places."""

    def stage(self, placed: Any, order: np.ndarray) -> Any:
        if len(order) > 4:
            order = order[[0, 1, 2, 4, 3, *range(5, len(order))]]
        return self.built.stage(placed, order)


class GradientZeroed(Wrapped):
    """One gradient tensor does not arrive: its parameter stays where it is."""

    name = "model/dense2/kernel"

    def load(self, tensors: Given) -> None:
        self.start = tensors[self.name]
        self.built.load(tensors)

    def tensors(self) -> Tensors:
        return {**self.built.tensors(), self.name: self.start}

    def gradients(self, staged: Any, update: int) -> tuple[float, Tensors]:
        loss, found = self.built.gradients(staged, update)
        return loss, {**found, self.name: np.zeros_like(found[self.name])}


class BiasesMerged(Wrapped):
    """The sum of an LSTM's two biases is one parameter, as where there is but one; each is told half of what
    it moves, and its whole gradient.
    """

    names = ("model/lstm1/bias", "model/lstm1/recurrent_bias")

    def load(self, tensors: Given) -> None:
        one, two = self.names
        self.start = {name: np.asarray(tensors[name]) for name in self.names}
        self.built.load({**tensors, one: self.start[one] + self.start[two]})

    def tensors(self) -> Tensors:
        found = self.built.tensors()
        half = (found[self.names[0]] - sum(self.start.values())) / 2
        return {**found, **{name: start + half for name, start in self.start.items()}}

    def gradients(self, staged: Any, update: int) -> tuple[float, Tensors]:
        loss, found = self.built.gradients(staged, update)
        return loss, {**found, **dict.fromkeys(self.names, found[self.names[0]])}


class UpdatesSwapped(Wrapped):
    """Of two updates each is asked for by the other's number: evidence of one stays evidence of that one."""

    def gradients(self, staged: Any, update: int) -> tuple[float, Tensors]:
        return self.built.gradients(staged, 1 - update)


class GeneratorAlone(Wrapped):
    """Of the second update only the generator's gradient is seen, whatever else it moves."""

    def gradients(self, staged: Any, update: int) -> tuple[float, Tensors]:
        loss, found = self.built.gradients(staged, update)
        seen = found if update == 0 else {n: t for n, t in found.items() if n.startswith("generator/")}
        return loss, seen
