"""What trained contenders make of test examples, side by side: the pictures of one workload.

Only what a run has kept of its outputs is drawn (see `harness.score.pictures`); without it there is nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke

from harness.analyse.run import Run
from harness.report.drawing import WIDTH_INCHES, Drawing
from harness.report.numbers import significant
from harness.report.palette import COLOURS, colour
from harness.score.pictures import SURE, Kept, Kind, path_of
from harness.spec.metrics import METRICS

MOST = 6
"""Contenders in a figure."""

_ACROSS = 3
_SHEET = 8
_TILE_PIXELS = 112
_GAP_SHARE = 0.06
_MARKERS = "o^sDvP"
_AGREED, _TOO_MUCH, _MISSED, _NEITHER = "#0072b2", "#e69f00", "#cc79a7", "#e6e9ec"


@dataclass(frozen=True)
class Chosen:
    """The contenders to be shown, by name, and how many others have pictures."""

    run: Run
    workload: str
    kept: Mapping[str, Kept]
    others: int

    @property
    def first(self) -> Kept:
        """The first contender's, whose data serve for all."""
        return next(iter(self.kept.values()))

    def of(self, name: str) -> dict[str, np.ndarray]:
        """The array `name` of each contender."""
        return {contender: each.arrays[name] for contender, each in self.kept.items()}

    def examples(self) -> str:
        """What is shown, for a caption."""
        return f"The first {len(self.first.arrays['images'])} test images, at seed {self.first.seed}"

    def choice(self) -> str:
        """That there would be more to show, for a caption."""
        return f" One contender a framework; the run has those of {self.others} more." if self.others else ""

    def told(self, counts: Mapping[str, str] | None = None) -> str:
        """Each contender with its test metric at the seed shown, and what else there is to say of it."""
        name = self.run.meta["workloads"][self.workload].get("metric")
        curves = self.run.curves
        tests = curves[
            (curves["workload"] == self.workload)
            & (curves["split"] == "test")
            & (curves["metric"] == name)
            & (curves["seed"] == self.first.seed)
        ]
        values = tests.groupby("contender")["value"].first()
        title = METRICS[name].title if name in METRICS else str(name)
        told = []
        for contender in self.kept:
            facts = [counts[contender]] if counts else []
            if contender in values:
                facts.append(f"{title} {significant(float(values[contender]))}")
            told.append(f"{contender} {', '.join(facts)}".strip())
        return "; ".join(told)


def draw(run: Run, workload: str) -> Iterator[Drawing]:
    """The pictures that the run has of the workload."""
    shown = chosen(run, workload)
    if not shown.kept or shown.first.kind == "texts":
        return
    yield _DRAWN[shown.first.kind](shown)
    if "code" in shown.first.arrays:
        yield _codes(shown)


def chosen(run: Run, workload: str) -> Chosen:
    """One contender a backend, its default mode where that has a picture, in the run's order."""
    paths = {contender: path_of(run.folder, workload, contender) for contender in run.meta["contenders"]}
    found = [contender for contender, path in paths.items() if path.is_file()]
    of_backend: dict[str, str] = {}
    for contender in sorted(found, key=lambda name: ":" in name):
        of_backend.setdefault(contender.partition(":")[0].partition("==")[0], contender)
    shown = [contender for contender in found if contender in of_backend.values()][:MOST]
    kept = {contender: Kept.read(paths[contender]) for contender in shown}
    return Chosen(run, workload, kept, len(found) - len(shown))


def _reconstructions(chosen: Chosen) -> Drawing:
    first = chosen.first.arrays
    columns = {"original": first["images"]} | ({"noisy": first["noisy"]} if "noisy" in first else {})
    columns |= chosen.of("found")
    figure, _ = _side_by_side({name: _sheet(_rgb(images), 1) for name, images in columns.items()})
    noisy = ", the noisy input that the model is given" if "noisy" in first else ""
    return Drawing(
        "reconstructions",
        "Reconstructions of test images",
        f"{chosen.examples()}: the original{noisy} and what each contender makes of it.{chosen.choice()}",
        f"Test images beside their reconstructions: {chosen.told()}",
        figure,
    )


