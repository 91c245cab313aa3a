"""Where a run's time went, how long training takes to its target, and what it computes meanwhile."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from harness.analyse.account import PURPOSES, account, elsewhere
from harness.analyse.reached import reached
from harness.analyse.run import load
from harness.analyse.tables import Record
from harness.plan.suite import find_suite, read_suite
from harness.plan.workloads import workloads
from harness.report import write
from harness.report.columns import build, full
from tests import synthetic
from tests.conftest import Onespec


def job(kind: str, start: int, wall: float, spent: tuple[float, float] | None, **more: object) -> Record:
    names = ("import_seconds", "work_seconds")
    return {
        "kind": kind,
        "started": f"2026-01-02T03:00:{start:02d}.000+00:00",
        "wall_seconds": wall,
        "spent": None if spent is None else dict(zip(names, spent, strict=True)),
        "measures": None,
        **more,
    }


MEASURES = {
    "build_seconds": 0.5,
    "first_step_seconds": 0.25,
    "train_blocks": [{"seconds": 1.0}, {"seconds": 1.0}],
    "evaluate_passes": [{"seconds": 0.5}],
    "latency": [{"first_seconds": 0.25, "seconds": [0.125, 0.125]}],
    "learning": {"seconds": 2.0},
}
SPENT = {"data": 1.0, "inputs": 2.0, "jobs": 24.0, "ceilings": 3.0, "report": 1.0}


def test_every_second_is_in_one_part_and_jobs_side_by_side_share_theirs() -> None:
    read = [
        # From 0 to 4 and from 2 to 6: eight seconds of processes in six.
        job("verify", 0, 4.0, (1.0, 2.0)),
        job("verify", 2, 4.0, (1.0, 2.0)),
        job("measure", 10, 9.0, (2.0, 6.0), measures=MEASURES),
        job("measure", 20, 3.0, None),
        job("measure", 23, 2.0, None, measures={"train_blocks": []}),
        job("measure", 30, 0.0, None) | {"wall_seconds": None},
    ]
    table = account({"spent": SPENT}, read)
    found = dict(zip(table["part"], table["seconds"], strict=True))
    assert found == pytest.approx(
        {
            "import": 2 * 0.75 + 2,
            "build": 0.75,
            "measured": 5.0,
            "within": 6 - 0.75 - 5,
            "process": 2 * 0.75 + 1,
            "proof": 4 * 0.75,
            "failed": 3.0,
            "by_hand": 2.0,
            "between": 24 - 6 - 14,
            **{part: SPENT[part] for part in ("data", "inputs", "ceilings", "report")},
        }
    )
    assert table["seconds"].sum() == pytest.approx(sum(SPENT.values()))
    assert table["share"].sum() == pytest.approx(1)
    purposes = sum(found[part] for part in PURPOSES)
    assert elsewhere(table) == pytest.approx(1 - purposes / sum(SPENT.values()))


def test_a_run_of_before_has_no_account() -> None:
    assert account({}, [job("verify", 0, 4.0, (1.0, 2.0))]).empty
    assert account({"spent": SPENT}, [job("verify", 0, 4.0, None)]).empty
    assert math.isnan(elsewhere(account({}, [])))


def test_a_real_run_accounts_for_its_time(onespec: Onespec, suite: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert onespec("run", suite, "--out", out, "--blocks", "1") == 0
    before = load(out).account.set_index("part")["seconds"]
    spent = json.loads((out / "run.json").read_text())["spent"]
    assert before.sum() == pytest.approx(sum(spent.values()), rel=0.02)
    assert {"import", "build", "measured", "process", "proof", "between", "inputs", "report"} <= {
        *before.index
    }
    assert "Where the time went" in (out / "report" / "index.html").read_text()
    assert "Where the time went" in (out / "report" / "report.md").read_text()
    (out / "records.jsonl").write_text("".join((out / "records.jsonl").read_text().splitlines(True)[:-1]))
    assert onespec("run", "--resume", out) == 0
    after = json.loads((out / "run.json").read_text())["spent"]
    assert all(after[part] > seconds for part, seconds in spent.items()), "a resumed run adds to its account"


def curves(*points: tuple[int, int, float, float]) -> pd.DataFrame:
    rows = [
        {"split": "validation", "metric": "accuracy", "seed": seed, "epoch": epoch, "step": 40 * epoch}
        | {"seconds": seconds, "value": value}
        for seed, epoch, seconds, value in points
    ]
    test = {"split": "test", "metric": "accuracy", "seed": 0, "value": 1.0}
    return pd.DataFrame([*rows, test])


WORKLOAD = {"metric": "accuracy", "target": 0.9}


def test_the_target_is_reached_at_the_first_epoch_that_shows_it() -> None:
    first = [(0, 1, 1.0, 0.8), (0, 2, 2.0, 0.9), (0, 3, 3.0, 0.7), (0, 4, 4.0, 0.95)]
    second = [(1, 1, 8.0, 0.99)]
    found = reached(WORKLOAD, curves(*first, *second), 32)
    assert found["target_seconds"] == pytest.approx(4.0), "the geometric mean of 2 and 8"
    assert found["target_samples"] == pytest.approx(math.sqrt(80 * 40) * 32)
    assert (found["target_seeds"], found["target_tried"]) == (2, 2)


def test_a_seed_that_never_reaches_it_leaves_no_mean() -> None:
    found = reached(WORKLOAD, curves((0, 1, 1.0, 0.95), (1, 1, 1.0, 0.2)), 32)
    assert math.isnan(found["target_seconds"])
    assert (found["target_seeds"], found["target_tried"]) == (1, 2)


def test_a_loss_is_reached_from_above() -> None:
    falling = curves((0, 1, 1.0, 3.0), (0, 2, 2.0, 0.5)).replace("accuracy", "rmse")
    assert reached({"metric": "rmse", "target": 1.0}, falling, 32)["target_seconds"] == pytest.approx(2.0)


VALIDATED = curves((0, 1, 1.0, 0.95))


@pytest.mark.parametrize(
    ("target", "table", "reason"),
    [
        (0.9, curves(), "nothing is held out"),
        (0.9, VALIDATED[VALIDATED["split"] == "test"], "nothing is held out"),
        (0.9, VALIDATED.assign(metric=["loss", "accuracy"]), "computed at the end alone"),
        (None, curves(), None),
        (0.9, curves()[:0], None),
        (0.9, VALIDATED, None),
    ],
)
def test_what_no_validation_shows_is_not_known_and_says_why(
    target: float | None, table: pd.DataFrame, reason: str | None
) -> None:
    found = reached({"metric": "accuracy", "target": target}, table, 32)
    assert found["target_unknown"] == reason
    assert math.isnan(found["target_tried"]) == (table is not VALIDATED)


def test_training_flops_follow_from_what_is_moved() -> None:
    (mlp,) = workloads(read_suite(find_suite("mnist")))
    program = mlp.spec.program
    assert program.training_flops() == 3 * program.flops()
    (gan,) = workloads(read_suite(find_suite("vision")), ["generate"])
    program = gan.spec.program
    generator, discriminator = (program.models[name].flops() for name in ("generator", "discriminator"))
    calls = [(update.moves, [call.model for call in update.calls]) for update in program.updates]
    # The discriminator's update runs the generator for nothing but its images; the generator's goes back
    # through the discriminator without its parameters.
    assert sorted(calls) == [
        (("discriminator",), ["generator", "discriminator", "discriminator"]),
        (("generator",), ["generator", "discriminator"]),
    ]
    assert program.training_flops() == (generator + 6 * discriminator) + (3 * generator + 2 * discriminator)


def test_a_report_shows_flops_and_the_way_to_the_target(tmp_path: Path) -> None:
    point = {"epoch": 1, "step": 44, "seconds": 1.5, "accuracy": 0.95}
    learning: Record = {
        "train": [],
        "validation": [point],
        "test": {"loss": 0.1, "accuracy": 0.95},
        "seconds": 3.0,
    }
    measured = synthetic.measure("alpha", learning=learning, step_ms=(1.0,) * 4)
    failing = synthetic.measure("beta", step_ms=(1.0,) * 4)
    failing["measures"]["learning"] = {
        **learning,
        "validation": [{**point, "accuracy": 0.1}],
    }
    blind = synthetic.measure("gamma", learning={**learning, "validation": []}, step_ms=(1.0,) * 4)
    proofs = (synthetic.verify(name) for name in ("alpha", "beta", "gamma"))
    records = [*proofs, measured, failing, blind]
    ceilings = {"matmul_flops_per_second": 1e10, "copy_bytes_per_second": 1e10, "numpy": "2", "blas": "mkl"}
    folder = synthetic.write(tmp_path / "run", records, target=0.9, ceilings=ceilings)
    meta = json.loads((folder / "run.json").read_text())
    meta["workloads"]["mlp"]["training_flops_per_sample"] = 100_000
    meta["workloads"]["mlp"]["tokens_per_sample"] = 12.5
    (folder / "run.json").write_text(json.dumps(meta))
    run = load(folder)
    row = run.summary_of("mlp").set_index("contender").loc["alpha"]
    assert row["flops_per_second"] == pytest.approx(100_000 * 32 / 1e-3)
    assert row["flops_share"] == pytest.approx(0.32)
    assert row["tokens_per_second"] == pytest.approx(12.5 * 32 / 1e-3)
    assert (row["target_seconds"], row["target_samples"]) == (pytest.approx(1.5), pytest.approx(44 * 32))
    table = build(run.summary_of("mlp"), full("accuracy"))
    keys = [column.key for column in table.columns]
    cells = {line.contender: dict(zip(keys, line.cells, strict=True)) for line in table.lines}
    assert (cells["alpha"]["flops"].text, cells["alpha"]["flops"].note) == ("3.20", "32 % of the machine's")
    assert cells["alpha"]["tokens"].text == "400,000"
    assert cells["alpha"]["target_time"].text == "1.50"
    assert cells["beta"]["target_time"].text == "not reached"
    for column in ("target_time", "target_samples"):
        shown = cells["gamma"][column]
        assert (shown.text, shown.note) == ("not known", "nothing is held out")
    assert "To target" in write([run], tmp_path / "out").read_text()
