"""A matplotlib figure as SVG inside a page, and as PNG beside it."""

from __future__ import annotations

import html
import io
import re
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from harness.report.palette import INK, LINE, MUTED, PAPER

STYLE: dict[str, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.0,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.titlesize": 9.0,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": False,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "legend.fontsize": 8.0,
    "text.color": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
}
RASTER_DPI = 200
"""Of what is no vector in an SVG: clouds of points."""
_THEMED = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    PAPER: "var(--paper)",
}


def inline(figure: Figure, name: str, description: str) -> str:
    """The figure as an `<svg>` element: themed, scaled to its container, its ids made unique by `name`."""
    stream = io.StringIO()
    with matplotlib.rc_context(STYLE | {"svg.hashsalt": name}):
        figure.savefig(stream, format="svg", dpi=RASTER_DPI, metadata={"Date": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # An image's id follows from its pixels and is referred to by nothing: equal images would share it.
    text = re.sub(r'(<image\b[^>]*?) id="[^"]*"', r"\1", text)
    text = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', text)
    text = re.sub(r'xlink:href="#([^"]*)"', rf'href="#{name}-\1"', text)
    text = re.sub(r"url\(#([^)]*)\)", rf"url(#{name}-\1)", text)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    for colour, themed in _THEMED.items():
        text = text.replace(colour, themed)
    opening = re.search(r"<svg[^>]*>", text)
    view_box = re.search(r'viewBox="[^"]*"', text)
    assert opening is not None
    assert view_box is not None
    label = html.escape(description, quote=True)
    return f'<svg {view_box[0]} role="img" aria-label="{label}">{text[opening.end() :]}'


def png(figure: Figure, file: Path) -> None:
    """The figure as a PNG on white paper."""
    with matplotlib.rc_context(STYLE):
        figure.savefig(file, format="png", dpi=160, facecolor="white", metadata={"Software": None})