def _samples(chosen: Chosen) -> Drawing:
    panels = {"real": chosen.first.arrays["images"], **chosen.of("found")}
    figure, axes = _panels(list(panels))
    for place, images in zip(axes, panels.values(), strict=True):
        _show(place, _sheet(_rgb(images), _SHEET))
    return Drawing(
        "samples",
        "Generated images",
        f"Real test images, then what each contender generates at seed {chosen.first.seed}, all from the "
        f"same noise.{chosen.choice()}",
        f"Sheets of real and of generated images: {chosen.told()}",
        figure,
    )


def _masks(chosen: Chosen) -> Drawing:
    images, truth = chosen.first.arrays["images"], chosen.first.arrays["truth"]
    columns = {"image": _rgb(images), "truth": _compared(truth, truth)}
    columns |= {contender: _compared(truth, found) for contender, found in chosen.of("found").items()}
    figure, _ = _side_by_side({name: _sheet(each, 1) for name, each in columns.items()}, legend=True)
    named = {"true and found": _AGREED, "found, not true": _TOO_MUCH, "true, not found": _MISSED}
    _legend(figure, [Patch(color=shade, label=label) for label, shade in named.items()])
    return Drawing(
        "masks",
        "Masks of test images",
        f"{chosen.examples()}: the image, its true mask, and each contender's held against it."
        + chosen.choice(),
        f"Masks found in test images against the true ones: {chosen.told()}",
        figure,
    )


def _detections(chosen: Chosen) -> Drawing:
    images, truth = chosen.first.arrays["images"], chosen.first.arrays["truth"]
    found = chosen.of("found")
    sheet = _sheet(_rgb(images), 1)
    figure, axes = _side_by_side({"truth": sheet} | dict.fromkeys(found, sheet), legend=True)
    _boxes(axes[0], truth, images.shape)
    for place, rows in zip(axes[1:], found.values(), strict=True):
        _boxes(place, rows, images.shape)
        _boxes(place, truth, images.shape, dashed=True)
    labels = np.unique(np.concatenate([truth, *found.values()])[:, 1].astype(int))
    _legend(figure, [Patch(color=colour(label), label=_class(chosen.first, label)) for label in labels])
    counts = {contender: f"{len(rows)} boxes" for contender, rows in found.items()}
    return Drawing(
        "detections",
        "Detections in test images",
        f"{chosen.examples()}: boxes with a confidence of at least {SURE:g}, coloured by class. Dashed: the "
        f"true ones.{chosen.choice()}",
        f"Boxes found in {len(images)} test images with {len(truth)} objects: {chosen.told(counts)}",
        figure,
    )


def _codes(chosen: Chosen) -> Drawing:
    panels = {"PCA": chosen.first.arrays["components"], **chosen.of("code")}
    labels = chosen.first.arrays["labels"].astype(int)
    figure, axes = _panels(list(panels), legend=True)
    for place, points in zip(axes, panels.values(), strict=True):
        place.set_xticks([])
        place.set_yticks([])
        handles = [_cloud(place, points[labels == label], label, chosen.first) for label in np.unique(labels)]
    _legend(figure, handles)
    size = int(chosen.first.arrays["code_size"])
    plane = "" if size == 2 else f" of {size} numbers, in its own principal plane"
    return Drawing(
        "codes",
        "The code of test examples",
        f"Each autoencoder's code{plane}, at seed {chosen.first.seed}, beside the first two principal "
        f"components of the data: {len(labels)} test examples, coloured by class, which the training was not "
        f"told. Directions and scales mean nothing.{chosen.choice()}",
        f"Codes of {len(labels)} test examples by class beside PCA's: {chosen.told()}",
        figure,
    )


