"""Hidden tokens: how many, which, and what stands in their place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.data.tokens import MASK, PAD, SPECIALS, START
from harness.spec.codec import SpecError
from harness.spec.derivations import Masked, Segments, with_derived

TOKENS = 40


def masked(x: np.ndarray, **fields: Any) -> dict[str, np.ndarray]:
    return Masked(TOKENS, **fields).apply({"x": x}, "train", np.random.default_rng(0))


def texts(examples: int = 4000, time: int = 20) -> np.ndarray:
    return np.random.default_rng(1).integers(len(SPECIALS), TOKENS, (examples, time)).astype(np.int32)


def test_the_special_tokens_are_those_of_every_vocabulary() -> None:
    assert (Masked(TOKENS).mask, Masked(TOKENS).first) == (MASK, len(SPECIALS))


def test_so_many_are_hidden_of_each_text_in_three_ways() -> None:
    x = texts()
    found = masked(x)
    hidden = found["weights"] == 1
    assert set(np.unique(found["weights"])) == {0, 1}
    assert np.all(hidden.sum(1) == 3)
    assert np.array_equal(found["masked"][~hidden], x[~hidden])
    became, was = found["masked"][hidden], x[hidden]
    assert np.mean(became == MASK) == pytest.approx(0.8, abs=0.02)
    assert np.mean(became == was) == pytest.approx(0.1 + 0.1 / 35, abs=0.02)
    others = became[(became != MASK) & (became != was)]
    assert others.min() >= len(SPECIALS)
    assert others.max() < TOKENS
    # Every place has its turn.
    assert np.all(hidden.mean(0) > 0.1)


def test_padding_and_specials_stay_and_one_token_at_least_is_hidden() -> None:
    x = np.array([[START, 7, PAD, PAD], [START, 7, 8, 9]], np.int32)
    for seed in range(20):
        found = Masked(TOKENS, 0.5).apply({"x": x}, "train", np.random.default_rng(seed))
        assert found["weights"][0].tolist() == [0, 1, 0, 0]
        assert found["weights"][1].sum() == 2
        assert found["weights"][1][0] == 0


def test_what_cannot_be_hidden_is_told() -> None:
    with pytest.raises(SpecError, match="the test split has the token 40, not below 40"):
        Masked(TOKENS).apply({"x": np.array([[40]])}, "test", np.random.default_rng(0))
    with pytest.raises(SpecError, match="has an example without a token that could be hidden"):
        masked(np.array([[START, PAD]]))
    with pytest.raises(SpecError, match="tokens: must be more than the 5 special ones, got 5"):
        Masked(5)
    with pytest.raises(SpecError, match=r"needs tokens x \(time,\), got \(8, 8, 1\)"):
        with_derived({"x": (8, 8, 1)}, [Masked(TOKENS)])
    with pytest.raises(SpecError, match="there is an array 'weights' already"):
        with_derived({"x": (8,), "weights": (8,)}, [Masked(TOKENS)])


def test_a_text_is_one_segment() -> None:
    assert with_derived({"x": (8,)}, [Segments()]) == {"x": (8,), "segments": (8,)}
    found = Segments().apply({"x": texts(3)}, "train", np.random.default_rng(0))["segments"]
    assert found.dtype == np.int32
    assert not found.any()
