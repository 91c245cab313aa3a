"""Colours: one a contender, the same in every figure of a report, told apart by colour-blind readers.

Eight mid-tone colours after Okabe and Ito (https://jfly.uni-koeln.de/color/), legible on white and on
near-black; from the ninth contender on they return with another dash pattern.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a8d91", "#9a8c1f")
_DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = ("-", (0, (4, 2)), (0, (1, 1)), (0, (5, 1, 1, 1)))

# The colours that follow the page's light or dark theme; in a PNG they stay as they are.
INK = "#1c2126"
MUTED = "#68717c"
LINE = "#d8dde3"
PAPER = "#fefefe"

# The parts of the time before the steady state, told apart by lightness too.
IMPORTING, BUILDING, FIRST_STEP = "#a9b4c0", "#5d6b7a", "#2f8f9d"


@dataclass(frozen=True)
class Look:
    """How a contender is drawn."""

    colour: str
    dash: str | tuple[int, tuple[int, ...]]


COLOURS = len(_COLOURS)


def colour(place: int) -> str:
    """The colour number `place`, from the first again after the last."""
    return _COLOURS[place % len(_COLOURS)]


def looks(contenders: Iterable[str]) -> dict[str, Look]:
    """Each contender's look, from its place among the sorted names alone."""
    return {
        name: Look(colour(place), _DASHES[place // len(_COLOURS) % len(_DASHES)])
        for place, name in enumerate(sorted(set(contenders)))
    }
