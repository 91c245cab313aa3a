"""The whole spec of a workload: program, data, recipe and metrics, with its fingerprint."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Literal

from harness.errors import unknown
from harness.spec import codec
from harness.spec.codec import later
from harness.spec.derivations import Derivation
from harness.spec.layers.base import check_positive, check_rate
from harness.spec.metrics import METRICS
from harness.spec.program import Program


@dataclass(frozen=True)
class Data:
    """A data set by name, or the user's own; and the share of its training part held out for validation.

    `seed` draws the held-out examples; it belongs to the data, not to the replicate. `scale` is "unit" (x in
    [0, 1]), "standard" (x and a value to regress less their mean, over their standard deviation, both of
    what is left for training) or "none"; without it the data set's own. `size` (height, width) is what images
    and their masks are resized to; without it they are as they come. `derive` adds arrays.

    The user's own, both with the share `test` of them as test set:

    - `csv`: a table's file. Its column `target` is what is learnt, of the `kind` "class" or "value", and
      every other one a feature;
    - `images`: a folder with a subfolder for each class; images have no common size, so `size` must be given,
      and `channels` is 1 (grey) or 3.

    Their paths are seen from the suite's folder. `name` is then what reports call them: without it the file's
    or folder's name.
    """

    name: str = ""
    held_out: float = 0.2
    seed: int = 0
    scale: Literal["unit", "standard", "none"] | None = later(None)
    derive: tuple[Derivation, ...] = later(())
    csv: str | None = later(None)
    images: str | None = later(None)
    target: str | None = later(None)
    kind: Literal["class", "value"] | None = later(None)
    test: float | None = later(None)
    size: tuple[int, int] | None = later(None)
    channels: Literal[1, 3] | None = later(None)

    def __post_init__(self) -> None:
        check_rate(held_out=self.held_out)
        path = self.images if self.csv is None else self.csv
        if self.csv is not None and self.images is not None:
            raise codec.SpecError("names a table already; there is one or the other", ("images",))
        if path is None and not self.name:
            raise codec.SpecError(
                "is missing: a data set's name, or csv or images for data of your own", ("name",)
            )
        self._check_own()
        if path is not None:
            defaults: dict[str, object] = {"name": PurePath(path).stem, "test": 0.2}
            if self.images is not None:
                defaults["channels"] = 3
            for field, value in defaults.items():
                if getattr(self, field) in ("", None):
                    object.__setattr__(self, field, value)

    def _check_own(self) -> None:
        """Each field is there where it has a meaning and nowhere else."""
        owners = {
            "target": ("csv",),
            "kind": ("csv",),
            "channels": ("images",),
            "test": ("csv", "images"),
        }
        for field, allowed in owners.items():
            given = getattr(self, field) is not None
            owned = any(getattr(self, owner) is not None for owner in allowed)
            if given and not owned:
                raise codec.SpecError(f"goes with {' or '.join(allowed)}, data of your own", (field,))
            if owned and not given and field in ("target", "kind"):
                raise codec.SpecError("is missing", (field,))
        if self.images is not None and self.size is None:
            raise codec.SpecError("is missing", ("size",))
        if self.csv is not None and self.size is not None:
            raise codec.SpecError("is for images, not for a table", ("size",))
        if self.test is not None:
            check_positive(test=self.test)
            check_rate(test=self.test)
        for index, side in enumerate(self.size or ()):
            if side < 1:
                raise codec.SpecError(f"must be at least 1, got {side}", ("size", index))

    def without_place(self) -> Data:
        """The same wherever the user's own file or folder lies and whatever it is called."""
        if self.csv is not None:
            return replace(self, name="own", csv="own")
        return self if self.images is None else replace(self, name="own", images="own")


@dataclass(frozen=True)
class Recipe:
    """How long and in what bites: examples a batch (None: the whole training set) and epochs."""

    batch_size: int | None
    epochs: int

    def __post_init__(self) -> None:
        check_positive(epochs=self.epochs)
        if self.batch_size is not None:
            check_positive(batch_size=self.batch_size)


@dataclass(frozen=True)
class Spec:
    """What every contender must compute. Equal fingerprints, and only those, may be compared."""

    program: Program
    data: Data
    recipe: Recipe
    metrics: tuple[str, ...]

    def __post_init__(self) -> None:
        for index, name in enumerate(self.metrics):
            if name not in METRICS:
                raise codec.SpecError(str(unknown("metric", name, METRICS)), ("metrics", index))

    def fingerprint(self, data_fingerprint: str) -> str:
        """SHA-256 (hex) of the canonical JSON together with the data's own checksum.

        Initial weights and batch order follow from the spec and a replicate's seed, by NumPy's PCG64.
        """
        return codec.fingerprint(replace(self, data=self.data.without_place()), data_fingerprint)
