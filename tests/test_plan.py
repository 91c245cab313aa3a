"""From a suite file to jobs: what a mistake is answered with, and how turns are drawn."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError
from harness.plan.jobs import plan_jobs
from harness.plan.lines import line_of
from harness.plan.suite import find_suite, parse_suite, read_suite, suite_names
from harness.plan.workloads import workloads
from tests.conftest import SUITE


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        workloads(parse_suite("mine", Path("suites/mine.toml"), text))
    return str(caught.value)


def line(of: str, text: str = SUITE) -> int:
    return next(number for number, content in enumerate(text.splitlines(), 1) if of in content)


@pytest.mark.parametrize(
    ("right", "wrong", "place", "words"),
    [
        ("hidden = [8]", "hiden = [8]", "hiden", "workload[0].model.hiden: unknown argument 'hiden'. Did you mean 'hidden'?"),
        ("hidden = [8]", "hidden = 8", "hidden", "workload[0].model.hidden: must be a list, got 8"),
        ("hidden = [8]", "hidden = [0]", "", "units: must be positive, got 0"),
        ("epochs = 1", "epochs = 1.5", "epochs", "workload[0].recipe.epochs: must be an integer, got 1.5"),
        ("epochs = 1", "epochs = 0", "epochs", "workload[0].recipe.epochs: must be positive, got 0"),
        ("epochs = 1\n", "\n", "[workload.recipe]", "workload[0].recipe.epochs: is missing"),
        ("batch_size = 32", "batch_size = 5000", "batch_size", "larger than the training set of 1150 examples"),
        ('type = "sgd"', 'type = "sdg"', 'type = "sdg"', "workload[0].optimizer.type: unknown optimizer 'sdg'. Did you mean 'sgd'?"),
        ('type = "sgd"', 'type = "sgd"\nmomemtum = 0.9', "momemtum", "unknown field 'momemtum'. Did you mean 'momentum'?"),
        ("learning_rate = 0.5", "learning_rate = -0.5", "learning_rate", "must be positive, got -0.5"),
        ("learning_rate = 0.5", "learning_rate = nan", "learning_rate", "must be a finite number"),
        ('name = "digits"', 'name = "digit"', 'name = "digit"', "unknown data set 'digit'. Did you mean 'digits'?"),
        ('architecture = "mlp"', 'architecture = "mpl"', "architecture", "unknown architecture 'mpl'. Did you mean 'mlp'?"),
        ('metrics = ["accuracy"]', 'metrics = ["acuracy"]', "metrics", "unknown metric 'acuracy'. Did you mean 'accuracy'?"),
        ('metrics = ["accuracy"]', "metrics = []", "metrics", "needs at least one metric"),
        ('metrics = ["accuracy"]\n', 'metrics = ["accuracy"]\ntask = "clasify"\n', "task", "Did you mean 'classify'?"),
        ("blocks = 2", "blocks = 0", "blocks", "protocol.blocks: must be positive, got 0"),
        ("blocks = 2", "blocks = 2\nseeds = 3", "seeds", "cannot be more than blocks (2)"),
        ("blocks = 2", 'blocks = "two"', "blocks", "protocol.blocks: must be an integer, got 'two'"),
        ('contenders = ["plain"]', "contenders = []", "contenders", "needs at least one contender"),
        ('title = "Tiny"', 'titel = "Tiny"', "titel", "unknown field 'titel'. Did you mean 'title'?"),
        ('name = "tiny"', 'name = "Tiny Net"', "Tiny Net", "small letters"),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_with_its_line_and_field(
    right: str, wrong: str, place: str, words: str
) -> None:
    text = SUITE.replace(right, wrong, 1)
    assert text != SUITE
    said = refusal(text)
    assert words in said
    if place:
        assert said.startswith(f"suites/mine.toml:{line(place, text)}: ")


LAYERS = """
[[workload.layers]]
type = "flatten"

