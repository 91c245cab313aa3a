"""Amounts as people write them: `3%`, `10m`."""

from __future__ import annotations

import argparse
import math

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def share(text: str) -> float:
    """`3%` or `0.03`. Raises ArgumentTypeError for anything that is not above 0 and below 100 %."""
    number = _number(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0 < number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 100%; write it as in 3% or 0.03")
    return number


def seconds(text: str) -> float:
    """`90s`, `10m` or `2h`. Raises ArgumentTypeError for anything that is no time above 0."""
    unit = text[-1:]
    number = _number(text[:-1]) * _SECONDS[unit] if unit in _SECONDS else math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; write it as in 90s, 10m or 2h")
    return number


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
