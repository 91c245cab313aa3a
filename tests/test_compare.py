"""`onespec compare`: what two runs tell is told, and what they could not see is never called unchanged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from harness import cli
from harness.analyse.compare import Between, Rule, answer, between
from harness.analyse.contrasts import EQUIVALENT, LEVEL, POWER, Numbers, compare_samples, judge
from harness.analyse.run import load
from harness.errors import UsageError
from tests import synthetic
from tests.synthetic import FINGERPRINT, Record, good, measure, memory, verify

Capture = pytest.CaptureFixture[str]

REPETITIONS = 2000
MARGIN = float(np.log1p(0.05))
SIZES = [(3, 3), (4, 12), (12, 5)]
SPREADS = (0.03, 0.06)


def drawn(sizes: tuple[int, int], truth: float) -> pd.DataFrame:
    """What is found of samples that truly differ by so much, one row a repetition; spreads are unequal."""
    random = np.random.default_rng(sizes[0])
    return pd.DataFrame(
        [
            compare_samples(
                random.normal(0, SPREADS[0], sizes[0]), random.normal(truth, SPREADS[1], sizes[1]), MARGIN
            )
            for _ in range(REPETITIONS)
        ]
    )


def bound(rate: float, side: float) -> float:
    """What a true rate exceeds (or falls short of) once in a thousand times."""
    return float(stats.binom.ppf(side, REPETITIONS, rate)) / REPETITIONS


@pytest.mark.parametrize("sizes", SIZES)
def test_samples_of_two_runs_are_told_apart_falsely_in_at_most_five_percent(sizes: tuple[int, int]) -> None:
    found = drawn(sizes, 0.0)
    assert (found["p"] <= LEVEL).mean() <= bound(LEVEL, 0.999)
    covered = ((found["low"] <= 0) & (found["high"] >= 0)).mean()
    assert covered == pytest.approx((found["p"] > LEVEL).mean()), "the interval is that of the test"


@pytest.mark.parametrize("sizes", SIZES)
def test_a_difference_of_the_margin_is_called_equivalent_in_at_most_five_percent(
    sizes: tuple[int, int],
) -> None:
    assert (drawn(sizes, MARGIN)["p_equivalent"] <= LEVEL).mean() <= bound(LEVEL, 0.999)


def test_the_promised_difference_is_found_in_eighty_percent() -> None:
    sizes = (8, 8)
    variances = [spread**2 / size for spread, size in zip(SPREADS, sizes, strict=True)]
    freedom = sum(variances) ** 2 / sum(
        variance**2 / (size - 1) for variance, size in zip(variances, sizes, strict=True)
    )
    one = {"p": [1.0], "p_equivalent": [1.0], "difference": [0.0], "freedom": [freedom]}
    promised = float(judge(pd.DataFrame(one | {"error": [np.sqrt(sum(variances))]}))["detectable"].iloc[0])
    found = drawn(sizes, promised)
    detected = ((found["p"] <= LEVEL) & (found["difference"] > 0)).mean()
    assert bound(POWER, 0.001) <= detected <= bound(POWER, 0.999)


def test_the_numbers_are_scipys() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(0, 0.02, 5), random.normal(0.03, 0.05, 9)
    found = compare_samples(first, second, MARGIN)
    welch = stats.ttest_ind(second, first, equal_var=False)
    interval = welch.confidence_interval()
    names = ("p", "low", "high", "freedom")
    assert [found[name] for name in names] == pytest.approx(
        [welch.pvalue, interval.low, interval.high, welch.df]
    )
    sided = [
        stats.ttest_ind(second - limit, first, equal_var=False, alternative=side).pvalue
        for limit, side in ((-MARGIN, "greater"), (MARGIN, "less"))
    ]
    assert found["p_equivalent"] == pytest.approx(max(sided))


def test_samples_that_do_not_vary_are_certain_whatever_their_sizes() -> None:
    found = [compare_samples(np.full(3, 0.1), np.full(20, 0.1 + shift), MARGIN) for shift in (0.0, 0.2)]
    judged = judge(pd.DataFrame(found))
    assert judged["verdict"].tolist() == [EQUIVALENT, "above"]
    assert judged["p"][0] == 1.0


def steps(seed: int, factor: float = 1.0, spread: float = 0.01, count: int = 8) -> tuple[float, ...]:
    return tuple(factor * np.exp(np.random.default_rng(seed).normal(0, spread, count)))


def contender(name: str, seed: int, factor: float = 1.0, **options: Any) -> list[Record]:
    return good(name, step_ms=steps(seed, factor, **options))


def written(folder: Path, name: str, records: list[Record], **options: Any) -> Path:
    return synthetic.write(folder / name, records, **options)


def compared(first: Path, second: Path, *match: tuple[str, str], **options: Any) -> Between:
    return between(load(first), load(second), match, **options)


def verdicts(found: Between, measure: str = "step_seconds") -> dict[str, str]:
    rows = found.table[found.table["measure"] == measure]
    return dict(zip(rows["second"], rows["verdict"], strict=True))


def row_of(found: Between, second: str, measure: str = "step_seconds") -> pd.Series[Any]:
    rows = found.table[(found.table["second"] == second) & (found.table["measure"] == measure)]
    return rows.iloc[0]


def two_runs(folder: Path, factor: float, **options: Any) -> tuple[Path, Path]:
    """`alpha` and `beta`; in the second run alpha takes `factor` times as long."""
    before = contender("alpha", 1) + contender("beta", 2)
    after = contender("alpha", 3, factor) + contender("beta", 4)
    return written(folder, "before", before), written(folder, "after", after, **options)


def test_a_slower_version_is_told_from_an_equal_one_and_named(tmp_path: Path) -> None:
    before = written(tmp_path, "before", contender("alpha", 1) + contender("beta", 2))
    after = contender("alpha", 3, 1.1) + contender("beta", 4)
    for record in after:
        if record["contender"] == "alpha":
            record["environment"]["packages"]["alpha"] = "1.3.0"
    found = compared(before, written(tmp_path, "after", after))
    assert verdicts(found) == {"alpha": "slower", "beta": "equivalent"}
    row = row_of(found, "alpha")
    assert row["low"] < 1.1 < row["high"]
    assert (row["first_count"], row["second_count"], row["paired"]) == (8, 8, False)
    assert row["p_holm"] == pytest.approx(2 * row["p"]), "one family"
    (change,) = found.changes
    assert (change.of, change.kind, change.name) == (("alpha",), "package", "alpha")
    assert (change.first, change.second) == ("1.2.3", "1.3.0")


def test_what_differs_in_protocol_machine_and_settings_is_told(tmp_path: Path) -> None:
    before, after = two_runs(
        tmp_path, 1.0, protocol={"block_seconds": 0.1, "equivalence_margin": 0.001}, software={"commit": "f"}
    )
    found = compared(before, after)
    told = {(change.kind, change.name) for change in found.changes}
    assert {("protocol", "block_seconds"), ("software", "commit")} <= told
    assert found.margins.equivalence == 0.001, "the stricter margin"
    assert verdicts(found)["beta"] == "inconclusive"


def test_another_spec_is_refused_with_the_reason(tmp_path: Path, capsys: Capture) -> None:
    before, after = two_runs(tmp_path, 1.0)
    for file in after.iterdir():
        file.write_text(file.read_text().replace(FINGERPRINT, "e" * 64))
    assert cli.main(["compare", str(before), str(after)]) == 3
    said = " ".join(capsys.readouterr().out.split())
    assert "mlp: the same spec on other data: fingerprints ffffffffffff and eeeeeeeeeeee" in said
    assert "measured nothing" in said
    (after / "run.json").write_text((after / "run.json").read_text().replace("relu", "tanh"))
    assert compared(before, after).refused[0].reason.startswith("another spec (model)")


@pytest.mark.parametrize(
    "other",
    [
        {"machine": {"cpu": "Another processor", "cores": 2, "gpu": None}},
        {"machine": {"cpu": "A processor", "cores": 4, "gpu": None}},
        {"machine": {"cpu": "A processor", "cores": 2, "gpu": "A GPU"}},
        {"threads": 1},
        {"device": "cuda:0"},
    ],
)
def test_other_hardware_is_refused_unless_it_is_what_is_compared(
    tmp_path: Path, other: dict[str, Any], capsys: Capture
) -> None:
    words = ["compare", *map(str, two_runs(tmp_path, 1.0, **other)), "--fail-on", "slower>5%"]
    assert cli.main(words) == 3
    said = " ".join(capsys.readouterr().out.split())
    assert "not compared: these runs: the runs were made on other hardware" in said
    assert "slower>5%: not known: everything (the runs were made on other hardware" in said
    assert cli.main([*words, "--other-hardware"]) == 0
    assert "differs hardware" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_failed_control_of_either_run_withholds_the_verdicts(
    tmp_path: Path, side: str, capsys: Capture
) -> None:
    folders = []
    for name in ("before", "after"):
        twin = contender("alpha~twin", 1, 1.2 if name == side else 1.0, spread=0.011)
        records = contender("alpha", 1) + [record for record in twin if record["block"] is not None]
        control = {"contender": "alpha", "twin": "alpha~twin"}
        folders.append(written(tmp_path, name, records, contenders=["alpha"], control=control))
    assert cli.main(["compare", *map(str, folders), "--fail-on", "slower>5%"]) == 3
    said = " ".join(capsys.readouterr().out.split())
    assert f"slower>5%: not known: mlp alpha (the control of {side} failed)" in said
    assert compared(folders[0], folders[1]).failed_controls == {"step_seconds": (side,)}
    assert verdicts(compared(folders[0], folders[1])) == {"alpha": "withheld"}


@pytest.mark.parametrize("side", ["before", "after"])
def test_a_control_that_fails_in_memory_withholds_verdicts_on_memory_alone(
    tmp_path: Path, side: str, capsys: Capture
) -> None:
    folders = []
    for name in ("before", "after"):
        more = 10 if name == side else 0
        peaks = {"alpha": (300, 301, 300.5), "alpha~twin": (300.6 + more, 300.2 + more, 301 + more)}
        twins = [
            memory(entry, peak=peak, block=block)
            for entry, each in peaks.items()
            for block, peak in enumerate(each)
        ]
        timed = [record for record in contender("alpha", 1) if record["kind"] != "memory"]
        control = {"contender": "alpha", "twin": "alpha~twin"}
        folders.append(written(tmp_path, name, timed + twins, contenders=["alpha"], control=control))
    words = ["compare", *map(str, folders), "--fail-on"]
    assert cli.main([*words, "memory>5%"]) == 3
    said = " ".join(capsys.readouterr().out.split())
    assert f"memory>5%: not known: mlp alpha (the control of {side} failed)" in said
    assert cli.main([*words, "slower>5%"]) == 0
    found = compared(folders[0], folders[1])
    assert found.failed_controls == {"peak_mib": (side,)}
    assert verdicts(found, "peak_mib") == {"alpha": "withheld"}
    assert verdicts(found) == {"alpha": "equivalent"}


@pytest.mark.parametrize(("factor", "code"), [(1.2, 1), (1.03, 0), (1.0, 0), (0.8, 0)])
def test_a_rule_is_broken_by_an_interval_beyond_it(tmp_path: Path, factor: float, code: int) -> None:
    found = compared(*two_runs(tmp_path, factor))
    said = answer(found, Rule("slower", 0.05))
    assert said.exit_code == code
    assert said.broken == (("mlp alpha",) if code else ())
    assert (said.excluded, said.open) == (2 - code, ())


def test_a_limit_inside_the_interval_of_a_sure_regression_is_neither_broken_nor_kept(
    tmp_path: Path, capsys: Capture
) -> None:
    folders = two_runs(tmp_path, 1.2)
    found = compared(*folders)
    row = row_of(found, "alpha")
    assert row["verdict"] == "slower"
    assert row["low"] < 1.2 < row["high"]
    assert row["detectable"] < row["low"] - 1, "a change of the limit would have been told from none"
    low, high = row["low"] - 1, row["high"] - 1
    limits = {low - 1e-9: 1, low + 1e-9: 3, row["estimate"] - 1: 3, high - 1e-9: 3, high + 1e-9: 0}
    assert {limit: answer(found, Rule("slower", limit)).exit_code for limit in limits} == limits
    said = answer(found, Rule("slower", 0.2))
    assert (said.broken, said.excluded) == ((), 1)
    assert said.open == (f"mlp alpha (its interval goes from {low:+.1%} to {high:+.1%})",)
    assert cli.main(["compare", *map(str, folders), "--fail-on", "slower>20%"]) == 3
    told = " ".join(capsys.readouterr().out.split())
    assert "slower>20%: not known: 1 of 2 leave it open: mlp alpha (its interval goes from +1" in told


def test_too_few_processes_measure_nothing(tmp_path: Path, capsys: Capture) -> None:
    before = written(tmp_path, "before", contender("alpha", 1, count=8))
    after = written(tmp_path, "after", contender("alpha", 1, 3.0, count=1))
    assert cli.main(["compare", str(before), str(after), "--fail-on", "slower>5%"]) == 3
    said = " ".join(capsys.readouterr().out.split())
    assert "not known: mlp alpha (1 process in after, and a spread needs 2)" in said
    assert cli.main(["compare", str(before), str(after)]) == 0


def test_a_change_that_could_not_have_been_seen_is_not_called_absent(tmp_path: Path, capsys: Capture) -> None:
    before = contender("alpha", 1) + contender("beta", 2, spread=0.3)
    after = contender("alpha", 3) + contender("beta", 4, spread=0.3)
    words = ["compare", str(written(tmp_path, "before", before)), str(written(tmp_path, "after", after))]
    assert cli.main([*words, "--fail-on", "slower>5%"]) == 3
    said = " ".join(capsys.readouterr().out.split())
    assert "slower>5%: not known: 1 of 2 leave it open: mlp beta (its interval goes from -" in said


def test_an_interval_that_lies_short_of_the_limit_has_answered_however_wide_it_is(tmp_path: Path) -> None:
    before = written(tmp_path, "before", contender("alpha", 1, spread=0.2))
    found = compared(before, written(tmp_path, "after", contender("alpha", 3, 0.4, spread=0.2)))
    assert row_of(found, "alpha")["detectable"] > 0.05
    assert answer(found, Rule("slower", 0.05)).exit_code == 0


def test_a_contender_that_fails_in_one_run_is_not_passed_over(tmp_path: Path) -> None:
    before, _ = two_runs(tmp_path, 1.0)
    failing = [verify("beta", error=1.0, status="failed", reason="off by 1.0")]
    found = compared(before, written(tmp_path, "failing", contender("alpha", 3) + failing))
    (refusal,) = found.refused
    assert (refusal.workload, refusal.contender) == ("mlp", "beta")
    assert refusal.reason == "beta in failing: failed, off by 1.0"
    said = answer(found, Rule("slower", 0.05))
    assert (said.exit_code, said.excluded, len(said.open)) == (3, 1, 1)


def test_what_only_one_run_was_to_measure_is_told_and_breaks_no_rule(tmp_path: Path) -> None:
    before, _ = two_runs(tmp_path, 1.0)
    found = compared(before, written(tmp_path, "fewer", contender("alpha", 3)))
    assert [(alone.kind, alone.name, alone.run) for alone in found.alone] == [("contender", "beta", "before")]
    assert answer(found, Rule("slower", 0.05)).exit_code == 0


def passes(peak: float) -> list[Record]:
    proven = [record for record in contender("alpha", 1) if record["kind"] != "memory"]
    return proven + [memory("alpha", peak=peak + block, block=block) for block in range(3)]


@pytest.mark.parametrize(("peak", "verdict", "code"), [(400, "more", 1), (300, "equivalent", 0)])
def test_memory_has_its_verdict_and_its_rule(tmp_path: Path, peak: float, verdict: str, code: int) -> None:
    found = compared(written(tmp_path, "before", passes(300)), written(tmp_path, "after", passes(peak)))
    assert verdicts(found, "peak_mib") == {"alpha": verdict}
    assert answer(found, Rule("memory", 0.1)).exit_code == code


def trained(shift: float, seeds: list[int], metric: str = "accuracy") -> list[Record]:
    """Scores that differ much from seed to seed, and little between two runs of one seed."""
    scores = [0.7 + 0.03 * (seed % 5) + shift * (1 + 0.01 * block) for block, seed in enumerate(seeds)]
    return [
        verify("alpha"),
        *(
            measure(
                "alpha",
                block=block,
                seed=seed,
                step_ms=(time,) * 4,
                learning={"train": [], "test": {metric: scores[block]}},
            )
            for block, (seed, time) in enumerate(zip(seeds, steps(1), strict=False))
        ),
    ]


@pytest.mark.parametrize(
    ("metric", "shift", "verdict", "code"),
    [
        ("accuracy", -0.02, "worse", 1),
        ("accuracy", 0.02, "better", 0),
        ("accuracy", 1e-5, "equivalent", 0),  # sure, and too small to matter
        ("rmse", 0.02, "worse", 1),
    ],
)
def test_the_metric_is_compared_seed_by_seed_where_seeds_are_shared(
    tmp_path: Path, metric: str, shift: float, verdict: str, code: int
) -> None:
    before, after = (
        written(tmp_path, name, trained(by, [0, 1, 2, 3], metric), metric=metric)
        for name, by in (("before", 0.0), ("after", shift))
    )
    found = compared(before, after)
    assert verdicts(found, "metric") == {"alpha": verdict}
    assert answer(found, Rule("worse", 0.01)).exit_code == code


def test_a_rule_stricter_than_the_margin_is_broken_by_what_is_called_equivalent(tmp_path: Path) -> None:
    before = written(tmp_path, "before", trained(0.0, [0, 1, 2, 3]))
    found = compared(before, written(tmp_path, "after", trained(-0.004, [0, 1, 2, 3])))
    assert verdicts(found, "metric") == {"alpha": "equivalent"}
    assert answer(found, Rule("worse", 0.001)).broken == ("mlp alpha",)
    assert answer(found, Rule("worse", 0.01)).exit_code == 0


def test_metrics_of_other_seeds_are_samples(tmp_path: Path) -> None:
    before = written(tmp_path, "before", trained(0.0, [0, 1, 2, 3]))
    found = compared(before, written(tmp_path, "after", trained(-0.02, [5, 6, 7, 8])))
    row = row_of(found, "alpha", "metric")
    assert (row["paired"], row["verdict"]) == (False, "inconclusive")
    said = answer(found, Rule("worse", 0.01))
    assert (said.exit_code, said.excluded) == (3, 0)


SHARED: Numbers = np.exp(np.random.default_rng(9).normal(0, 0.3, 8))


def versions(folder: Path) -> Path:
    """Two versions in one run, whose blocks differ more than the versions do."""
    old, new = (
        good(name, step_ms=tuple(SHARED * np.array(steps(seed, factor))))
        for name, seed, factor in (("alpha==1.2.2", 1, 1.0), ("alpha", 2, 1.1))
    )
    return written(folder, "both", old + new)


def test_two_versions_in_one_run_are_compared_block_by_block(tmp_path: Path, capsys: Capture) -> None:
    folder = versions(tmp_path)
    found = compared(folder, folder, ("alpha==1.2.2", "alpha"))
    assert found.table["paired"].all()
    assert verdicts(found) == {"alpha": "slower"}
    words = ["compare", str(folder), str(folder), "--match", "alpha==1.2.2=alpha", "--fail-on", "slower>5%"]
    assert cli.main(words) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "slower>5%: yes, mlp alpha==1.2.2 → alpha" in said
    assert "Two runs share no blocks" not in said


def test_a_contender_does_not_meet_itself(tmp_path: Path) -> None:
    folder = versions(tmp_path)
    with pytest.raises(UsageError, match="name two of its contenders with --match"):
        compared(folder, folder)
    with pytest.raises(UsageError, match="cannot be compared with itself"):
        compared(folder, folder, ("alpha", "alpha"))


def test_matched_contenders_alone_are_compared(tmp_path: Path) -> None:
    found = compared(*two_runs(tmp_path, 1.1), ("beta", "alpha"))
    assert verdicts(found) == {"alpha": "slower"}
    with pytest.raises(UsageError, match=r"unknown contender of after 'alhpa'\. Did you mean 'alpha'"):
        compared(tmp_path / "before", tmp_path / "after", ("beta", "alhpa"))


def test_people_and_programs_are_told_the_same(tmp_path: Path, capsys: Capture) -> None:
    words = ["compare", *map(str, two_runs(tmp_path, 1.2)), "--fail-on", "slower>5%", "--fail-on", "worse>1%"]
    assert cli.main(words) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "Two runs share no blocks: what drifted" in said
    assert "before: This run had no control" in said
    assert "slower>5%: yes, mlp alpha" in said
    assert "worse>1%: not known: mlp beta (no seed in before and no seed in after" in said
    assert cli.main([*words, "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert [rule["exit_code"] for rule in data["rules"]] == [1, 3]
    rows = {(row["second"], row["measure"]): row for row in data["comparisons"]}
    assert rows["alpha", "step_seconds"]["verdict"] == "slower"
    assert rows["alpha", "metric"]["detectable"] is None


@pytest.mark.parametrize(
    ("option", "word", "said"),
    [
        ("--fail-on", "slwer>5%", "'slwer>5%' is not a rule; there is slower>5%, memory>5%, worse>5%"),
        ("--fail-on", "slower", "is not a rule"),
        ("--fail-on", "slower>5", "'5' is not between 0 and 100%"),
        ("--match", "torch==2.12.1", "does not name two contenders"),
        ("--match", "a=b=c", "does not name two contenders"),
    ],
)
def test_wrong_words_are_answered_with_what_is_right(
    option: str, word: str, said: str, capsys: Capture
) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["compare", "a", "b", option, word])
    assert caught.value.code == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_an_unknown_run_is_named(capsys: Capture) -> None:
    assert cli.main(["compare", "mnist-refrence", "mnist-reference"]) == 2
    assert "Did you mean 'mnist-reference'?" in capsys.readouterr().err
