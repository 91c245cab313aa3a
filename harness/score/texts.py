"""What trained contenders generate, as texts: how many tokens they are asked for, BLEU, and a few to read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.data.tokens import decode
from harness.score.case import Case, ScoreError
from harness.spec.spec import Spec
from harness.worker.job import Generating

SHOWN = 4
"""Examples that are kept to be read."""

PROMPT = 16
"""Tokens of its own that a text is continued from, or half of them where it is shorter."""


def translates(spec: Spec) -> bool:
    """Whether tokens are generated from something else than their own beginning."""
    program = spec.program
    return program.generates is not None and len(program.models[program.generates.model].inputs) > 1


def generating(spec: Spec, examples: int) -> Generating | None:
    """What a worker is asked to generate for a test split of so many examples; None where the program
    generates nothing.

    A translation begins with its first token, which is `<start>`, and is had of all examples where they are
    scored; a text goes on from its own beginning, which is had of a few.
    """
    program = spec.program
    if program.generates is None:
        return None
    (time,) = program.arrays[program.tokens_array()]
    if translates(spec):
        return Generating(1, time - 1, examples if "bleu" in spec.metrics else min(SHOWN, examples))
    prompt = max(1, min(PROMPT, time // 2))
    return Generating(prompt, time - prompt, min(SHOWN, examples))


def bleu(case: Case) -> float:
    """Of the greedy translations of the whole test split, against the texts of `y`. A token that is not known
    is never right: it is a sign of its own in the reference, and nothing in the translation.
    """
    from sacrebleu.metrics.bleu import BLEU

    references = [decode(row, case.vocabulary) for row in case.test["y"]]
    if case.generated is None or len(case.generated) != len(references):
        raise ScoreError("needs translations of the whole test split")
    found = [decode(row, case.vocabulary, unknown="") for row in case.generated]
    return min(100.0, float(BLEU().corpus_score(found, [references]).score))


@dataclass(frozen=True)
class Read:
    """Texts of the first test examples: what is `given`, what is `true`, and what was `found`."""

    given: list[str]
    true: list[str]
    found: list[str]


def read(case: Case) -> Read:
    """What there is to read. Raises ScoreError where nothing was generated."""
    if case.generated is None:
        raise ScoreError("no tokens were generated")
    rows = case.generated[:SHOWN]
    count = len(rows)
    array = case.spec.program.tokens_array()
    own = np.asarray(case.test[array][:count])
    if translates(case.spec):
        given, true = np.asarray(case.test["x"][:count]), np.asarray(case.test["y"][:count])
    else:
        prompt = own.shape[1] - rows.shape[1]
        given, true = own[:, :prompt], own[:, prompt:]
    return Read(*([_text(row, case.vocabulary) for row in part] for part in (given, true, rows)))


def _text(row: np.ndarray, vocabulary: tuple[str, ...]) -> str:
    """A text on one line."""
    return decode(row, vocabulary).replace("\n", " / ")
