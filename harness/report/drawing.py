"""What a figure carries beside its picture."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure

WIDTH_INCHES = 6.6
# Beyond this ratio of largest to smallest, differences among the small vanish on a linear axis.
LOG_BEYOND = 20.0


@dataclass(frozen=True)
class Drawing:
    """A figure: `caption` says how to read it, `alt` tells what it shows to who cannot see it."""

    name: str
    title: str
    caption: str
    alt: str
    figure: Figure
