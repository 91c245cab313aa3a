"""From a suite file to jobs: what a mistake is answered with, and how turns are drawn."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import cli
from harness.errors import UsageError
from harness.plan.jobs import TWIN, plan_jobs
from harness.plan.lines import line_of
from harness.plan.suite import (
    ProtocolTable,
    find_suite,
    parse_suite,
    read_suite,
    suite_folder,
    suite_names,
)
from harness.plan.variants import Sweep, sizes
from harness.plan.workloads import workloads
from harness.spec import codec
from harness.spec.layers import Dense, Flatten, Tanh
from harness.spec.optimizers import SGD, Adam
from harness.spec.schedules import Cosine
from tests.conftest import SUITE


def refusal(text: str) -> str:
    with pytest.raises(UsageError) as caught:
        workloads(parse_suite("mine", Path("suites/mine.toml"), text))
    return str(caught.value)


def line(of: str, text: str = SUITE) -> int:
    return next(number for number, content in enumerate(text.splitlines(), 1) if of in content)


def examples() -> list[str]:
    """The TOML blocks of the suites' README, in their order."""
    text = (suite_folder() / "README.md").read_text()
    return re.findall(r"^```toml\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def test_the_first_example_of_the_readme_is_a_suite_that_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(examples()[0])
    assert cli.main(["run", str(file), "--dry-run"]) == 0
    assert "1 workloads x 2 contenders" in capsys.readouterr().out


def test_the_readme_shows_every_field_of_the_protocol_at_its_default() -> None:
    shown = tomllib.loads(examples()[1])["protocol"]
    assert shown.keys() == {field.name for field in fields(ProtocolTable)}
    assert codec.decode(ProtocolTable, shown) == ProtocolTable()


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
        ('metrics = ["accuracy"]', 'metrics = ["accuracy", "rmse"]', "rmse", "metrics[1]: RMSE needs the array 'value', which the data do not have"),
        ('metrics = ["accuracy"]', "metrics = []", "metrics", "needs at least one metric"),
        ('metrics = ["accuracy"]\n', 'metrics = ["accuracy"]\ntask = "clasify"\n', "task", "Did you mean 'classify'?"),
        ("blocks = 2", "blocks = 0", "blocks", "protocol.blocks: must be positive, got 0"),
        ("blocks = 2", "blocks = 2\nseeds = 3", "seeds", "cannot be more than blocks (2)"),
        ("blocks = 2", 'blocks = "two"', "blocks", "protocol.blocks: must be an integer, got 'two'"),
        ("memory_passes = 1", "memory_passes = 0", "memory_passes", "protocol.memory_passes: must be positive, got 0"),
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
        "dense1 (dense): needs a vector or a sequence of vectors (put a flatten layer before it), got an "
        "example of shape (8, 8, 1)" in said
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
def test_every_suite_of_the_checkout_can_be_planned_at_every_size(name: str) -> None:
    path = find_suite(name)
    tables = tomllib.loads(path.read_text())["workload"]
    for size in set.intersection(*[set(sizes(table)) for table in tables]):
        suite = read_suite(path, size)
        assert all(workload.steps_per_epoch > 0 for workload in workloads(suite))


def test_the_suite_of_batches_changes_nothing_but_the_batch() -> None:
    suite = read_suite(find_suite("batches"))
    assert suite.suite.protocol.latency_batches == (1, 8, 32, 128)
    found = {workload.name: workload for workload in workloads(suite)}
    assert [sweep.workload for sweep in suite.sweeps] == ["mlp", "lenet5", "resnet20"]
    for sweep in suite.sweeps:
        levels = {level: found[name] for level, name in sweep.levels.items()}
        assert {level: workload.batch_size for level, workload in levels.items()} == {
            "8": 8,
            "32": 32,
            "128": 128,
            "512": 512,
        }
        base = levels["32"].spec
        for level, workload in levels.items():
            recipe = replace(base.recipe, batch_size=int(level))
            assert workload.spec == replace(base, recipe=recipe)


@pytest.mark.parametrize("name", suite_names())
def test_rates_go_down_until_training_ends_and_not_before(name: str) -> None:
    for workload in workloads(read_suite(find_suite(name))):
        steps = workload.steps_per_epoch * workload.spec.recipe.epochs
        for update in workload.spec.program.updates:
            rate = vars(update.optimizer)["learning_rate"]
            if isinstance(rate, Cosine):
                assert rate.steps == pytest.approx(steps, rel=0.01), workload.name


VARIED = (
    SUITE.replace('name = "tiny"', 'name = "tiny"\ntarget = 0.9').replace(
        "[workload.optimizer]", "[workload.optimizer]\nmomentum = 0.9"
    )
    + """
[workload.sizes.tiny]
model.hidden = [4]
recipe.epochs = 2

[workload.sweep.activation]
relu = {}
tanh = { model.activation = "tanh" }

[workload.sweep.optimizer]
sgd = {}
adam = { optimizer.type = "adam", optimizer.learning_rate = 1e-3 }
slow = { optimizer.learning_rate = 0.01, title = "Slow", target = 0.5 }
"""
)


def test_a_sweep_is_a_workload_for_each_level_with_one_thing_changed() -> None:
    suite = parse_suite("mine", Path("mine.toml"), VARIED)
    found = {workload.name: workload for workload in workloads(suite)}
    assert list(found) == ["tiny", "tiny.activation.tanh", "tiny.optimizer.adam", "tiny.optimizer.slow"]
    base, tanh = found["tiny"].spec, found["tiny.activation.tanh"].spec
    assert [type(node.layer) for node in tanh.program.models["model"].nodes] == [Flatten, Dense, Tanh, Dense]
    assert (tanh.data, tanh.recipe, tanh.program.updates) == (base.data, base.recipe, base.program.updates)
    (adam,) = found["tiny.optimizer.adam"].spec.program.updates
    assert adam.optimizer == Adam(1e-3), "another type takes the place of the whole table"
    (slow,) = found["tiny.optimizer.slow"].spec.program.updates
    assert slow.optimizer == SGD(0.01, momentum=0.9)
    assert suite.sweeps == (
        Sweep("tiny", "activation", {"relu": "tiny", "tanh": "tiny.activation.tanh"}),
        Sweep(
            "tiny", "optimizer", {"sgd": "tiny", "adam": "tiny.optimizer.adam", "slow": "tiny.optimizer.slow"}
        ),
    )
    titles = [found[name].title for name in ("tiny.activation.tanh", "tiny.optimizer.slow")]
    assert titles == ["tiny; activation: tanh", "Slow"]
    assert [workload.target for workload in found.values()] == [0.9, None, None, 0.5]


def test_a_workload_is_chosen_with_its_variants() -> None:
    suite = parse_suite("mine", Path("mine.toml"), VARIED)
    assert len(workloads(suite, ["tiny"])) == 4
    assert [workload.name for workload in workloads(suite, ["tiny.optimizer"])] == [
        "tiny",
        "tiny.optimizer.adam",
        "tiny.optimizer.slow",
    ]
    with pytest.raises(UsageError, match="unknown workload 'tin'"):
        workloads(suite, ["tin"])


def test_a_size_is_laid_over_the_workload_and_under_its_sweeps() -> None:
    for workload in workloads(parse_suite("mine", Path("mine.toml"), VARIED, "tiny")):
        assert workload.spec.recipe.epochs == 2
        assert workload.spec.program.count() == 64 * 4 + 4 + 4 * 10 + 10


@pytest.mark.parametrize(
    ("right", "wrong", "place", "words"),
    [
        ('model.activation = "tanh"', 'model.activation = "tanhh"', "tanhh", "workload[0].sweep.activation.tanh.model.activation:"),
        ('model.activation = "tanh"', 'metrics = ["psnrr"]', "psnrr", "workload[0].sweep.activation.tanh"),
        ("optimizer.learning_rate = 1e-3", "optimizer.learning_rate = -1.0", "-1.0", "workload[0].sweep.optimizer.adam.optimizer.learning_rate: must be positive"),
        ("learning_rate = 0.5", "learning_rate = -0.5", "-0.5", "workload[0].optimizer.learning_rate: must be positive"),
        ("sgd = {}", "sgd = {}\nsame = {}", "[workload.sweep.optimizer]", "only one level can be the workload as it stands"),
        ("sgd = {}", "sgd = 3", "sgd = 3", "workload[0].sweep.optimizer.sgd: must be a table of changes, got 3"),
        ("[workload.sizes.tiny]", "[workload.sizes.cpu]", "[workload.sizes.cpu]", "is the size of the workload as it is written"),
        ("sgd = {}", "S_G = { recipe.epochs = 2 }", "S_G", "is made of small letters"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_variant_is_answered_with_its_line(
    right: str, wrong: str, place: str, words: str
) -> None:
    text = VARIED.replace(right, wrong, 1)
    assert text != VARIED
    said = refusal(text)
    assert words in said
    assert said.startswith(f"suites/mine.toml:{line(place, text)}: ")


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
    passes=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_every_contender_has_one_turn_in_every_block_and_round_of_memory_passes(
    names: list[str], blocks: int, seeds: int, passes: int, seed: int
) -> None:
    seeds = min(seeds, blocks)
    planned = partial(
        plan_jobs, ["w", "v"], names, blocks=blocks, seeds=seeds, memory_passes=passes, seed=seed
    )
    jobs = planned()
    assert len({job.id for job in jobs}) == len(jobs)
    measured = [job for job in jobs if job.kind == "measure"]
    passed = [job for job in jobs if job.kind == "memory"]
    for mine, count in ((measured, blocks), (passed, passes)):
        turns = Counter((job.workload, job.contender, job.block) for job in mine)
        assert set(turns.values()) == {1}
        assert len(turns) == 2 * len(names) * count
        assert {job.block for job in mine} == set(range(count))
    assert {(job.seed, job.learn) for job in passed} == {(seed, False)}
    for job in measured:
        assert job.block is not None
        assert job.learn == (job.block < seeds)
        assert job.seed == (seed + job.block if job.learn else seed)
    assert jobs == planned()


@given(
    names=st.integers(1, 5).map(lambda n: [f"c{i}" for i in range(n)]),
    chosen=st.integers(0, 4),
    blocks=st.integers(1, 5),
)
def test_the_twin_has_a_turn_among_the_others_and_is_otherwise_its_original(
    names: list[str], chosen: int, blocks: int
) -> None:
    control = names[chosen % len(names)]
    twin = control + TWIN
    planned = partial(plan_jobs, ["w", "v"], names, blocks=blocks, seeds=blocks, memory_passes=2, seed=7)
    jobs, without = planned(control=control), planned()
    assert {job.id for job in jobs} - {job.id for job in without} == {
        f"{workload}/{twin}/{kind}/{number}"
        for workload in ("w", "v")
        for kind, count in (("measure", blocks), ("memory", 2))
        for number in range(count)
    }
    for one in (job for job in jobs if job.contender == twin):
        (first,) = (
            job
            for job in jobs
            if (job.kind, job.workload, job.block, job.contender)
            == (one.kind, one.workload, one.block, control)
        )
        assert one.entered == first.contender == first.entered
        assert one.seed == first.seed, "the same weights and batches"
        assert not one.learn
        place = (one.kind, one.workload, one.block)
        turns = [job.turn or 0 for job in jobs if (job.kind, job.workload, job.block) == place]
        assert sorted(turns) == list(range(len(names) + 1)), "no two have the same turn"


@pytest.mark.parametrize("kind", ["measure", "memory"])
def test_a_twin_goes_before_its_original_as_often_as_after_it(kind: str) -> None:
    names = ["a", "b", "c"]
    jobs = plan_jobs(["w"], names, blocks=400, seeds=1, memory_passes=400, seed=0, control="a")
    turn = {(job.contender, job.block): job.turn or 0 for job in jobs if job.kind == kind}
    before = sum(turn["a~twin", block] < turn["a", block] for block in range(400))
    assert 160 < before < 240


def test_the_order_of_turns_differs_from_block_to_block() -> None:
    names = [f"c{i}" for i in range(6)]
    jobs = plan_jobs(["w"], names, blocks=20, seeds=1, memory_passes=20, seed=0)
    for kind in ("measure", "memory"):
        orders = {
            tuple(job.contender for job in jobs if job.kind == kind and job.block == block)
            for block in range(20)
        }
        assert len(orders) > 15
        first = Counter(order[0] for order in orders)
        assert len(first) > 3, "whoever goes first is drawn"
