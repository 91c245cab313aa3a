"""Derivations: arrays computed from a data set's own before any training, the same for every contender."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from harness.spec.codec import SpecError, family, member
from harness.spec.layers.base import Shape, check_positive, check_rate


@family
@dataclass(frozen=True)
class Derivation:
    """New arrays for each split, from the split's arrays and random numbers.

    `seed` draws the random numbers. They belong to the data, not to the replicate.
    """

    seed: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 2**32:
            raise SpecError(f"must lie in 0 ... 2**32 - 1, got {self.seed}", ("seed",))

    def shapes(self, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
        """The new arrays' shapes for one example, by name, from those of the arrays there are.

        Raises SpecError where an array that it needs is not there or does not fit.
        """
        raise NotImplementedError

    def apply(
        self, arrays: Mapping[str, np.ndarray], split: str, random: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """The new arrays (examples, *shape) of one split: float32, or int32 for classes.

        `random` is the split's own stream of `seed`. Raises SpecError, naming the split, for values that it
        cannot take.
        """
        raise NotImplementedError

    def counts(self, arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
        """What its rules left out of a split, from the arrays with the new ones: `{"objects dropped": 2}`."""
        return {}


@member("latent")
@dataclass(frozen=True)
class Latent(Derivation):
    """`noise` (size,): standard normal numbers, what a generator starts from."""

    size: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(size=self.size)

    def shapes(self, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
        """`noise`."""
        return {"noise": (self.size,)}

    def apply(
        self, arrays: Mapping[str, np.ndarray], split: str, random: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Drawn in float32, one example after the other."""
        return {"noise": random.standard_normal((len(arrays["x"]), self.size), np.float32)}