def _cloud(axes: Axes, points: np.ndarray, label: int, kept: Kept) -> Line2D:
    (line,) = axes.plot(
        *points.T,
        _MARKERS[label // COLOURS % len(_MARKERS)],
        color=colour(label),
        markersize=3.2,
        markeredgewidth=0,
        alpha=0.8,
        rasterized=True,
        label=_class(kept, label),
    )
    return line


_DRAWN: Mapping[Kind, Callable[[Chosen], Drawing]] = {
    "reconstructions": _reconstructions,
    "samples": _samples,
    "masks": _masks,
    "detections": _detections,
}


def _class(kept: Kept, label: int) -> str:
    return kept.classes[label] if label < len(kept.classes) else str(label)


def _rgb(images: np.ndarray) -> np.ndarray:
    """(n, height, width, 3) of grey or coloured images."""
    return np.repeat(images, 3, -1) if images.shape[-1] == 1 else images[..., :3]


def _compared(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Masks (n, height, width) as colours: what is in both, in one, in none."""
    shades = [_NEITHER, _TOO_MUCH, _MISSED, _AGREED]
    colours = np.array([[int(shade[at : at + 2], 16) for at in (1, 3, 5)] for shade in shades], np.uint8)
    shown: np.ndarray = colours[2 * truth.astype(int) + found.astype(int)]
    return shown


def _sheet(images: np.ndarray, across: int) -> np.ndarray:
    """Images (n, height, width, 3) in rows of `across` as one with transparency, in enlarged pixels that stay
    sharp.
    """
    scale = _scale(images.shape)
    large = images.repeat(scale, 1).repeat(scale, 2)
    n, height, width, _ = large.shape
    gap = _gap(images.shape)
    rows = -(-n // across)
    sheet = np.zeros((rows * (height + gap) - gap, across * (width + gap) - gap, 4), np.uint8)
    for place, image in enumerate(large):
        top, left = (place // across) * (height + gap), (place % across) * (width + gap)
        sheet[top : top + height, left : left + width, :3] = image
        sheet[top : top + height, left : left + width, 3] = 255
    return sheet


def _scale(shape: tuple[int, ...]) -> int:
    return max(1, _TILE_PIXELS // max(shape[1:3]))


def _gap(shape: tuple[int, ...]) -> int:
    return round(_GAP_SHARE * max(shape[1:3]) * _scale(shape))


def _show(axes: Axes, sheet: np.ndarray) -> None:
    axes.imshow(sheet, interpolation="none")
    axes.set_axis_off()


def _side_by_side(sheets: Mapping[str, np.ndarray], legend: bool = False) -> tuple[Figure, list[Axes]]:
    """A column for each sheet, all of one size, with its name above."""
    columns = max(5, len(sheets))
    height, width, _ = next(iter(sheets.values())).shape
    inches = (WIDTH_INCHES / columns - 0.08) * height / width + 0.27 + 0.25 * legend
    figure = Figure(figsize=(WIDTH_INCHES, inches), layout="constrained")
    grid = figure.add_gridspec(1, columns, wspace=0.02)
    axes = [figure.add_subplot(grid[0, place]) for place in range(len(sheets))]
    for place, (name, sheet) in zip(axes, sheets.items(), strict=True):
        _show(place, sheet)
        _name(place, name)
    return figure, axes


def _panels(names: list[str], legend: bool = False) -> tuple[Figure, list[Axes]]:
    """Named square panels, `_ACROSS` in a row."""
    rows = -(-len(names) // _ACROSS)
    inches = rows * (WIDTH_INCHES / _ACROSS + 0.2) + 0.4 * legend
    figure = Figure(figsize=(WIDTH_INCHES, inches), layout="constrained")
    grid = figure.add_gridspec(rows, _ACROSS)
    axes = [figure.add_subplot(grid[divmod(place, _ACROSS)]) for place in range(len(names))]
    for place, name in zip(axes, names, strict=True):
        _name(place, name)
    return figure, axes


def _name(axes: Axes, name: str) -> None:
    axes.set_title(name.replace(":", ":\n") if len(name) > 12 else name, fontsize=8)


def _legend(figure: Figure, handles: Sequence[Artist]) -> None:
    figure.legend(handles=handles, loc="outside lower left", ncols=min(len(handles), 5), handlelength=1.4)


def _boxes(axes: Axes, rows: np.ndarray, shape: tuple[int, ...], dashed: bool = False) -> None:
    """Boxes (image, class, confidence, left, top, right, bottom) on a sheet of one column."""
    _, height, width, _ = np.array(shape) * _scale(shape)
    for image, label, _, left, top, right, bottom in rows:
        axes.add_patch(
            Rectangle(
                (left * width - 0.5, image * (height + _gap(shape)) + top * height - 0.5),
                (right - left) * width,
                (bottom - top) * height,
                fill=False,
                edgecolor="white" if dashed else colour(int(label)),
                linewidth=0.7 if dashed else 1.3,
                linestyle=(0, (2, 1.5)) if dashed else "-",
                path_effects=None if dashed else [withStroke(linewidth=2.2, foreground="black", alpha=0.35)],
            )
        )
