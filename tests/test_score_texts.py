"""Generated texts: what a worker is asked for, BLEU, and how they come into a report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import score
from harness.analyse.run import load
from harness.data.catalogue import CATALOGUE
from harness.data.data_set import Raw
from harness.data.order import generator
from harness.data.sets import translations
from harness.data.text import as_bytes
from harness.data.tokens import END, MARK, PAD, SPECIALS, START, UNKNOWN
from harness.data.toy_language import pairs
from harness.plan.architectures import Given, build_models
from harness.plan.tasks import TASKS, Training
from harness.report import words
from harness.score.case import Case, ScoreError
from harness.score.pictures import Kept, kind_of, make, path_of
from harness.score.texts import PROMPT, SHOWN, generating
from harness.spec.codec import encode
from harness.spec.data import Data
from harness.spec.optimizers import SGD
from harness.spec.reference import Reference
from harness.spec.spec import Recipe, Spec
from harness.worker.generate import MOST_AT_ONCE, generate
from harness.worker.job import Generating
from harness.worker.protocol import Built, Decoder, Setting
from tests import synthetic
from tests.backends.plain import Plain
from tests.conftest import Onespec

WORDS = (
    *SPECIALS,
    *(f"{MARK}{word}" for word in ["the", "cat", "sat", "on", "a", "mat", "and", "slept", "there"]),
)
TIME = 8


def translation(*metrics: str, time: int = TIME) -> Spec:
    shapes = {"x": (time,), "lengths": (), "target": (time,), "y": (time,), "weights": (time,)}
    models = build_models("seq2seq", Path(), Given(shapes, 14, 14), {"units": 4, "embedding": 4})
    program = TASKS["translate"].program(models, shapes, Training(SGD(0.1)))
    return Spec(program, Data("toy-language"), Recipe(2, 1), metrics)


def language(time: int = TIME) -> Spec:
    shapes = {"x": (time,), "y": (time,)}
    models = build_models("recurrent_language", Path(), Given(shapes, 14, 14), {"units": 4})
    program = TASKS["language"].program(models, shapes, Training(SGD(0.1)))
    return Spec(program, Data("sentences"), Recipe(2, 1), ("accuracy",))


def sentence(text: str, size: int = TIME) -> list[int]:
    numbers = [WORDS.index(f"{MARK}{word}") for word in text.split()] + [END]
    return (numbers + [PAD] * size)[:size]


def case(references: list[str], found: list[str] | None, spec: Spec | None = None) -> Case:
    y = np.array([sentence(text) for text in references])
    generated = None if found is None else np.array([sentence(text, TIME - 1) for text in found])
    test = {"x": y, "y": y, "target": y}
    return Case(spec or translation("bleu"), {}, {}, test, (), WORDS, generated)


# --- what is asked for


def test_a_translation_is_had_of_every_test_example_from_its_first_token() -> None:
    assert generating(translation("bleu"), 300) == Generating(1, TIME - 1, 300)
    assert generating(translation("accuracy"), 300) == Generating(1, TIME - 1, SHOWN)


def test_a_text_goes_on_from_its_own_beginning() -> None:
    assert generating(language(), 300) == Generating(4, 4, SHOWN)
    assert generating(language(100), 2) == Generating(PROMPT, 100 - PROMPT, 2)


def test_outputs_are_left_only_where_they_are_looked_at() -> None:
    assert score.outputs_wanted(translation("bleu")) == ()
    assert score.outputs_wanted(language()) == ()
    assert kind_of(language()) == kind_of(translation("bleu")) == "texts"
    assert score.wanted(language())


# --- generating


class Counting(Decoder):
    """Chooses the number of the example, and counts on."""

    def start(self, placed: Any, prompt: int) -> None:
        self.chosen = [placed["x"][:, 0] + prompt]

    def step(self) -> None:
        self.chosen.append(self.chosen[-1] + 1)

    def tokens(self) -> np.ndarray:
        return np.stack(self.chosen, 1)

    def logits(self) -> np.ndarray:
        raise NotImplementedError


class OnlyDecodes(Plain):
    def __init__(self) -> None:
        self.sizes: list[int] = []

    def place(self, arrays: Any) -> Any:
        self.sizes.append(len(arrays["x"]))
        return arrays

    def decoder(self, batch_size: int) -> Decoder:
        return Counting()


@pytest.mark.parametrize("examples", [1, 5, MOST_AT_ONCE, 3 * MOST_AT_ONCE - 1])
def test_every_example_is_generated_for_in_batches_of_one_size(examples: int) -> None:
    built = OnlyDecodes()
    x = np.arange(400)[:, np.newaxis] + np.zeros(TIME, int)
    program = language().program
    found = generate(built, program, {"x": x, "y": x, "characters": x[:, 0]}, Generating(2, 3, examples))
    assert found.dtype == np.int32
    assert np.array_equal(found, np.arange(examples)[:, np.newaxis] + [2, 3, 4])
    assert len(set(built.sizes)) == 1
    assert sum(built.sizes) < examples + MOST_AT_ONCE


def test_what_is_generated_is_the_references(tmp_path: Path) -> None:
    program = translation().program
    built: Built = Plain(program, Setting("loop", "float64", "cpu", 1, 2))
    random = np.random.default_rng(0)
    arrays = {
        name: random.integers(5, 14, (6, *shape)) if name != "weights" else np.ones((6, TIME))
        for name, shape in program.arrays.items()
    } | {"lengths": np.array([1, 2, 3, 4, 5, 8])}
    found = generate(built, program, arrays, Generating(1, TIME - 1, 6))
    expected, _ = Reference(program, program.initial(0)).generate(arrays, 1, TIME - 1)
    assert np.array_equal(found, expected)


# --- BLEU


def test_bleu_is_a_hundred_for_the_reference_and_less_for_less() -> None:
    texts = ["the cat sat on a mat", "a cat slept there and sat"]
    assert score.scores(case(texts, texts))["bleu"] == pytest.approx(100)
    worse = score.scores(case(texts, ["the cat sat on the mat", texts[1]]))["bleu"]
    assert 50 < worse < 100
    assert score.scores(case(texts, ["", ""]))["bleu"] == pytest.approx(0, abs=1e-6)


def test_what_comes_after_the_end_is_no_translation() -> None:
    texts = ["the cat sat on mat"]
    right = case(texts, texts)
    generated = np.array([[*right.generated[0][:-1], WORDS.index(f"{MARK}there")]])  # type: ignore[index]
    assert score.scores(replace(right, generated=generated)) == score.scores(right)


def test_an_unknown_word_is_never_right() -> None:
    texts = ["the cat sat on a mat"]
    y = np.array([sentence(texts[0])])
    y[0, 1] = UNKNOWN
    found = score.scores(Case(translation("bleu"), {}, {}, {"y": y}, (), WORDS, y[:, :-1]))
    assert found["bleu"] < 90


def test_bleu_needs_every_translation() -> None:
    for found in (None, ["the cat"]):
        with pytest.raises(ScoreError, match="bleu: needs translations of the whole test split"):
            score.scores(case(["the cat", "a mat"], found))


# --- what is kept to be read


def test_texts_are_kept_as_they_read(tmp_path: Path) -> None:
    kept = make(case(["the cat sat", "a mat"], ["the mat sat", "a"]), "texts", 3)
    path = path_of(tmp_path, "small", "beta")
    kept.write(path)
    again = Kept.read(path)
    assert (again.kind, again.seed, bool(again.arrays["translated"])) == ("texts", 3, True)
    assert again.arrays["truth"].tolist() == ["the cat sat", "a mat"]
    assert again.arrays["found"].tolist() == ["the mat sat", "a"]


def test_a_continuation_is_kept_beside_its_beginning() -> None:
    x = np.array([sentence("the cat sat on a mat and slept")])
    generated = np.array([sentence("there and", 4)])
    kept = make(Case(language(), {}, {}, {"x": x, "y": x}, (), WORDS, generated), "texts", 0)
    assert kept.arrays["given"].tolist() == ["the cat sat on"]
    assert kept.arrays["truth"].tolist() == ["a mat and slept"]
    assert kept.arrays["found"].tolist() == ["there and"]
    assert START not in x


# --- a run


SONG = "row row row your boat gently down the stream\nmerrily merrily life is but a dream\n" * 8
TRANSLATE = {
    'architecture = "mlp"': 'task = "translate"\narchitecture = "seq2seq"\nproof_batch = 2',
    'metrics = ["accuracy"]': 'metrics = ["bleu"]',
    "hidden = [8]": "units = 4\nembedding = 4",
    'name = "digits"': 'name = "toy-language"\nlength = 4\ntest_examples = 6',
    "batch_size = 32": "batch_size = 4",
}
LANGUAGE = {
    'architecture = "mlp"': 'task = "language"\narchitecture = "recurrent_language"\nproof_batch = 2',
    'metrics = ["accuracy"]': 'metrics = ["bits_per_character"]',
    "hidden = [8]": "units = 4\nembedding = 4",
    'name = "digits"': 'text = "song.txt"\nlength = 8',
    "batch_size = 32": "batch_size = 4",
}


@pytest.fixture(params=[TRANSLATE, LANGUAGE], ids=["translate", "language"])
def workload(suite: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny suite with a workload that generates, on few examples."""
    monkeypatch.setenv("ONESPEC_CACHE", str(suite.parent / "cache"))
    toy = replace(
        CATALOGUE["toy-language"],
        train_examples=38,
        test_examples=2,
        content_sha256=None,
        load=lambda _: Raw(as_bytes("".join(f"{a}\t{b}\n" for a, b in pairs(40, generator(0))))),
    )
    monkeypatch.setitem(CATALOGUE, "toy-language", translations.paired(toy, 4, "words", 112))
    (suite.parent / "song.txt").write_text(SONG)
    text = suite.read_text()
    for old, new in request.param.items():
        assert old in text
        text = text.replace(old, new)
    suite.write_text(text)
    return suite


