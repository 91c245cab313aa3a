"""What a score is computed from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from harness.errors import OnespecError
from harness.spec.metric import Arrays, prediction
from harness.spec.spec import Spec


class ScoreError(OnespecError):
    """A score that the outputs do not give, and why."""


@dataclass(frozen=True)
class Case:
    """A workload's spec, the outputs of one trained contender for the test split, by name in the program's
    order, and the arrays of the splits that they are held against. `classes` are the data set's, by number,
    and `vocabulary` its tokens. `generated` are the tokens (examples, count) that the contender generated for
    the first test examples, if any. Of the outputs there are those that a score needs.
    """

    spec: Spec
    outputs: Arrays
    train: Arrays
    test: Arrays
    classes: tuple[str, ...] = ()
    vocabulary: tuple[str, ...] = ()
    generated: np.ndarray | None = None

    @property
    def prediction(self) -> np.ndarray:
        """The first output, (examples, *shape)."""
        return prediction(self.outputs)

    @property
    def code(self) -> np.ndarray | None:
        """The second output, one row an example; None where there is none."""
        rest = list(self.outputs.values())[1:]
        return rest[0].reshape(len(rest[0]), -1) if rest else None

    @staticmethod
    def read(
        spec: Spec,
        outputs: Path,
        files: Mapping[str, Mapping[str, str]],
        classes: tuple[str, ...] = (),
        vocabulary: tuple[str, ...] = (),
    ) -> Case:
        """A case from the file that a worker left and the arrays' files by split and name.

        Raises ScoreError where a file is not what it should be.
        """
        try:
            with np.load(outputs, allow_pickle=False) as archive:
                found = {name: archive[name] for name in spec.program.outputs if name in archive.files}
                generated = archive["generated"] if "generated" in archive.files else None
            train, test = (
                {name: np.load(path, mmap_mode="r") for name, path in files[split].items()}
                for split in ("train", "test")
            )
        except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
            raise ScoreError(f"the outputs cannot be read: {error}") from error
        return Case(spec, found, train, test, classes, vocabulary, generated)


def flat(images: np.ndarray) -> np.ndarray:
    """(examples, numbers) in float64."""
    return np.asarray(images, np.float64).reshape(len(images), -1)
