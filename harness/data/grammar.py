"""Grammars whose entropy is known: texts are drawn from them, and what can be predicted is computed exactly.

A grammar is a set of places; at each a piece of text is chosen by chance and leads to the next place. A text
is one such walk from `start`, and since no two walks give one text, its entropy is the walk's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

START_PLACE = "start"

_WINDOWS_AT_ONCE = 128

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Choice:
    """A piece of text, not empty, how likely it is beside the others at its place, and where it leads."""

    piece: str
    weight: int
    to: str


@dataclass(frozen=True)
class Grammar:
    """Choices by place. Weights are whole numbers, so that no rounding enters what is drawn."""

    places: Mapping[str, Sequence[Choice]]

    def draw(self, characters: int, random: np.random.Generator) -> str:
        """The first so many characters of a text."""
        pieces: list[str] = []
        size, place = 0, START_PLACE
        totals = {name: sum(choice.weight for choice in choices) for name, choices in self.places.items()}
        while size < characters:
            left = int(random.integers(totals[place]))
            for choice in self.places[place]:
                left -= choice.weight
                if left < 0:
                    break
            pieces.append(choice.piece)
            size += len(choice.piece)
            place = choice.to
        return "".join(pieces)[:characters]

    def visits(self) -> dict[str, float]:
        """How often each place is come by, as a share of all steps, in a long text."""
        names = list(self.places)
        number = {name: place for place, name in enumerate(names)}
        moves = np.zeros((len(names), len(names)))
        for name, choices in self.places.items():
            for choice, share in zip(choices, _shares(choices), strict=True):
                moves[number[name], number[choice.to]] += share
        # The stationary distribution: pi (T - 1) = 0, and its sum is 1.
        equations = np.vstack([moves.T - np.eye(len(names)), np.ones(len(names))])
        found = np.linalg.lstsq(equations, np.eye(len(names) + 1)[-1], rcond=None)[0]
        return dict(zip(names, map(float, found), strict=True))

    def entropy(self) -> float:
        """Bits a character of a long text: what is chosen at each place, over how long the pieces are."""
        bits = characters = 0.0
        for name, visits in self.visits().items():
            choices = self.places[name]
            for choice, share in zip(choices, _shares(choices), strict=True):
                bits -= visits * share * math.log2(share)
                characters += visits * share * len(choice.piece)
        return bits / characters

    def surprise(self, windows: Sequence[str]) -> Floats:
        """Bits (windows, time - 1) of each character but the first of texts of one length, for who knows the
        grammar and the characters of the window before it, but not where in a text the window begins.

        By the forward recursion of hidden Markov models, whose states are the characters of all pieces.
        Raises ValueError for a text that the grammar does not give.
        """
        from scipy.sparse import csr_matrix

        states = [
            (name, index, at)
            for name, choices in self.places.items()
            for index, choice in enumerate(choices)
            for at in range(len(choice.piece))
        ]
        number = {state: place for place, state in enumerate(states)}
        shares = {name: _shares(choices) for name, choices in self.places.items()}
        visits = self.visits()
        edges: list[tuple[int, int, float]] = []
        for (name, index, at), place in number.items():
            choice = self.places[name][index]
            if at + 1 < len(choice.piece):
                edges.append((number[name, index, at + 1], place, 1.0))
            else:
                edges += [
                    (number[choice.to, following, 0], place, float(share))
                    for following, share in enumerate(shares[choice.to])
                ]
        rows, columns, values = zip(*edges, strict=True)
        moves = csr_matrix((values, (rows, columns)), shape=(len(states), len(states)))
        letters = np.array([ord(self.places[name][index].piece[at]) for name, index, at in states])
        known = np.array([visits[name] * shares[name][index] for name, index, _ in states])
        read = np.array([[ord(letter) for letter in window] for window in windows])
        found = np.empty((len(read), read.shape[1] - 1))
        for first in range(0, len(read), _WINDOWS_AT_ONCE):
            part = slice(first, first + _WINDOWS_AT_ONCE)
            _follow(moves, known, letters, read[part].T, first, found[part])
        return found


def _follow(
    moves: Any,
    known: Floats,
    letters: npt.NDArray[Any],
    read: npt.NDArray[Any],
    first: int,
    found: Floats,
) -> None:
    """Write into `found` (windows, time - 1) the bits of the letters `read` (time, windows)."""

    def conditioned(belief: Floats, seen: npt.NDArray[Any]) -> tuple[Floats, Floats]:
        left: Floats = belief * (letters[:, np.newaxis] == seen)
        likely: Floats = left.sum(0)
        if not np.all(likely > 0):
            raise ValueError(f"window {first + int(np.argmin(likely))} holds what the grammar does not give")
        return left / likely, likely

    belief, _ = conditioned(np.repeat(known[:, np.newaxis], read.shape[1], 1), read[0])
    for step, seen in enumerate(read[1:]):
        belief, likely = conditioned(moves @ belief, seen)
        found[:, step] = -np.log2(likely)


def _shares(choices: Sequence[Choice]) -> Floats:
    weights = np.array([choice.weight for choice in choices], np.float64)
    shares: Floats = weights / weights.sum()
    return shares


def _zipf(words: str, to: str, ending: str = " ") -> list[Choice]:
    """Words, each rarer than the one before it."""
    found = words.split()
    return [
        Choice(word + ending, 8 * len(found) // (place + len(found) // 8 + 1), to)
        for place, word in enumerate(found)
    ]


def _sentences() -> Grammar:
    """Sentences of English look whose verb agrees with its subject, also where another noun stands between
    them, and that may be told by another one.
    """
    one = "king child farmer sailor teacher dog bird horse fox ship"
    many = "kings children farmers sailors teachers dogs birds horses foxes ships"
    likes = {"one": "young small quiet brave tired", "many": "young small quiet brave tired"}
    verbs = {
        "one": ("sees follows likes remembers calls", "sleeps waits sings", "says thinks"),
        "many": ("see follow like remember call", "sleep wait sing", "say think"),
    }
    places: dict[str, list[Choice]] = {
        START_PLACE: [
            Choice("the ", 6, "any"),
            Choice("a ", 4, "one"),
            Choice("every ", 1, "one"),
            Choice("some ", 3, "many"),
            Choice("two ", 1, "many"),
        ],
        "any": [*_zipf(one, "one verb"), *_zipf(many, "many verb")],
        "object": [Choice("the ", 5, "thing"), Choice("no ", 1, "thing")],
        "thing": [*_zipf(one, "end", ""), *_zipf(many, "end", "")],
        "end": [
            Choice(".\n", 7, START_PLACE),
            Choice(", and ", 2, START_PLACE),
            Choice(" today.\n", 1, START_PLACE),
        ],
    }
    for number, nouns in (("one", one), ("many", many)):
        noun, verb, other = f"{number} noun", f"{number} verb", f"{number} other"
        transitive, intransitive, speaking = verbs[number]
        own = _zipf(nouns, verb)
        places[number] = [*own, *_zipf(likes[number], noun)]
        places[noun] = own
        said = [
            *_zipf(transitive, "object"),
            *_zipf(intransitive, "end", ""),
            *_zipf(speaking, START_PLACE, " that "),
        ]
        places[verb] = [*said, Choice("near the ", 30, other), Choice("behind the ", 15, other)]
        places[other] = [*_zipf(one, f"{number} last"), *_zipf(many, f"{number} last")]
        places[f"{number} last"] = said
    return Grammar(places)


SENTENCES = _sentences()
