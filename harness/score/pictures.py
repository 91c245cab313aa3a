"""The few examples of a contender's test outputs that a run keeps to be looked at or read, one file each.

`<run>/pictures/<workload>__<contender>.npz` holds `kind`, `seed`, `classes` and the arrays that `make` lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args
from zipfile import BadZipFile

import numpy as np

from harness.errors import UsageError
from harness.score import texts
from harness.score.case import Case
from harness.score.detection import Detections, anchors_of, detections, truth
from harness.score.reduction import plane
from harness.spec.spec import Spec

Kind = Literal["reconstructions", "samples", "masks", "detections", "texts"]

EXAMPLES: Mapping[Kind, int] = {
    "reconstructions": 6,
    "samples": 64,
    "masks": 5,
    "detections": 5,
    "texts": texts.SHOWN,
}
"""Images, or texts, that are kept of each kind."""

POINTS = 500
"""Examples whose code is kept."""

SURE = 0.3
"""The confidence from which on a detection is kept."""


@dataclass(frozen=True)
class Kept:
    """What a file holds."""

    kind: Kind
    seed: int
    classes: tuple[str, ...]
    arrays: Mapping[str, np.ndarray]

    def write(self, path: Path) -> None:
        """Write the file, there whole or not at all, and its folder where there is none."""
        path.parent.mkdir(exist_ok=True)
        partial = path.with_name(f"{path.name}.partial")
        with partial.open("wb") as file:
            classes = np.array(self.classes, np.str_)
            about = {"kind": np.array(self.kind), "seed": np.array(self.seed), "classes": classes}
            np.savez_compressed(file, allow_pickle=False, **about, **self.arrays)
        partial.replace(path)

    @staticmethod
    def read(path: Path) -> Kept:
        """The file's content. Raises UsageError where it is damaged."""
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            name, seed, classes = (arrays.pop(name) for name in ("kind", "seed", "classes"))
            (kind,) = (each for each in get_args(Kind) if each == str(name))
        except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
            raise UsageError(f"{path} cannot be read: {error}. Delete it to do without the picture") from None
        return Kept(kind, int(seed), tuple(map(str, classes)), arrays)


def path_of(run: Path, workload: str, contender: str) -> Path:
    """The file in the folder of a run, there or not."""
    return run / "pictures" / f"{workload}__{contender.replace(':', '-')}.npz"


def kind_of(spec: Spec) -> Kind | None:
    """What there is to see of the workload; None where its outputs are no picture of anything."""
    program = spec.program
    if program.generates is not None:
        return "texts"
    images = program.arrays.get("x", ())
    if len(images) != 3:
        return None
    if anchors_of(spec) is not None:
        return "detections"
    if "mask" in program.arrays:
        return "masks"
    if program.output_shapes()[program.outputs[0]] != images:
        return None
    given = {name for call in program.predict for name in call.inputs}
    return "reconstructions" if given & {"x", "noisy"} else "samples"


def make(case: Case, kind: Kind, seed: int) -> Kept:
    """The examples of a case, the first of the test split. Images are uint8 (n, height, width, channels).

    `images` of the data; `found` and, if the model is given them, `noisy` for reconstructions; `found` for
    samples; `truth` and `found` for masks (bool, (n, height, width)); `truth` and `found` for detections,
    each row image, class, confidence, left, top, right, bottom, in shares. Of an autoencoder with a code of
    two numbers or more and data with classes also `labels`, `code` and `components` (n, 2): the code, or its
    own principal plane where it has more than two numbers (`code_size`), and that of the data. Of texts
    `given`, `truth` and `found`, a text each, and `translated`, whether one answers the other or goes on.
    """
    if kind == "texts":
        read = texts.read(case)
        shown = {"given": read.given, "truth": read.true, "found": read.found}
        arrays = {name: np.array(lines, np.str_) for name, lines in shown.items()}
        return Kept(kind, seed, (), {**arrays, "translated": np.array(texts.translates(case.spec))})
    count = EXAMPLES[kind]
    images = np.asarray(case.test["x"][:count])
    bounds = min(0.0, float(images.min())), max(1.0, float(images.max()))
    arrays = {"images": _bytes(images, bounds)}
    found = case.prediction[:count]
    if kind == "detections":
        anchors = anchors_of(case.spec)
        assert anchors is not None
        arrays["truth"] = _rows(truth(case.test["objects"][:count]))
        arrays["found"] = _rows(detections(found, anchors, SURE))
    elif kind == "masks":
        arrays["truth"] = np.asarray(case.test["mask"][:count, ..., 0] > 0.5)
        arrays["found"] = np.greater(found[..., 0], 0)
    else:
        arrays["found"] = _bytes(found, bounds)
        if "noisy" in case.spec.program.arrays:
            arrays["noisy"] = _bytes(case.test["noisy"][:count], bounds)
    code = case.code
    if kind == "reconstructions" and code is not None and code.shape[1] >= 2 and "y" in case.test:
        flattened = code if code.shape[1] == 2 else plane(code, code)
        components = plane(case.train["x"], case.test["x"][:POINTS])
        arrays |= {
            "labels": np.asarray(case.test["y"][:POINTS]),
            "code": flattened[:POINTS].astype(np.float32),
            "components": components.astype(np.float32),
            "code_size": np.array(code.shape[1]),
        }
    return Kept(kind, seed, case.classes, arrays)


def _bytes(images: np.ndarray, bounds: tuple[float, float]) -> np.ndarray:
    """From black at the lower of `bounds` to white at the upper one."""
    low, high = bounds
    found: np.ndarray = np.round((np.clip(images, low, high) - low) / (high - low) * 255).astype(np.uint8)
    return found


def _rows(found: Detections) -> np.ndarray:
    about = np.stack([found.image, found.label, found.confidence], -1)
    rows: np.ndarray = np.concatenate([about, found.box], -1).astype(np.float32)
    return rows
