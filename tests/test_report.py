"""A report shows every contender, says the same numbers everywhere, and needs nothing but itself."""

from __future__ import annotations

import csv
import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, get_args

import matplotlib.image
import pytest
from rich.console import Console

from harness import paths
from harness.analyse.run import Run, load
from harness.cli import main
from harness.errors import NothingMeasured, OnespecError, UsageError
from harness.report import write
from harness.report.columns import Cell, build, full
from harness.report.compared import compared
from harness.report.console import print_summary
from harness.report.markdown import table, update_readme
from harness.report.numbers import ABSENT, decimals, percent, probability, runs_of, scientific, significant
from harness.report.palette import looks
from harness.score.pictures import Kind, path_of
from tests import synthetic
from tests.synthetic import good, measure, memory, verify

VOID = {"meta", "link", "img", "br", "hr", "input"}


class Page(HTMLParser):
    """The page's text, its ids and everything it refers to; fails on tags that do not nest."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.alternatives: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(source)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._see(tag, attrs)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._see(tag, attrs)

    def _see(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        named = dict(attrs)
        self.references += [
            str(named[name]) for name in ("src", "href", "xlink:href", "data") if name in named
        ]
        if "id" in named:
            self.ids.append(str(named["id"]))
        if tag == "svg":
            assert named["role"] == "img"
            self.alternatives.append(str(named["aria-label"]))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return load(synthetic.realistic(tmp_path_factory.mktemp("results") / "large"))


@pytest.fixture(scope="module")
def report(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write([run], tmp_path_factory.mktemp("report")).parent


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    return Page((report / "index.html").read_text(encoding="utf-8"))


def small(folder: Path) -> Run:
    records = [
        *good("alpha", step_ms=(1.0, 2.0, 1.5)),
        *good("alpha:fast", step_ms=(0.5, 0.6, 0.7)),
        verify("beta", error=None, status="failed", reason="gradient/dense1/kernel | <not> finite"),
    ]
    return load(synthetic.write(folder / "small", records))


def test_the_page_refers_to_nothing_but_itself(page: Page) -> None:
    assert page.references
    assert all(reference.startswith("#") for reference in page.references)
    assert {reference[1:] for reference in page.references} <= set(page.ids)
    assert not {"script", "link", "iframe"} & set(page.tags)


def test_no_two_elements_share_an_id(page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))


def test_every_figure_has_an_alternative_text_that_says_what_it_shows(page: Page) -> None:
    assert len(page.alternatives) == 12
    assert all(": " in text and "alpha" in text for text in page.alternatives)


def test_every_contender_is_on_the_page_and_in_its_twin(page: Page, report: Path) -> None:
    twin = (report / "report.md").read_text(encoding="utf-8")
    for contender in synthetic.THIRTEEN:
        assert contender in page.text
        assert contender in twin


def test_page_and_twin_say_the_same_numbers(page: Page, report: Path, run: Run) -> None:
    twin = (report / "report.md").read_text(encoding="utf-8")
    for workload in run.workloads:
        for line in build(run.summary_of(workload), full("accuracy")).lines:
            written = [f"{cell.text} ({cell.note})" if cell.note else cell.text for cell in line.cells]
            assert "| " + " | ".join(written) + " |" in twin
            assert all(cell.text in page.text and cell.note in page.text for cell in line.cells)


def test_contenders_without_a_rank_are_shown_with_their_reason(page: Page, report: Path) -> None:
    twin = (report / "report.md").read_text(encoding="utf-8")
    for reason in (
        "gradient/batchnorm1/scale in float64 is off by 4.3e-02",
        "while measuring: the process ended by signal 11 (SIGSEGV)",
        "while measuring: no result after 120 s",
    ):
        assert reason in page.text
        assert reason in twin


def test_the_twin_shows_figures_that_exist(report: Path) -> None:
    twin = (report / "report.md").read_text(encoding="utf-8")
    drawn = sorted((report / "figures").glob("*.png"))
    assert len(drawn) == 12
    for file in drawn:
        assert f"(figures/{file.name})" in twin
        assert matplotlib.image.imread(file).std() > 0.01


def test_the_numbers_are_in_a_csv(report: Path, run: Run) -> None:
    with (report / "summary.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(run.summary)
    assert {row["run"] for row in rows} == {"large"}
    for row, seconds in zip(rows, run.summary["step_seconds"], strict=True):
        assert float(row["step_seconds"] or "nan") == pytest.approx(seconds, nan_ok=True)


def test_a_report_is_the_same_bytes_when_made_again(run: Run, report: Path, tmp_path: Path) -> None:
    write([run], tmp_path / "again")
    for name in ("index.html", "report.md", "summary.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (report / name).read_bytes()


def test_several_runs_share_a_page_and_keep_their_figures_apart(tmp_path: Path) -> None:
    first = load(synthetic.write(tmp_path / "first", good("alpha")))
    second = load(synthetic.write(tmp_path / "second", good("alpha", step_ms=(5.0,)) + good("beta")))
    output = write([first, second], tmp_path / "report").parent
    page = Page((output / "index.html").read_text(encoding="utf-8"))
    assert len(page.ids) == len(set(page.ids))
    assert {"first-mlp-step-time.png", "second-mlp-step-time.png"} <= {
        file.name for file in (output / "figures").iterdir()
    }


PICTURED = ("alpha", "beta:compile", "beta", "gamma", "delta", "kappa", "omega", "zeta")


def pictured(folder: Path, kind: Kind, contenders: tuple[str, ...] = PICTURED, **about: Any) -> Page:
    """The page of a run with pictures of one kind."""
    records = [record for contender in contenders for record in good(contender)]
    records += [measure("alpha", block=5, seed=0, accuracy=0.75)]
    run = synthetic.write(folder / "run", records, contenders=list(contenders))
    synthetic.pictures(run, kind, contenders, **about)
    return Page(write([load(run)], folder / "out").read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", [kind for kind in get_args(Kind) if kind != "texts"])
def test_pictures_are_in_the_page_and_beside_its_twin(tmp_path: Path, kind: Kind) -> None:
    page = pictured(tmp_path, kind)
    (alternative,) = (text for text in page.alternatives if "images" in text)
    assert ": alpha" in alternative
    assert "Accuracy 0.750" in alternative
    twin = (tmp_path / "out" / "report.md").read_text(encoding="utf-8")
    assert f"![{alternative}](figures/mlp-{kind}.png)" in twin
    assert matplotlib.image.imread(tmp_path / "out" / "figures" / f"mlp-{kind}.png").std() > 0.05
    assert all(reference.startswith(("#", "data:image/png;base64,")) for reference in page.references)
    assert len(page.ids) == len(set(page.ids))


def test_pictures_show_one_contender_a_backend_and_its_default_mode(tmp_path: Path) -> None:
    page = pictured(tmp_path, "reconstructions", noisy=True)
    (alternative,) = (text for text in page.alternatives if "reconstructions" in text)
    shown = [each.split()[0] for each in alternative.partition(": ")[2].split("; ")]
    assert shown == ["alpha", "beta", "gamma", "delta", "kappa", "omega"]
    assert "the run has those of 2 more" in page.text
    assert "the noisy input that the model is given" in page.text


def test_a_code_is_shown_beside_pca(tmp_path: Path) -> None:
    page = pictured(tmp_path, "reconstructions", ("alpha", "beta"), code=5)
    assert any(
        "Codes of 300 test examples by class beside PCA's: alpha" in text for text in page.alternatives
    )
    assert "code of 5 numbers, in its own principal plane" in page.text
    assert "the run has those of" not in page.text


def test_a_damaged_picture_is_an_error_that_names_it(tmp_path: Path) -> None:
    run = small(tmp_path)
    path = path_of(run.folder, "mlp", "alpha:fast")
    path.parent.mkdir()
    path.write_bytes(b"cut")
    with pytest.raises(UsageError, match=r"mlp__alpha-fast\.npz cannot be read"):
        write([run], tmp_path / "out")


def judged_by(metric: str, folder: Path, records: list[dict[str, Any]], **about: Any) -> Path:
    """A run whose workload has this first metric."""
    synthetic.write(folder, records, **about)
    meta = json.loads((folder / "run.json").read_text())
    meta["workloads"]["mlp"]["metric"] = metric
    (folder / "run.json").write_text(json.dumps(meta))
    return folder


@pytest.mark.parametrize(
    ("name", "title", "reached"),
    [("rmse", "RMSE", False), ("psnr", "PSNR", True), ("homemade", "Homemade", True)],
)
def test_a_metric_is_called_and_judged_as_the_registry_says(
    tmp_path: Path, name: str, title: str, reached: bool
) -> None:
    learning = {"train": [], "validation": [], "test": {name: 30.0}}
    records = [verify("alpha"), measure("alpha", seed=0, learning=learning), memory("alpha")]
    run = load(judged_by(name, tmp_path / "run", records, target=20.0))
    assert run.summary["target_reached"].tolist() == [reached]
    unit = "dB, test" if name == "psnr" else "test"
    assert f"{title} ({unit})" in table(run, "mlp")


def test_other_metrics_have_columns_of_their_own(tmp_path: Path) -> None:
    learning = {"train": [], "validation": [], "test": {"accuracy": 0.9, "roc_auc": 0.97}}
    records = [verify("alpha"), measure("alpha", seed=0, learning=learning), memory("alpha")]
    folder = synthetic.write(tmp_path / "run", records)
    meta = json.loads((folder / "run.json").read_text())
    meta["workloads"]["mlp"]["spec"]["metrics"] = ["accuracy", "roc_auc"]
    (folder / "run.json").write_text(json.dumps(meta))
    run = load(folder)
    assert run.summary["other_metrics"].tolist() == [{"roc_auc": 0.97}]
    assert "ROC AUC (test)" in table(run, "mlp", everything=True)
    assert "0.9700" in table(run, "mlp", everything=True)
    assert "ROC AUC" not in table(run, "mlp")


def test_other_metrics_show_their_interval_over_seeds(tmp_path: Path) -> None:
    records = [
        measure(name, block=seed, seed=seed, learning={"train": [], "test": {"accuracy": 0.9, **others}})
        for name, scores in (("alpha", ({"roc_auc": 0.96}, {"roc_auc": 0.98})), ("beta", ({}, {})))
        for seed, others in enumerate(scores)
    ]
    folder = synthetic.write(tmp_path / "run", [verify("alpha"), verify("beta"), *records])
    meta = json.loads((folder / "run.json").read_text())
    meta["workloads"]["mlp"]["spec"]["metrics"] = ["accuracy", "roc_auc"]
    (folder / "run.json").write_text(json.dumps(meta))
    shown = build(load(folder).summary, full("accuracy", ["roc_auc"]))
    place = [column.key for column in shown.columns].index("metric_roc_auc")
    assert {line.contender: line.cells[place] for line in shown.lines} == {
        "alpha": Cell("0.9700", "0.8429 to 1.0971, 2 seeds"),
        "beta": Cell(ABSENT),
    }


def test_what_comes_before_the_steady_state_has_its_interval_in_the_full_table_alone(run: Run) -> None:
    workload = run.workloads[0]
    shown = build(run.summary_of(workload), full("accuracy"))
    places = {column.key: place for place, column in enumerate(shown.columns)}
    first, second = shown.ranked[:2]
    assert first.cells[places["import"]] == Cell("1.82", "0.457 to 7.22"), "of 1, 2 and 3 s"
    assert first.cells[places["build"]] == Cell("0.250", "0.250 to 0.250")
    assert " to " in first.cells[places["later"]].note
    assert first.cells[places["evaluate_verdict"]].text == ABSENT
    assert second.cells[places["evaluate_verdict"]].text in ("faster", "slower", "equivalent", "inconclusive")
    lines = table(run, workload).splitlines()
    assert "Inference" not in lines[0]
    assert "| 1.82 |" in lines[2]


def test_of_a_metric_computed_at_the_end_the_curve_is_the_loss(tmp_path: Path) -> None:
    validation = [{"epoch": epoch, "step": epoch, "loss": 1 / epoch} for epoch in (1, 2)]
    learning = {"train": [], "validation": validation, "test": {"loss": 0.5, "map50": 0.4}}
    records = [verify("alpha"), measure("alpha", seed=0, learning=learning), memory("alpha")]
    page = Page(write([load(judged_by("map50", tmp_path / "run", records))], tmp_path / "out").read_text())
    assert "Validation loss by epoch at seed 0; at the last: alpha 0.5000" in page.alternatives


def test_a_run_where_everything_failed_still_has_a_page(tmp_path: Path) -> None:
    failed = verify("alpha", error=1.0, status="failed", reason="loss off")
    page = Page(write([load(synthetic.write(tmp_path / "run", [failed]))], tmp_path / "out").read_text())
    assert "Nothing is ranked here" in page.text
    assert "loss off" in page.text


def test_text_of_a_run_cannot_break_the_page_or_a_table(tmp_path: Path) -> None:
    run = small(tmp_path)
    page = Page(write([run], tmp_path / "out").read_text(encoding="utf-8"))
    assert "gradient/dense1/kernel | <not> finite" in page.text
    assert '"note": "<b>&"' in page.text
    assert "gradient/dense1/kernel \\| &lt;not> finite" in table(run, "mlp")


def with_a_twin(folder: Path, factor: float) -> Run:
    times = (1.0, 2.0, 1.5, 1.2)
    twin = [
        record
        for record in good("alpha~twin", step_ms=tuple(factor * time for time in times))
        if record["kind"] == "measure"
    ]
    records = good("alpha", step_ms=times) + good("beta", step_ms=tuple(3 * time for time in times)) + twin
    control = {"contender": "alpha", "twin": "alpha~twin"}
    return load(synthetic.write(folder / "run", records, contenders=["alpha", "beta"], control=control))


def test_a_control_that_holds_is_told_with_what_it_could_have_missed(tmp_path: Path) -> None:
    run = with_a_twin(tmp_path, 1.0)
    page = Page(write([run], tmp_path / "out").read_text(encoding="utf-8"))
    told = "Control: alpha entered twice; its twin's step time over its own is 1.00 (1.00 to 1.00) in mlp"
    assert told in page.text
    assert "Against it: beta slower." in page.text
    assert "withheld" not in page.text


def test_a_control_that_fails_is_told_on_top_and_verdicts_are_withheld(tmp_path: Path) -> None:
    run = with_a_twin(tmp_path, 1.2)
    output = write([run], tmp_path / "out").parent
    page = Page((output / "index.html").read_text(encoding="utf-8"))
    warning = "Verdicts on step time and inference are withheld: alpha and its twin are one program"
    assert 0 < page.text.index(warning) < page.text.index("Of 2 proven contenders")
    assert "Verdicts are withheld: the control failed." in page.text
    assert "beta slower" not in page.text
    assert f"> {warning}" in (output / "report.md").read_text(encoding="utf-8")
    lines = table(run, "mlp").splitlines()
    assert "| withheld |" in lines[3]
    console = Console(width=200, record=True, color_system=None, file=open("/dev/null", "w"))  # noqa: SIM115
    print_summary(run, console)
    text = " ".join(console.export_text().split())
    assert text.startswith(f"note: {warning}")
    assert "slower" not in text


def test_a_run_without_a_control_says_so(page: Page, report: Path) -> None:
    for text in (page.text, (report / "report.md").read_text(encoding="utf-8")):
        assert "This run had no control" in text


def test_every_comparison_with_the_first_is_on_the_page_and_in_its_twin(
    page: Page, report: Path, run: Run
) -> None:
    twin = (report / "report.md").read_text(encoding="utf-8")
    for workload in run.workloads:
        shown = compared(run, workload)
        assert shown is not None
        ranked = run.summary_of(workload)["rank"].notna().sum()
        assert sum(row[1].text == "step time, ratio" for row in shown.grid.rows) == ranked - 1
        assert f"Every comparison with {shown.reference}" in page.text
        for row in shown.grid.rows:
            assert all(cell.text in page.text and cell.note in page.text for cell in row)
            assert (
                " | ".join(f"{c.text} ({c.note})" if c.note else c.text for c in row).replace("<", "&lt;")
                in twin
            )


def test_a_process_without_a_steady_state_is_counted_beside_those_with_one(tmp_path: Path) -> None:
    drifting = tuple(1.0 + 0.05 * step for step in range(20))
    records = [*good("alpha", step_ms=(1.0, 1.1)), measure("alpha", block=2, step_ms=drifting)]
    (line,) = build(load(synthetic.write(tmp_path / "run", records)).summary, full("accuracy")).lines
    assert "1 not steady" in {cell.note for cell in line.cells}


def test_without_a_steady_state_there_is_no_number_and_the_reason_is_shown(tmp_path: Path) -> None:
    drifting = tuple(1.0 + 0.05 * step for step in range(20))
    records = [*good("alpha"), verify("beta"), *(measure("beta", block=b, step_ms=drifting) for b in (0, 1))]
    run = load(synthetic.write(tmp_path / "run", records))
    assert (
        "beta: ok: no steady state in any of its 2 processes; in the first: the step time still drifts: +49 %"
        in table(run, "mlp")
    )
    assert "| beta | ok | proven (0.1) | 1" not in table(run, "mlp")


def test_unreadable_records_are_told(tmp_path: Path) -> None:
    folder = synthetic.write(tmp_path / "run", good("alpha"))
    with (folder / "records.jsonl").open("a") as file:
        file.write('{"cut": ')
    page = Page(write([load(folder)], tmp_path / "out").read_text(encoding="utf-8"))
    assert "1 line of records.jsonl could not be read" in page.text


def test_one_process_claims_no_interval(tmp_path: Path) -> None:
    run = load(synthetic.write(tmp_path / "run", [verify("alpha"), measure("alpha"), memory("alpha")]))
    page = Page(write([run], tmp_path / "out").read_text(encoding="utf-8"))
    assert (
        "alpha is the only ranked contender: 1.00 ms (one process, so without an interval) a step."
        in page.text
    )


def test_a_run_without_records_measured_nothing(tmp_path: Path) -> None:
    run = load(synthetic.write(tmp_path / "run", [], contenders=["alpha"]))
    with pytest.raises(NothingMeasured, match="run has no record"):
        write([run], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file where a folder should be")
    with pytest.raises(OnespecError, match="cannot write the report into"):
        write([small(tmp_path)], tmp_path / "out")


def test_the_markdown_table_ranks_by_step_time_and_lists_the_reasons(tmp_path: Path) -> None:
    lines = table(small(tmp_path), "mlp").splitlines()
    assert [line.split(" | ")[2] for line in lines[2:5]] == ["alpha:fast", "alpha", "beta"]
    assert "0.594 (0.391 to 0.903)" in lines[2]
    assert lines[3].startswith("| 2 | 2 | alpha |")
    assert "| 1.44 (0.607 to 3.43) | 2.43 (1.22 to 4.83) | slower | 150 % |" in lines[3]
    assert lines[4].startswith("| \u2013 | \u2013 | beta | failed | unproven (not finite)")
    assert lines[-1].startswith("- beta: failed: ")


README = "before\n<!-- onespec:table small mlp -->\nstale\n<!-- /onespec:table -->\nafter\n"


def test_a_readmes_table_is_replaced_between_its_markers(tmp_path: Path) -> None:
    file, run = tmp_path / "README.md", small(tmp_path)
    file.write_text(README)
    assert update_readme(file, [run]) == ["small mlp"]
    once = file.read_text(encoding="utf-8")
    assert table(run, "mlp") in once
    assert "stale" not in once
    assert once.startswith("before\n<!-- onespec:table small mlp -->\n")
    assert once.endswith("<!-- /onespec:table -->\nafter\n")
    update_readme(file, [run])
    assert file.read_text(encoding="utf-8") == once


def test_tables_of_other_runs_are_left_alone(tmp_path: Path) -> None:
    other = "<!-- onespec:table other mlp -->\nkept\n<!-- /onespec:table -->\n"
    file = tmp_path / "README.md"
    file.write_text(README + other)
    update_readme(file, [small(tmp_path)])
    assert file.read_text(encoding="utf-8").endswith(other)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing here", "has no place for a table of small"),
        ("\n<!-- onespec:table small mlp -->\n", "line 2: .* is not closed"),
        (README.replace("small mlp", "small mpl"), "unknown workload 'mpl'. Did you mean 'mlp'"),
    ],
)
def test_a_readme_without_proper_markers_is_left_as_it_was(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "README.md"
    file.write_text(text)
    with pytest.raises(UsageError, match=message):
        update_readme(file, [small(tmp_path)])
    assert file.read_text() == text


@pytest.mark.parametrize("width", [60, 80, 100, 120])
def test_the_console_table_fits_and_names_everyone(run: Run, width: int) -> None:
    console = Console(width=width, record=True, color_system=None, file=open("/dev/null", "w"))  # noqa: SIM115
    print_summary(run, console)
    lines = console.export_text().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    rows = [line.split() for line in lines]
    for contender in synthetic.THIRTEEN:
        assert sum(contender in row for row in rows) >= 2


def test_a_wide_console_shows_every_measure(tmp_path: Path) -> None:
    console = Console(width=120, record=True, color_system=None, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115
    print_summary(small(tmp_path), console)
    text = " ".join(console.export_text().split())
    for header in ("Status", "Proof", "Step time", "x first", "Tier", "Verdict", "detect", "MiB"):
        assert header in text
    assert "0.594 (0.391-0.903)" in text


def test_a_contenders_colour_follows_from_the_sorted_names_alone() -> None:
    names = list(synthetic.THIRTEEN)
    assert looks(names) == looks(reversed(names))
    assert len(set(looks(names).values())) == len(names)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.4501, "0.450"),
        (71132.4, "71,100"),
        (9.996, "10.0"),
        (1.0, "1.00"),
        (0.0, "0"),
        (float("nan"), "\u2013"),
        (float("inf"), "∞"),
    ],
)
def test_numbers_have_three_significant_digits(value: float, text: str) -> None:
    assert significant(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(0.1234, "12 %"), (0.005, "0.50 %"), (3.0, "300 %"), (1e25, "> 1,000 %"), (float("nan"), "\u2013")],
)
def test_shares_are_percents_as_long_as_that_tells_something(share: float, text: str) -> None:
    assert percent(share) == text


def test_tiers_in_a_row_are_shortened() -> None:
    assert runs_of([1, 2, 3, 5, 8, 9]) == "1\u20133, 5, 8\u20139"


def test_no_p_is_smaller_than_anybody_believes() -> None:
    assert [probability(p) for p in (0.25, 0.0123, 1e-9)] == ["0.25", "0.012", "< 0.0001"]


def test_small_errors_are_written_in_powers_of_ten() -> None:
    assert [scientific(value) for value in (2.13e-7, 0.0, float("inf"))] == ["2.1e-7", "0", "not finite"]
    assert decimals(0.97341, 4) == "0.9734"


def test_the_command_writes_beside_the_other_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paths, "root", lambda: tmp_path)
    synthetic.write(tmp_path / "results" / "small", good("alpha"))
    assert main(["report", "small"]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "reports" / "small" / "index.html")
    assert (tmp_path / "reports" / "small" / "index.html").is_file()


def test_an_unknown_run_is_answered_with_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paths, "root", lambda: tmp_path)
    synthetic.write(tmp_path / "results" / "quick-one", good("alpha"))
    assert main(["report", "quick-on"]) == 2
    assert "unknown run 'quick-on'. Did you mean 'quick-one'?" in capsys.readouterr().err


def test_the_command_says_that_nothing_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = synthetic.write(tmp_path / "empty", [], contenders=["alpha"])
    assert main(["report", str(folder), "-o", str(tmp_path / "out")]) == 3
    assert "nothing to report" in capsys.readouterr().err


def test_the_command_updates_a_readme(tmp_path: Path) -> None:
    folder = small(tmp_path).folder
    file = tmp_path / "README.md"
    file.write_text(README)
    assert main(["report", str(folder), "-o", str(tmp_path / "out"), "--readme", str(file)]) == 0
    assert "alpha:fast" in file.read_text(encoding="utf-8")
