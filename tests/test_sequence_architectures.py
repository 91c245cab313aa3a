"""Architectures of sequences: published sizes, what they are given, and that they learn on the reference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.data.tokens import PAD
from harness.errors import UsageError
from harness.plan.architectures import Given, build_models
from harness.plan.suite import find_suite, parse_suite, read_suite
from harness.plan.tasks import TASKS, Training
from harness.plan.workloads import Workload, load_data, workloads
from harness.spec.codec import SpecError
from harness.spec.layers import LayerNorm
from harness.spec.model import Model
from harness.spec.optimizers import Adam
from harness.spec.program import Program
from harness.spec.reference import Reference

SUITES = ("sequences", "sequences-real", "sequences-cost")
TINY = {workload.name: workload for workload in workloads(read_suite(find_suite("sequences"), "tiny"))}
TRAINING = Training(Adam(1e-2))
TEXT = {"x": (128,), "y": (), "lengths": (), "segments": (128,)}
PAIR = {"x": (64,), "lengths": (), "target": (64,), "y": (64,), "weights": (64,)}


def model(name: str, given: Given, **arguments: Any) -> Model:
    return build_models(name, Path(), given, arguments)["model"]


def program(task: str, name: str, given: Given, **arguments: Any) -> Program:
    return TASKS[task].program({"model": model(name, given, **arguments)}, given.shapes, TRAINING)


# --- published sizes


def test_gpt_2_small_has_its_published_parameters() -> None:
    given = Given({"x": (128,), "y": (128,)}, 33, 33)
    found = program("language", "gpt", given, width=768, layers=12, heads=12, vocabulary=50257, places=1024)
    assert found.count() == 124_439_808


def test_bert_base_has_its_published_parameters_besides_the_classifier() -> None:
    size = {"width": 768, "layers": 12, "heads": 12, "vocabulary": 30522, "places": 512, "segments": 2}
    found = program("classify", "bert", Given(TEXT, 2, 46), **size)
    assert found.count() == 109_482_240 + 2 * (768 + 1)


def test_bert_base_for_hidden_words_has_its_published_parameters_but_a_bias_over_the_vocabulary() -> None:
    size = {"width": 768, "layers": 12, "heads": 12, "vocabulary": 30522, "places": 512, "segments": 2}
    shapes = {"x": (128,), "masked": (128,), "weights": (128,), "segments": (128,)}
    found = program("fill", "bert", Given(shapes, 33, 33), **size, head="fill")
    pooler, dense, norm = 768 * 768 + 768, 768 * 768 + 768, 2 * 768
    assert found.count() == 109_482_240 - pooler + dense + norm == 109_514_298 - 30_522


def test_the_base_transformer_has_the_papers_parameters_within_three_in_a_hundred() -> None:
    found = program(
        "translate", "transformer", Given(PAIR, 99, 99), width=512, layers=6, heads=8, vocabulary=37_000
    )
    assert found.count() == 63_082_496
    assert found.count() == pytest.approx(65e6, rel=0.03)


def test_the_suites_gpu_sizes_are_the_published_ones() -> None:
    found = {each.name: each for each in workloads(read_suite(find_suite("sequences"), "gpu"))}
    sizes = {name: each.spec.program.count() for name, each in found.items()}
    assert sizes["char-lm-gpt"] == 124_439_808
    assert sizes["text-classify-bert"] == 109_482_240 + 2 * 769
    assert sizes["masked-lm"] == 109_514_298 - 30_522
    assert sizes["translate"] == 63_082_496


# --- what they are given


def test_a_model_takes_the_lengths_that_the_data_have() -> None:
    shapes = {"x": (9, 3), "y": ()}
    assert set(model("recurrent", Given(shapes, 2), units=4).inputs) == {"x"}
    found = model("recurrent", Given({**shapes, "lengths": ()}, 2), units=4, layers=2, bidirectional=True)
    assert found.inputs["lengths"].dtype == "int"
    assert found.inputs["x"].dtype == "float"
    assert all(node.layer.lengths for node in found.nodes if hasattr(node.layer, "lengths"))
    assert model("recurrent", Given({"x": (9,), "y": ()}, 2, 11), units=4).inputs["x"].dtype == "int"


def test_pre_norm_has_one_more_normalization_at_either_end() -> None:
    given = Given(PAIR, 9, 9)
    post, pre = (
        model("transformer", given, width=8, layers=2, heads=2, norm_first=first) for first in (False, True)
    )
    counts = [sum(isinstance(node.layer, LayerNorm) for node in each.nodes) for each in (post, pre)]
    assert counts == [10, 12]


def test_a_translation_does_not_depend_on_padding() -> None:
    given = Given({name: shape and (6,) for name, shape in PAIR.items()}, 9, 9)
    for name, arguments in (
        ("transformer", {"width": 8, "layers": 1, "heads": 2}),
        ("seq2seq", {"units": 8, "embedding": 4}),
    ):
        found = program("translate", name, given, **arguments)
        reference = Reference(found, found.initial(0))
        batch = {
            "x": np.array([[5, 6, 7, PAD, PAD, PAD]]),
            "lengths": np.array([3]),
            "target": np.array([[2, 5, 6, 0, 0, 0]]),
            "y": np.zeros((1, 6), int),
            "weights": np.ones((1, 6)),
        }
        other = {**batch, "x": np.array([[5, 6, 7, 8, 8, 8]])}
        first, second = (reference.predict(each)["output"] for each in (batch, other))
        assert np.allclose(first, second)
        moved = {**batch, "target": np.array([[2, 5, 6, 7, 8, 8]])}
        assert np.allclose(first[:, :3], reference.predict(moved)["output"][:, :3])


def test_tasks_read_what_their_models_take() -> None:
    given = Given({"x": (8,), "masked": (8,), "weights": (8,)}, 9, 9)
    found = program("fill", "bert", given, width=8, layers=1, heads=2, head="fill")
    assert found.predict[0].inputs == ("masked",)
    assert found.updates[0].terms[0].inputs == ("output", "x", "weights")
    translate = program("translate", "seq2seq", Given(PAIR, 9, 9), units=4)
    assert translate.predict[0].inputs == ("lengths", "target", "x")
    assert translate.tokens_array() == "target"
    assert program(
        "language", "gpt", Given({"x": (8,), "y": (8,)}, 9, 9), width=8, layers=1, heads=2
    ).generates


def test_a_language_model_that_looks_ahead_is_refused() -> None:
    given = Given({"x": (8,), "y": (8,)}, 9, 9)
    with pytest.raises(SpecError, match="attends to tokens that are not there yet"):
        program("language", "bert", given, width=8, layers=1, heads=2, head="fill")


OWN = """
title = "mine"
contenders = ["torch"]
[[workload]]
name = "mine"
metrics = ["accuracy"]
data = { name = "DATA" }
optimizer = { type = "sgd", learning_rate = 0.1 }
recipe = { batch_size = 8, epochs = 1 }
"""


def test_a_model_of_numbers_is_not_given_tokens(tmp_path: Path) -> None:
    text = OWN.replace("DATA", "reviews") + 'architecture = "mlp"\nmodel = { hidden = [4] }\n'
    with pytest.raises(UsageError, match="takes no x of tokens, which reviews has"):
        workloads(parse_suite("mine", tmp_path / "mine.toml", text))
    text = (
        OWN.replace("DATA", "digits") + 'architecture = "gpt"\nmodel = { width = 4, layers = 1, heads = 1 }\n'
    )
    with pytest.raises(UsageError, match="gpt is for tokens, and these data have none"):
        workloads(parse_suite("mine", tmp_path / "mine.toml", text))


def test_a_translator_needs_something_to_translate_into(tmp_path: Path) -> None:
    text = OWN.replace("DATA", "reviews") + 'architecture = "seq2seq"\nmodel = { units = 4 }\n'
    with pytest.raises(UsageError, match="needs the array 'target'; the data have x, y, lengths"):
        workloads(parse_suite("mine", tmp_path / "mine.toml", text))


def test_a_chain_of_layers_may_begin_with_tokens(tmp_path: Path) -> None:
    text = OWN.replace("DATA", "reviews") + (
        'layers = [{ type = "embedding", tokens = 80, width = 4 }, { type = "global_avg_pool1d" }, '
        '{ type = "dense", units = 2 }]\n'
    )
    (found,) = workloads(parse_suite("mine", tmp_path / "mine.toml", text))
    assert found.spec.program.models["model"].inputs["x"].dtype == "int"


# --- the suites


@pytest.mark.parametrize(
    ("name", "size"), [*((name, "cpu") for name in SUITES), ("sequences", "tiny"), ("sequences", "gpu")]
)
def test_every_workload_of_the_suites_can_be_built(name: str, size: str) -> None:
    found = workloads(read_suite(find_suite(name), size))
    assert len(found) >= 10
    for workload in found:
        assert workload.train_examples >= workload.batch_size
        for metric in workload.spec.metrics:
            assert metric


def test_tokens_are_counted_where_a_model_reads_them_and_without_padding() -> None:
    reviews, lines, translated = (TINY[name] for name in ("text-classify", "char-lm", "translate"))
    data = {each.name: load_data(each, None) for each in (reviews, lines, translated)}
    arrays = {name: found.arrays() for name, found in data.items()}
    counted = {each.name: each.tokens_per_sample(data[each.name]) for each in (reviews, lines, translated)}
    assert (reviews.token_arrays(), translated.token_arrays()) == (["x"], ["target", "x"])
    assert counted["text-classify"] == pytest.approx(arrays["text-classify"]["train_lengths"].mean())
    assert counted["char-lm"] == arrays["char-lm"]["train_x"].shape[1]
    pairs = arrays["translate"]
    read = pairs["train_lengths"].mean() + pairs["train_weights"].sum(axis=1).mean()
    assert counted["translate"] == pytest.approx(read)


def test_what_has_no_tokens_has_no_count_of_them() -> None:
    forecast, masked = TINY["forecast"], TINY["masked-lm"]
    assert forecast.tokens_per_sample(load_data(forecast, None)) is None
    assert masked.token_arrays() == ["masked"]


@pytest.mark.parametrize("name", [name for name in TINY if "." not in name])
def test_losses_fall_on_the_reference(
    name: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    workload: Workload = TINY[name]
    arrays = load_data(workload, None).arrays()
    found = workload.spec.program.without_randomness()
    train = {array: np.asarray(arrays[f"train_{array}"][:64]) for array in found.arrays}
    reference = Reference(found, found.initial(0))
    batches = [{each: values[at::4] for each, values in train.items()} for _ in range(4) for at in range(4)]
    before = np.mean([reference.loss(found.updates[0], batch) for batch in batches[:4]])
    reference.train(batches)
    after = np.mean([reference.loss(found.updates[0], batch) for batch in batches[:4]])
    assert after < before
