"""The data of a spec: a data set by name or the user's own, and how its arrays are made."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Literal

from harness.spec import codec
from harness.spec.codec import later
from harness.spec.derivations import Derivation
from harness.spec.layers.base import check_positive, check_rate

OWN = ("csv", "images", "text", "wav")
"""The fields that name data of the user's own."""

_OWNERS = {
    "target": ("csv",),
    "kind": ("csv",),
    "column": ("csv",),
    "channels": ("images",),
    "rate": ("wav",),
    "test": OWN,
}
"""Fields that go with data of the user's own alone."""

_FOREIGN = {
    "size": ("csv", "text", "wav"),
    "length": ("images", "wav"),
    "tokens": ("images", "wav"),
    "vocabulary": ("images", "wav"),
    "horizon": OWN,
    "seconds": ("csv", "images", "text"),
}
"""Fields that mean nothing for these; whether they do for a data set of the catalogue, that says."""


@dataclass(frozen=True)
class Data:
    """A data set by name, or the user's own; and the share of its training part held out for validation.

    `seed` draws the held-out examples; it belongs to the data, not to the replicate. Of examples that follow
    each other in time the last ones are held out. `scale` is "unit" (x in [0, 1]), "standard" (x and a value
    to regress less their mean, over their standard deviation, both of what is left for training) or "none";
    without it the data set's own. `derive` adds arrays. `test_examples` is how many of the test part's first
    ones are kept; without it all.

    How arrays are made, each where it has a meaning, without it as the data set has it:

    - `size` (height, width): what images and their masks are resized to
    - `length`: the steps of a sequence: a window of a text or a series, or the most tokens of a text, which
      is cut or padded
    - `horizon`: the steps of a series to be forecast
    - `tokens`: what a text is made of, "characters", "words" (between white space) or "bpe" (byte pairs), and
      `vocabulary`, how many different ones at most, learnt from the training part, specials included
    - `seconds`: of a recording, which is cut or padded

    The user's own, each with the share `test` of it as test set:

    - `csv`: a table's file. Its column `target` is what is learnt, of the `kind` "class" or "value", and
      every other one a feature; or, with `column`, that one is a text and all others are left out
    - `images`: a folder with a subfolder for each class; images have no common size, so `size` must be given,
      and `channels` is 1 (grey) or 3
    - `text`: a file of text in UTF-8, to learn its language; `length` must be given
    - `wav`: a folder with a subfolder of recordings for each class; `seconds` and the samples a second,
      `rate`, must be given

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
    text: str | None = later(None)
    wav: str | None = later(None)
    column: str | None = later(None)
    length: int | None = later(None)
    horizon: int | None = later(None)
    tokens: Literal["characters", "words", "bpe"] | None = later(None)
    vocabulary: int | None = later(None)
    seconds: float | None = later(None)
    rate: int | None = later(None)
    test_examples: int | None = later(None)

    def __post_init__(self) -> None:
        check_rate(held_out=self.held_out)
        given = [owner for owner in OWN if getattr(self, owner) is not None]
        if len(given) > 1:
            raise codec.SpecError(f"{given[0]} names data already; there is one or the other", (given[1],))
        if not given and not self.name:
            raise codec.SpecError(
                f"is missing: a data set's name, or {_either(OWN)} for data of your own", ("name",)
            )
        self._check_places(given)
        self._check_numbers()
        if given:
            for field, value in self._defaults(given[0]).items():
                if getattr(self, field) in ("", None):
                    object.__setattr__(self, field, value)

    def _check_places(self, given: list[str]) -> None:
        """Each field is there where it has a meaning, or must be there, and nowhere else."""
        for field, owners in _OWNERS.items():
            if getattr(self, field) is not None and not set(given) & set(owners):
                raise codec.SpecError(f"goes with {_either(owners)}, data of your own", (field,))
        for field, strangers in _FOREIGN.items():
            if getattr(self, field) is not None and set(given) & set(strangers):
                raise codec.SpecError(f"has no meaning for {given[0]}", (field,))
        texts = self.text is not None or self.column is not None
        needed = {
            "csv": ("target",) if self.column is not None else ("target", "kind"),
            "images": ("size",),
            "wav": ("seconds", "rate"),
        }
        for field in [name for owner in given for name in needed.get(owner, ())] + ["length"] * texts:
            if getattr(self, field) is None:
                raise codec.SpecError("is missing", (field,))
        if self.column is not None and self.kind == "value":
            raise codec.SpecError("is 'class' for a text; values are learnt from numbers", ("kind",))
        if self.csv is not None and self.column is None:
            for field in ("length", "tokens", "vocabulary"):
                if getattr(self, field) is not None:
                    raise codec.SpecError("is for a text: name its `column`", (field,))

    def _check_numbers(self) -> None:
        if self.test is not None:
            check_positive(test=self.test)
            check_rate(test=self.test)
        for index, side in enumerate(self.size or ()):
            if side < 1:
                raise codec.SpecError(f"must be at least 1, got {side}", ("size", index))
        for field in ("length", "horizon", "vocabulary", "seconds", "rate", "test_examples"):
            value = getattr(self, field)
            if value is not None:
                check_positive(**{field: value})

    def _defaults(self, owner: str) -> dict[str, object]:
        """What is meant by a field that is left out of data of the user's own."""
        found: dict[str, object] = {"name": PurePath(getattr(self, owner)).stem, "test": 0.2}
        if owner == "images":
            found["channels"] = 3
        if self.column is not None:
            found |= {"kind": "class", "tokens": "words"}
        if owner == "text":
            found["tokens"] = "characters"
        if (self.tokens or found.get("tokens")) in ("words", "bpe"):
            found["vocabulary"] = 2000
        return found

    def without_place(self) -> Data:
        """The same wherever the user's own file or folder lies and whatever it is called."""
        for owner in OWN:
            if getattr(self, owner) is not None:
                own = {"name": "own", owner: "own"}
                return replace(self, **own)  # type: ignore[arg-type]
        return self


def _either(names: tuple[str, ...]) -> str:
    """`csv, images or wav`."""
    return " or ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