def test_a_run_generates_scores_and_shows(
    onespec: Onespec, workload: Path, tmp_path: Path, left: dict[str, tuple[int, ...]]
) -> None:
    out = tmp_path / "out"
    assert onespec("run", workload, "--out", out, "--blocks", "1") == 0
    records = [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]
    (learning,) = [
        record["measures"]["learning"] for record in records if record["job"] == "tiny/plain/measure/0"
    ]
    translates = "toy-language" in workload.read_text()
    assert ("bleu" if translates else "bits_per_character") in learning["test"]
    assert left == {"generated": (2, 3) if translates else (SHOWN, 4)}
    kept = Kept.read(path_of(out, "tiny", "plain"))
    page = (out / "report" / "index.html").read_text()
    assert "Generated texts" in page
    twin = (out / "report" / "report.md").read_text()
    assert "Generated texts" in twin
    assert str(kept.arrays["truth"][0]).split()[0] in page
    count = 2 if translates else 6
    told = f"1 of 1 contenders generated exactly the reference's {count} tokens an example, greedily"
    for text in (page.replace("&#39;", "'"), twin):
        assert text.index(told) < text.index("Generated texts")


def proven(contender: str, errors: dict[str, float]) -> dict[str, Any]:
    """A proof with the error that the generated tokens have in each precision."""
    record = synthetic.verify(contender)
    for precision, error in errors.items():
        entry = {"tensor": "generated/tokens", "error": error, "tolerance": 0.5}
        record["proof"] = {**record["proof"], precision: [*record["proof"][precision], entry]}
    return record


def test_who_generated_other_tokens_from_the_same_weights_is_named(tmp_path: Path) -> None:
    records = [
        proven("alpha", {"float64": 0.0, "float32": 0.0}),
        proven("beta", {"float64": 0.0, "float32": 0.1}),
        proven("delta", {"float64": 0.0}),
        synthetic.verify("gamma", status="crashed", reason="no more"),
    ]
    folder = synthetic.write(tmp_path / "run", records)
    meta = json.loads((folder / "run.json").read_text())
    told = "From the same initial weights 1 of 4 contenders generated exactly the reference's"
    after = "greedily and with a cache, in float64 and in float32; not so: beta and delta."
    assert words.generated(load(folder), "mlp") == f"{told} tokens, {after}", "a spec of another version"
    meta["workloads"]["mlp"]["spec"] = encode(language())
    (folder / "run.json").write_text(json.dumps(meta))
    assert words.generated(load(folder), "mlp") == f"{told} {TIME - 2} tokens an example, {after}"


def test_of_a_workload_that_generates_nothing_no_tokens_are_told(tmp_path: Path) -> None:
    run = load(synthetic.write(tmp_path / "run", [synthetic.verify("alpha")]))
    assert words.generated(run, "mlp") == ""
