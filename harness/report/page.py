"""Writing a report's files: the page, its Markdown twin, the figures and the table of numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import jinja2
import markupsafe
import pandas as pd

import harness
from harness.analyse.run import Run
from harness.analyse.sweeps import level_names, sweeps
from harness.errors import NothingMeasured, OnespecError
from harness.report import content, figures, latency, markdown, svg, words
from harness.report.drawing import Drawing
from harness.report.palette import Look, looks
from harness.report.sweeps import draw as draw_sweep

_TEMPLATES = Path(__file__).resolve().parent / "templates"


def write(runs: list[Run], output: Path) -> Path:
    """Write the report of `runs` into the folder `output`; see `harness.report.write`."""
    if all(run.records.empty for run in runs):
        names = words.listed([run.name for run in runs])
        raise NothingMeasured(f"there is nothing to report: {names} has no record.")
    palette = looks(name for run in runs for name in run.summary["contender"])
    try:
        (output / "figures").mkdir(parents=True, exist_ok=True)
        prefixed = len(runs) > 1
        contents = [content.gather(run, _figures(run, palette, output, prefixed)) for run in runs]
        page = output / "index.html"
        page.write_text(_render("page.html.j2", contents, escaped=True), encoding="utf-8")
        (output / "report.md").write_text(_render("report.md.j2", contents, escaped=False), encoding="utf-8")
        _numbers(runs).to_csv(output / "summary.csv", index=False)
    except OSError as error:
        raise OnespecError(f"cannot write the report into {output}: {error.strerror}.") from error
    return page


def _figures(run: Run, palette: Mapping[str, Look], output: Path, prefixed: bool) -> content.Drawn:
    """Draw every figure of a run: as SVG for the page, and as PNG into `output`. The levels of a sweep share
    its figure and have none of their own.
    """

    def made(workload: str, drawing: Drawing) -> content.Figure:
        stem = slug("-".join([*([run.name] if prefixed else []), workload, drawing.name]))
        file = f"figures/{stem}.png"
        svg.png(drawing.figure, output / file)
        inline = svg.inline(drawing.figure, slug(f"{run.name}-{stem}"), drawing.alt)
        return content.Figure(drawing.title, drawing.caption, drawing.alt, inline, file)

    levels = level_names(run)
    workloads = {
        workload: tuple(made(workload, drawing) for drawing in figures.draw(run, workload, palette))
        for workload in run.workloads
        if workload not in levels
    }
    compared = {}
    for sweep in sweeps(run):
        drawing = draw_sweep(sweep, palette)
        if drawing is not None:
            compared[sweep.workload, sweep.factor] = made(sweep.workload, drawing)
    return content.Drawn(workloads, compared)


def slug(text: str) -> str:
    """The text as a part of a file's name or an element's id."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()


def _render(template: str, contents: list[content.Content], *, escaped: bool) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=escaped,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"slug": slug, "md": markdown.escape, "emphasised": _emphasised}
    return environment.get_template(template).render(
        contents=contents,
        title=words.listed([each.name for each in contents]),
        version=harness.__version__,
        latency_method=latency.METHOD,
        markdown_grid=markdown.grid,
        markdown_table=lambda run, workload: markdown.table(run, workload, everything=True),
    )


def _emphasised(text: str) -> markupsafe.Markup:
    """Markdown's `*word*` as HTML."""
    return markupsafe.Markup(re.sub(r"\*(\w+)\*", r"<em>\1</em>", str(markupsafe.escape(text))))


def _numbers(runs: list[Run]) -> pd.DataFrame:
    """The summaries of all runs, with the run in front."""
    return pd.concat([run.summary.assign(run=run.name).set_index("run").reset_index() for run in runs])