[[workload.layers]]
type = "dense"
units = 10
"""


def with_layers(layers: str) -> str:
    text = SUITE.replace('architecture = "mlp"\n', "").replace("[workload.model]\nhidden = [8]\n", "")
    return text + layers


def test_a_model_may_be_spelled_out_as_layers() -> None:
    (workload,) = workloads(parse_suite("mine", Path("mine.toml"), with_layers(LAYERS)))
    assert workload.spec.program.count() == 64 * 10 + 10


def test_a_layer_whose_shapes_do_not_fit_is_named_with_its_line() -> None:
    text = with_layers(LAYERS.replace('[[workload.layers]]\ntype = "flatten"\n', ""))
    said = refusal(text)
    assert said.startswith(f"suites/mine.toml:{line('[[workload.layers]]', text)}: workload[0].layers[0]")
    assert (
        "dense1 (dense): needs a vector (put a flatten layer before it), got an example of shape (8, 8, 1)"
        in said
    )


def test_a_model_that_does_not_fit_the_loss_is_refused() -> None:
    conv = '[[workload.layers]]\ntype = "conv2d"\nfilters = 3\nsize = [3, 3]\n'
    assert "cross_entropy needs logits (*shape, classes)" in refusal(with_layers(conv))


def test_text_that_is_not_toml_is_answered_with_its_line() -> None:
    assert "is not TOML" in refusal("title = \n")
    assert "line 1" in refusal("title = \n")


def test_a_suite_that_is_not_there_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="Did you mean 'mnist'"):
        find_suite("mnits")
    with pytest.raises(UsageError, match=r"there is no suite file nowhere\.toml"):
        find_suite("nowhere.toml")


@pytest.mark.parametrize("name", suite_names())
def test_every_suite_of_the_checkout_can_be_planned(name: str) -> None:
    suite = read_suite(find_suite(name))
    assert all(workload.steps_per_epoch > 0 for workload in workloads(suite))


def test_lines_are_found_in_tables_and_arrays_of_tables() -> None:
    text = "a = 1\n[b]\nc.d = 2\n[[e]]\nf = 3\n[[e]]\nf = 4\n[e.g]\nh = 5\n[[e.i]]\nj = 6\n"
    assert line_of(text, ("a",)) == 1
    assert line_of(text, ("b", "c", "d")) == 3
    assert line_of(text, ("e", 0, "f")) == 5
    assert line_of(text, ("e", 1, "f")) == 7
    assert line_of(text, ("e", 1, "g", "h")) == 9
    assert line_of(text, ("e", 1, "i", 0, "j")) == 11
    assert line_of(text, ("e", 1, "g", "missing", 3)) == 8, "the nearest enclosing table"
    assert line_of(text, ("nowhere",)) is None


@given(
    names=st.integers(1, 6).map(lambda n: [f"c{i}" for i in range(n)]),
    blocks=st.integers(1, 5),
    seeds=st.integers(1, 5),
    seed=st.integers(0, 1000),
)
def test_every_contender_has_one_turn_in_every_block(
    names: list[str], blocks: int, seeds: int, seed: int
) -> None:
    seeds = min(seeds, blocks)
    jobs = plan_jobs(["w", "v"], names, blocks=blocks, seeds=seeds, seed=seed)
    assert len({job.id for job in jobs}) == len(jobs)
    measured = [job for job in jobs if job.kind == "measure"]
    turns = Counter((job.workload, job.contender, job.block) for job in measured)
    assert set(turns.values()) == {1}
    assert len(turns) == 2 * len(names) * blocks
    for job in measured:
        assert job.block is not None
        assert job.learn == (job.block < seeds)
        assert job.seed == (seed + job.block if job.learn else seed)
    assert jobs == plan_jobs(["w", "v"], names, blocks=blocks, seeds=seeds, seed=seed)


def test_the_order_of_turns_differs_from_block_to_block() -> None:
    names = [f"c{i}" for i in range(6)]
    jobs = plan_jobs(["w"], names, blocks=20, seeds=1, seed=0)
    orders = {
        tuple(job.contender for job in jobs if job.kind == "measure" and job.block == block)
        for block in range(20)
    }
    assert len(orders) > 15
    first = Counter(order[0] for order in orders)
    assert len(first) > 3, "whoever goes first is drawn"
