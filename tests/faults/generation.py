"""Faults in generation alone: all else is computed as it should be."""

from __future__ import annotations

from typing import Any

import numpy as np

from harness.worker.protocol import Decoder
from tests.faults.attention import ROLLED
from tests.faults.changes import at
from tests.faults.fault import Fault, changed, generating, wrapped
from tests.faults.wraps import Given, Wrapped


class PromptShort(Decoder):
    """The last token of the prompt is not read: it is generated."""

    def __init__(self, right: Decoder) -> None:
        self.right = right

    def start(self, placed: Any, prompt: int) -> None:
        self.right.start(placed, prompt - 1)
        self.right.step()

    def step(self) -> None:
        self.right.step()

    def tokens(self) -> np.ndarray:
        return self.right.tokens()[:, 1:]

    def logits(self) -> np.ndarray:
        return self.right.logits()


class Forgetful(Decoder):
    """A cache of as many tokens as the prompt has: with each new one the oldest is forgotten."""

    def __init__(self, right: Decoder, owner: Forgets) -> None:
        self.right = right
        self.owner = owner

    def start(self, placed: Any, prompt: int) -> None:
        self.prompt = prompt
        self.arrays = self.owner.placed
        self.chosen: list[np.ndarray] = []
        self._choose(placed)

    def step(self) -> None:
        tokens = np.array(self.arrays["x"])
        tokens[:, : self.prompt] = np.concatenate([tokens[:, 1 : self.prompt], self.chosen[-1]], 1)
        self.arrays = {**self.arrays, "x": tokens}
        self._choose(self.owner.built.place(self.arrays))

    def _choose(self, placed: Any) -> None:
        self.right.start(placed, self.prompt)
        self.chosen.append(self.right.tokens())

    def tokens(self) -> np.ndarray:
        return np.concatenate(self.chosen, 1)

    def logits(self) -> np.ndarray:
        return self.right.logits()


class PromptsShort(Wrapped):
    """Generates as `PromptShort` does."""

    def decoder(self, batch_size: int) -> Decoder:
        return PromptShort(self.built.decoder(batch_size))


class Forgets(Wrapped):
    """Generates as `Forgetful` does."""

    def place(self, arrays: Given) -> Any:
        self.placed = arrays
        return self.built.place(arrays)

    def decoder(self, batch_size: int) -> Decoder:
        return Forgetful(self.built.decoder(batch_size), self)


FAULTS: dict[str, Fault] = {
    "the prompt's last token generated": Fault("decoder", wrapped(PromptsShort)),
    "a cache that forgets the oldest token": Fault("decoder", wrapped(Forgets)),
    "generation one place on": Fault("decoder", generating(wrapped(ROLLED))),
    "generation from states of zero": Fault("answers", generating(changed(at("lstm2", 0, initial=False)))),
    "generation that attends to padding": Fault(
        "answers", generating(changed(at("multi_head_attention1", 0, 1, lengths=False)))
    ),
}
