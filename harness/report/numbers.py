"""Numbers as people read them: three significant digits, and a dash for what was not measured."""

from __future__ import annotations

import math

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


def whole(value: float) -> str:
    """A count."""
    return ABSENT if math.isnan(value) else f"{int(value):,}"


def gibibytes(value: float) -> str:
    """Bytes as GiB."""
    return f"{significant(value / 2**30)} GiB"


def span(low: str, high: str) -> str:
    """A range of two formatted numbers, or nothing where there is none."""
    return "" if ABSENT in (low, high) else f"{low} to {high}"