@member("noisy")
@dataclass(frozen=True)
class Noisy(Derivation):
    """`noisy`, like `x`: x with Gaussian noise of standard deviation `sigma`, cut off at 0 and 1.

    For x in [0, 1] (the scale "unit").
    """

    sigma: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(sigma=self.sigma)

    def shapes(self, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
        """`noisy`."""
        return {"noisy": _shape(shapes, "x")}

    def apply(
        self, arrays: Mapping[str, np.ndarray], split: str, random: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """clip(x + sigma N, 0, 1), in float32."""
        x = arrays["x"]
        if x.min() < 0 or x.max() > 1:
            raise SpecError(
                f"needs x in [0, 1], as the scale 'unit' makes it; in the {split} split it lies in "
                f"{x.min():g} ... {x.max():g}"
            )
        noise = random.standard_normal(x.shape, np.float32)
        noise *= np.float32(self.sigma)
        noise += x
        return {"noisy": np.clip(noise, 0, 1, out=noise)}


@member("one_hot")
@dataclass(frozen=True)
class OneHot(Derivation):
    """`one_hot` (classes,): 1 at the class `y`, 0 elsewhere."""

    classes: int

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(classes=self.classes)

    def shapes(self, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
        """`one_hot`."""
        return {"one_hot": (*_shape(shapes, "y"), self.classes)}

    def apply(
        self, arrays: Mapping[str, np.ndarray], split: str, random: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """No random numbers are drawn. Raises SpecError for a class that is not below `classes`."""
        y = arrays["y"]
        if y.max(initial=0) >= self.classes:
            message = f"the {split} split has the class {y.max()}, not below {self.classes}"
            raise SpecError(message, ("classes",))
        return {"one_hot": (y[..., np.newaxis] == np.arange(self.classes)).astype(np.float32)}


@member("grid")
@dataclass(frozen=True)
class Grid(Derivation):
    """`boxes` (rows, columns, anchors, 5) and `classes` (rows, columns, anchors), which the loss `yolo` holds
    a detector's output against, from `objects` (most, 5).

    An object stands in the cell that its centre is in, at the anchor whose size is most like its own: by
    intersection over union of (width, height), both in shares of the image, laid on one centre. Objects are
    placed in their order. Where the place is taken, an object goes to the next best anchor of the cell; where
    all are taken, it is dropped. No random numbers are drawn.
    """

    rows: int
    columns: int
    anchors: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive(rows=self.rows, columns=self.columns)
        if not self.anchors:
            raise SpecError("needs at least one anchor, as [width, height]", ("anchors",))
        for index, sides in enumerate(self.anchors):
            if not all(0 < side <= 1 for side in sides):
                raise SpecError(
                    f"a width and a height in shares of the image, above 0 and at most 1, got {list(sides)}",
                    ("anchors", index),
                )

    def shapes(self, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
        """`boxes` and `classes`."""
        _shape(shapes, "objects")
        place = (self.rows, self.columns, len(self.anchors))
        return {"boxes": (*place, 5), "classes": place}

    def apply(
        self, arrays: Mapping[str, np.ndarray], split: str, random: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Objects of one rank in all examples at once, in float64, rounded once."""
        objects = arrays["objects"].astype(np.float64)
        anchors = np.array(self.anchors)
        shape = (len(objects), self.rows, self.columns, len(anchors))
        boxes, classes = np.zeros((*shape, 5)), np.zeros(shape, np.int32)
        for each in np.moveaxis(objects, 1, 0):
            examples = np.flatnonzero(each[:, 0] >= 0)
            kind, across, down, width, height = each[examples].T
            column = np.minimum(across * self.columns, self.columns - 1).astype(np.int64)
            row = np.minimum(down * self.rows, self.rows - 1).astype(np.int64)
            sizes = np.stack([width, height], axis=1)
            likeness = _size_overlap(sizes, anchors)
            likeness[boxes[examples, row, column, :, 0] == 1] = -1
            best = np.argmax(likeness, axis=1)
            free = likeness[np.arange(len(best)), best] >= 0
            place = (examples[free], row[free], column[free], best[free])
            boxes[(*place, 0)] = 1
            boxes[(*place, 1)] = (across * self.columns - column)[free]
            boxes[(*place, 2)] = (down * self.rows - row)[free]
            boxes[(*place, slice(3, 5))] = np.log(sizes / anchors[best])[free]
            classes[place] = kind[free]
        return {"boxes": boxes.astype(np.float32), "classes": classes}

    def counts(self, arrays: Mapping[str, np.ndarray]) -> dict[str, int]:
        """Objects that found no place."""
        objects, placed = np.sum(arrays["objects"][..., 0] >= 0), np.sum(arrays["boxes"][..., 0] == 1)
        return {"objects without a free anchor in their cell, dropped": int(objects - placed)}


@member("masked")
@dataclass(frozen=True)
class Masked(Derivation):
    """`masked`, like the tokens `x`, of which some are hidden, and `weights` (time,), 1 where they are.

    Of an example's tokens that are not special, n in all, max(1, round(rate * n)) are drawn: eight in ten of
    them become the token `mask`, one in ten any of `first` ... `tokens` - 1, and one stays as it is (Devlin
    et al. 2019, section 3.1). Those below `first` are special.
    """

    tokens: int
    rate: float = 0.15
    mask: int = 4
    first: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_rate(rate=self.rate)
        if self.tokens <= self.first:
            raise SpecError(
                f"must be more than the {self.first} special ones, got {self.tokens}", ("tokens",)
            )

    def shapes(self, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
        """`masked` and `weights`."""
        shape = _shape(shapes, "x")
        if len(shape) != 1:
            raise SpecError(f"needs tokens x (time,), got {shape}")
        return {"masked": shape, "weights": shape}

    def apply(
        self, arrays: Mapping[str, np.ndarray], split: str, random: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """A number is drawn for each place, and the lowest ones of an example's are hidden."""
        x = arrays["x"]
        if x.max(initial=0) >= self.tokens:
            raise SpecError(
                f"the {split} split has the token {x.max()}, not below {self.tokens}", ("tokens",)
            )
        ordinary = x >= self.first
        if not np.all(ordinary.any(1)):
            raise SpecError(f"the {split} split has an example without a token that could be hidden")
        drawn = np.where(ordinary, random.random(x.shape), 2.0)
        count = np.maximum(1, np.round(self.rate * ordinary.sum(1))).astype(np.int64)
        hidden = np.argsort(np.argsort(drawn, 1), 1) < count[:, np.newaxis]
        fate = random.random(x.shape)
        other = random.integers(self.first, self.tokens, x.shape)
        masked = np.where(hidden & (fate < 0.8), self.mask, x)
        masked = np.where(hidden & (fate >= 0.9), other, masked)
        return {"masked": masked.astype(np.int32), "weights": hidden.astype(np.float32)}


@member("segments")
@dataclass(frozen=True)
class Segments(Derivation):
    """`segments`, like the tokens `x`: the part of a text that each belongs to (Devlin et al. 2019), which is
    0 for all, since a text is one part.
    """

    def shapes(self, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
        """`segments`."""
        return {"segments": _shape(shapes, "x")}

    def apply(
        self, arrays: Mapping[str, np.ndarray], split: str, random: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Zeros."""
        return {"segments": np.zeros(arrays["x"].shape, np.int32)}


def with_derived(shapes: Mapping[str, Shape], derive: Sequence[Derivation]) -> dict[str, Shape]:
    """The shapes of a data set's arrays and of those derived from them, one derivation after the other.

    Raises SpecError at `("derive", index)`.
    """
    found = dict(shapes)
    for index, derivation in enumerate(derive):
        try:
            new = derivation.shapes(found)
            for name in new:
                if name in found:
                    raise SpecError(f"there is an array {name!r} already")
        except SpecError as error:
            raise error.under("derive", index) from None
        found |= new
    return found


def _shape(shapes: Mapping[str, Shape], name: str) -> Shape:
    if name not in shapes:
        raise SpecError(f"needs the array {name!r}; there is {', '.join(shapes)}")
    return shapes[name]


def _size_overlap(sizes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    """Intersection over union (sizes, anchors) of widths and heights."""
    common = np.minimum(sizes[:, np.newaxis], anchors).prod(axis=2)
    return np.asarray(common / (sizes.prod(axis=1)[:, np.newaxis] + anchors.prod(axis=1) - common))
