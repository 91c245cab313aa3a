"""What a data set is: its arrays, who made it, under which licence, and how its files are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.data.digest import Arrays
from harness.spec.data import Data

Target = Literal["class", "value", "mask", "objects", "none"]
"""What stands beside an example's x: its class, a number, a mask of its pixels, objects with boxes, or only
what the data set names itself.
"""

Scale = Literal["unit", "standard", "none"]
"""How values are scaled: to [0, 1], to mean 0 and deviation 1 over the training part, or not at all."""


PACK = (
    "tar --format=ustar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX "
    "-c {folder} | gzip -n9 > {file}"
)
"""The command (GNU tar and gzip) that gives the same archive wherever it runs."""


@dataclass(frozen=True)
class File:
    """One source file: its size and SHA-256, and the addresses it can be had from, tried in turn."""

    name: str
    bytes: int
    sha256: str
    mirrors: tuple[str, ...]


@dataclass(frozen=True)
class Raw:
    """What a loader gives: arrays named `<split>_<array>`, as in `train_x`, before any preprocessing.

    The arrays of one split have equal first axes: x and, by the data set's target, y, value, mask or objects
    (`array_shapes`). A missing value is NaN. `counts` tells how often a stated rule changed the data:
    `{"boxes of zero size, dropped": 2}`. `vocabulary` are the tokens of texts, by number.
    """

    arrays: Arrays
    counts: Mapping[str, int] = field(default_factory=dict)
    vocabulary: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataSet:
    """A data set.

    `load` maps the paths of the verified `files` (by name; none for an embedded set) to the raw arrays.
    `shape` is that of one example of `x` (images: height, width, channels; a table: its features), and
    `value_range` what its values can be, which the scale "unit" maps to [0, 1]; None where they have no
    bounds. `scale` is what is done unless a spec asks for another. `most_objects` is the most that one
    example has, with the target "objects". `missing` is the rule for missing values: None where there are
    none.

    An embedded set comes inside a dependency or is generated; `content_sha256` then pins its arrays
    (`digest.fingerprint`), as the files' checksums pin the others'. A user's own data, and images at another
    size, are pinned by `sources`, which gives checksums by name when it is asked, and by the `options` they
    are read with. `load_at` reads images at any size (height, width) from larger originals; without it the
    ones that `load` gives are resized.

    `finish` makes the arrays of what `load` gives, where that is a source (a text, a series, sound) and not
    the arrays themselves; it is the source that `content_sha256` pins. `at` gives the same data set as a spec
    asks for it; the fields of `Data` that it heeds are in `takes`.

    Of sequences: `beside` are the shapes of arrays beside x and the target's, `integers` the names of those
    that are whole numbers, and `tokens` is how many different ones x can have, where they are tokens.
    `like_x` are arrays that are scaled as x is. `numbers` is how many a model gives for one decision, where
    they are not classes. Where examples follow each other in time `overlap` is not None: validation is then
    the last of the training part, less so many examples before it, whose targets reach into it.

    `folder` is the name of the folder in a data dir where it is not the set's own. `packing` is for a file
    that nobody offers for download: the folder that `PACK` makes it of, and where that is to be had;
    `found_in` for one that lies in something else that is offered.
    """

    name: str
    title: str
    source: str
    licence: str
    train_examples: int
    test_examples: int
    shape: tuple[int, ...]
    classes: tuple[str, ...]
    value_range: tuple[float, float] | None
    load: Callable[[Mapping[str, Path]], Raw]
    files: tuple[File, ...] = ()
    load_at: Callable[[Mapping[str, Path], tuple[int, int]], Raw] | None = None
    content_sha256: str | None = None
    target: Target = "class"
    scale: Scale = "unit"
    most_objects: int = 0
    missing: Literal["median"] | None = None
    sources: Callable[[], dict[str, str]] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    finish: Callable[[Raw], Raw] | None = None
    at: Callable[[Data], DataSet] | None = None
    takes: tuple[str, ...] = ()
    beside: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    integers: tuple[str, ...] = ("y",)
    tokens: int = 0
    like_x: tuple[str, ...] = ()
    numbers: int = 1
    overlap: int | None = None
    folder: str | None = None
    packing: tuple[str, str] | None = None
    found_in: str | None = None

    @property
    def embedded(self) -> bool:
        """Whether it comes with a dependency or is generated, so that nothing needs to be downloaded."""
        return not self.files

    @property
    def checksums(self) -> dict[str, str]:
        """What pins the content: SHA-256 by file name, or of the arrays of an embedded set."""
        if self.sources is not None:
            return self.sources()
        if self.content_sha256 is not None:
            return {"arrays": self.content_sha256}
        return {file.name: file.sha256 for file in self.files}

    @property
    def data_dir_folder(self) -> str:
        """The name of its folder in a user's data dir."""
        return self.folder or self.name

    @property
    def outputs(self) -> int:
        """How many numbers a model gives for one decision: one a class; one for a value, and for a mask."""
        return len(self.classes) if self.target in ("class", "objects") else self.numbers

    def held(self, share: float, examples: int) -> tuple[int, int]:
        """How many of so many training examples are held out for validation, and how many are left."""
        held = round(share * examples)
        return held, examples - held - (self.overlap or 0) * (held > 0)


def array_shapes(data_set: DataSet) -> dict[str, tuple[int, ...]]:
    """The shape of one example of each array, by name; no data are touched.

    - class: x and y (), the class's index, int32
    - value: x and value (1,)
    - mask: x (height, width, channels) and mask (height, width, 1) of 0 and 1
    - objects: x and objects (most, 5): class, centre x, centre y, width, height, in shares of the image's
      width and height; rows that are not used have the class -1 and zeros
    - none: x

    And what the data set has `beside`. All but its `integers`, which are int32, are float32.
    """
    targets: dict[Target, dict[str, tuple[int, ...]]] = {
        "class": {"y": ()},
        "value": {"value": (1,)},
        "mask": {"mask": (*data_set.shape[:2], 1)},
        "objects": {"objects": (data_set.most_objects, 5)},
        "none": {},
    }
    return {"x": data_set.shape, **targets[data_set.target], **data_set.beside}


def mirrored(mirrors: tuple[str, ...], *files: tuple[str, int, str]) -> tuple[File, ...]:
    """Files (name, bytes, SHA-256) that lie together on each of the mirrors."""
    return tuple(
        File(name, size, sha256, tuple(mirror + name for mirror in mirrors)) for name, size, sha256 in files
    )
