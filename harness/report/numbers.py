"""Numbers as people read them: three significant digits, and a dash for what was not measured."""

from __future__ import annotations

import math
from collections.abc import Iterable

ABSENT = "\u2013"


def significant(value: float, digits: int = 3) -> str:
    """`0.4501` as 0.450, `71132.4` as 71,100, and NaN as a dash."""
    if math.isnan(value):
        return ABSENT
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    decimals = digits - 1 - exponent
    return f"{round(value, decimals):,.{max(decimals, 0)}f}"


def decimals(value: float, places: int) -> str:
    """A fixed number of decimal places: metrics of different contenders line up."""
    return ABSENT if math.isnan(value) else f"{value:.{places}f}"


def scientific(value: float) -> str:
    """`2.13e-07` as 2.1e-7; infinity, the error of values that are not finite, as such."""
    if math.isnan(value):
        return ABSENT
    if math.isinf(value):
        return "not finite"
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def percent(share: float) -> str:
    """A share as `12 %`; beyond ten times, only that."""
    if math.isnan(share):
        return ABSENT
    return "> 1,000 %" if share > 10 else f"{significant(share * 100, 2)} %"


def probability(p: float) -> str:
    """A p-value: two digits, and no more zeros than anybody believes."""
    if math.isnan(p):
        return ABSENT
    return "< 0.0001" if p < 0.0001 else significant(p, 2)


def runs_of(numbers: Iterable[int]) -> str:
    """`1, 2, 3, 5` as 1\u20133, 5."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][-1] == number - 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(str(part[0]) if len(part) == 1 else f"{part[0]}\u2013{part[-1]}" for part in parts)


def whole(value: float) -> str:
    """A count."""
    return ABSENT if math.isnan(value) else f"{int(value):,}"


def gibibytes(value: float) -> str:
    """Bytes as GiB."""
    return f"{significant(value / 2**30)} GiB"


def signed(value: float, places: int) -> str:
    """A difference, with its sign."""
    return f"+{decimals(value, places)}" if value > 0 else decimals(value, places)


def span(low: str, high: str) -> str:
    """A range of two formatted numbers, or nothing where there is none."""
    return "" if ABSENT in (low, high) else f"{low} to {high}"
