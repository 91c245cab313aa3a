"""Series to be forecast: carbon dioxide and sunspots, which come with statsmodels, and air passengers."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.data.data_set import DataSet, Raw, mirrored
from harness.data.disk import DataError
from harness.errors import UsageError

AIR_FILE = "AirPassengers.csv"

Floats = npt.NDArray[np.float64]


def _load_co2(_: Mapping[str, Path]) -> Raw:
    """The means of the months, from those weeks that have a value; a month without any takes the place on the
    line between its neighbours.
    """
    from statsmodels.datasets import co2

    months = co2.load_pandas().data["co2"].resample("MS").mean().interpolate("linear")
    return Raw({"series": np.round(months.to_numpy(np.float64), 6)})


def _load_sunspots(_: Mapping[str, Path]) -> Raw:
    """The yearly numbers."""
    from statsmodels.datasets import sunspots

    return Raw({"series": sunspots.load_pandas().data["SUNACTIVITY"].to_numpy(np.float64)})


def load_air_passengers(paths: Mapping[str, Path]) -> Raw:
    """The column `value` of a CSV file."""
    return Raw({"series": column(paths[AIR_FILE], ("value",))[:, 0]})


def column(path: Path, names: tuple[str, ...]) -> Floats:
    """Columns of a CSV file with a header as float64 (rows, columns). Raises `DataError` by line."""
    try:
        with path.open(encoding="utf-8", newline="") as handle:
            rows = csv.reader(handle)
            header = next(rows, [])
            absent = [name for name in names if name not in header]
            if absent:
                raise DataError(f"{path}: line 1 names no column {absent[0]!r}")
            places = [header.index(name) for name in names]
            found = [_numbers(path, rows.line_num, row, places) for row in rows if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    if not found:
        raise DataError(f"{path}: has no rows")
    return np.array(found, np.float64)


def _numbers(path: Path, line: int, row: list[str], places: list[int]) -> list[float]:
    try:
        found = [float(row[place]) for place in places]
    except (ValueError, IndexError):
        found = []
    if not found or not np.all(np.isfinite(found)):
        raise DataError(f"{path}: line {line} holds no numbers where they should be: {row}")
    return found


@dataclass(frozen=True)
class Form:
    """How a series is cut: how many steps a model sees, how many it forecasts, how long a season is, how many
    of the last steps are the test part, and whether logarithms are taken.
    """

    length: int
    horizon: int
    season: int
    test: int
    logarithm: bool = False

    def counts(self, steps: int) -> tuple[int, int]:
        """Training and test examples."""
        return steps - self.test - self.length - self.horizon + 1, self.test - self.horizon + 1


def cut(values: Floats, form: Form) -> dict[str, npt.NDArray[Any]]:
    """A window for each step that can be the first to be forecast, all numbers less the mean of the season
    before that step: x (length, 1), the `value` (horizon,) that follows, and `naive` (horizon,), the
    seasonal-naive forecast: the last season again.

    The split is by time: a window whose forecast ends before the test part is for training, one whose
    forecast begins in it is for testing, and one that lies across is left out.
    """
    if form.logarithm:
        values = np.log(values)
    begin = len(values) - form.test
    arrays: dict[str, npt.NDArray[Any]] = {}
    for split, firsts in (
        ("train", range(form.length, begin - form.horizon + 1)),
        ("test", range(begin, len(values) - form.horizon + 1)),
    ):
        at = np.array(firsts)[:, np.newaxis]
        level = values[at - 1 - np.arange(form.season)].mean(1, keepdims=True)
        ahead = np.arange(form.horizon)
        arrays |= {
            f"{split}_x": (values[at - form.length + np.arange(form.length)] - level)[..., np.newaxis],
            f"{split}_value": values[at + ahead] - level,
            f"{split}_naive": values[at - form.season + ahead % form.season] - level,
        }
    return arrays


def forecast(data_set: DataSet, steps: int, form: Form) -> DataSet:
    """A series of so many `steps`, `cut` by a form. Values are scaled as x is, which leaves no mean to be
    guessed and no unit.
    """

    def finish(raw: Raw) -> Raw:
        values = raw.arrays["series"]
        if len(values) != steps:
            raise DataError(f"{data_set.name}: has {len(values)} steps, not the {steps} expected")
        return Raw(cut(values, form), raw.counts)

    train, test = form.counts(steps)
    if form.length < form.season or min(train, test) < 1:
        raise UsageError(
            f"{data_set.name}: has {steps} steps, {form.test} of them for testing, and a season of "
            f"{form.season}: a window of {form.length} and a forecast of {form.horizon} do not fit"
        )
    return replace(
        data_set,
        train_examples=train,
        test_examples=test,
        shape=(form.length, 1),
        beside={"value": (form.horizon,), "naive": (form.horizon,)},
        numbers=form.horizon,
        overlap=form.horizon - 1,
        finish=finish,
        at=lambda data: forecast(
            data_set,
            steps,
            replace(form, length=data.length or form.length, horizon=data.horizon or form.horizon),
        ),
        options={"length": form.length, "horizon": form.horizon},
    )


def _series(name: str, title: str, source: str, licence: str) -> DataSet:
    return DataSet(
        name=name,
        title=title,
        source=source,
        licence=licence,
        train_examples=0,
        test_examples=0,
        shape=(),
        classes=(),
        value_range=None,
        load=_load_co2,
        target="none",
        scale="standard",
        takes=("length", "horizon"),
        integers=(),
        like_x=("value", "naive"),
    )


SETS = (
    forecast(
        replace(
            _series(
                "co2",
                "Carbon dioxide in the air of Mauna Loa, 526 months, less the mean of the year before",
                "C. Keeling and T. Whorf, as statsmodels' co2",
                "public domain",
            ),
            content_sha256="9708f8a3ae846d74852e6017c008ef2e0f67a6f59dcc0e111a44bd6c3a66e68c",
        ),
        526,
        Form(length=36, horizon=12, season=12, test=120),
    ),
    forecast(
        replace(
            _series(
                "sunspots",
                "Sunspots, 309 years, less the mean of the eleven years before",
                "National Geophysical Data Center, as statsmodels' sunspots",
                "public domain",
            ),
            load=_load_sunspots,
            content_sha256="ee0dad4c0b91493b91921caee4f616fc143f0c69032d979fdeb80946710d7c74",
        ),
        309,
        Form(length=33, horizon=5, season=11, test=66),
    ),
    forecast(
        replace(
            _series(
                "air-passengers",
                "Air passengers, 144 months: logarithms, less their mean of the year before",
                "G. Box and G. Jenkins, series G, as R's AirPassengers",
                "GPL-2 or GPL-3, as the R package datasets",
            ),
            load=load_air_passengers,
            files=mirrored(
                ("https://raw.githubusercontent.com/vincentarelbundock/Rdatasets/master/csv/datasets/",),
                (AIR_FILE, 3_032, "bdb98adbd418a6de6842a742e0602f363c3b841c26677e7e61a1e055e9509bd8"),
            ),
        ),
        144,
        Form(length=24, horizon=12, season=12, test=36, logarithm=True),
    ),
)
