"""Series and markets: windows, what is held against them, and splits by time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from harness.data import catalogue
from harness.data.catalogue import CATALOGUE, array_shapes
from harness.data.disk import DataError
from harness.data.order import generator
from harness.data.prepared import prepare
from harness.data.sets import markets, series
from harness.data.sets.series import Form, cut
from harness.errors import UsageError
from harness.spec.data import Data

FORM = Form(length=6, horizon=3, season=4, test=10)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONESPEC_CACHE", str(tmp_path / "cache"))


def test_a_window_is_followed_by_what_is_to_be_forecast() -> None:
    values = np.arange(40, dtype=np.float64) ** 2
    found = cut(values, FORM)
    assert (len(found["train_x"]), len(found["test_x"])) == FORM.counts(40)
    level = values[2:6].mean()
    assert np.allclose(found["train_x"][0, :, 0], values[:6] - level)
    assert np.allclose(found["train_value"][0], values[6:9] - level)
    assert np.allclose(found["train_naive"][0], values[2:5] - level)
    # The last training window ends where the test part begins; the first test window's forecast begins there.
    assert found["train_value"][-1][-1] == values[29] - values[23:27].mean()
    assert found["test_value"][0][0] == values[30] - values[26:30].mean()


def test_the_seasonal_naive_forecast_repeats_the_season_as_often_as_it_must() -> None:
    form = Form(length=4, horizon=7, season=4, test=20)
    found = cut(np.tile([1.0, 5.0, 2.0, 8.0], 20), form)
    for split in ("train", "test"):
        assert np.array_equal(found[f"{split}_naive"], found[f"{split}_value"])
    # What is yet to come is no part of it.
    found = cut(generator(0).normal(size=80), form)
    for split in ("train", "test"):
        seen, naive = found[f"{split}_x"][..., 0], found[f"{split}_naive"]
        assert np.array_equal(naive, np.concatenate([seen, seen[:, :3]], 1))


def test_logarithms_make_growth_a_difference() -> None:
    values = np.exp2(np.arange(40, dtype=np.float64))
    found = cut(values, Form(length=6, horizon=2, season=4, test=10, logarithm=True))
    assert np.allclose(found["train_x"], found["train_x"][0])
    assert np.allclose(np.diff(found["test_value"]), np.log(2))


@pytest.mark.parametrize("name", ["co2", "sunspots", "market"])
def test_validation_is_the_end_of_training_and_shares_nothing_with_it(name: str) -> None:
    known = CATALOGUE[name]
    prepared = prepare(name, held_out=0.2, scale="none")
    arrays = prepared.arrays()
    whole = prepare(name, held_out=0, scale="none").arrays()
    held, left = known.held(0.2, known.train_examples)
    target = "returns" if name == "market" else "value"
    assert len(whole[f"train_{target}"]) == known.train_examples
    assert len(whole[f"test_{target}"]) == known.test_examples
    assert np.array_equal(arrays[f"train_{target}"], whole[f"train_{target}"][:left])
    assert np.array_equal(arrays[f"validation_{target}"], whole[f"train_{target}"][-held:])
    assert known.train_examples - left - held == array_shapes(known)[target][0] - 1 or name == "market"


def test_forecasts_are_scaled_as_what_they_are_made_from() -> None:
    prepared = prepare("co2", held_out=0)
    arrays, raw = prepared.arrays(), prepare("co2", held_out=0, scale="none").arrays()
    (deviation,) = prepared.meta["standardised"]["x"]["deviation"]
    (mean,) = prepared.meta["standardised"]["x"]["mean"]
    assert set(prepared.meta["standardised"]) == {"x"}
    for name in ("train_x", "test_value", "test_naive"):
        assert np.allclose(arrays[name], (raw[name] - mean) / deviation, atol=1e-5)


def test_a_series_is_cut_as_the_spec_asks() -> None:
    found = catalogue.of(Data("sunspots", length=20, horizon=2), Path())
    assert array_shapes(found) == {"x": (20, 1), "value": (2,), "naive": (2,)}
    assert found.outputs == 2
    with pytest.raises(UsageError, match="a window of 4 and a forecast of 5 do not fit"):
        catalogue.of(Data("sunspots", length=4), Path())
    with pytest.raises(UsageError, match="do not fit"):
        catalogue.of(Data("co2", horizon=121), Path())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no column 'value'"),
        ("a,b\n1,2\n", "names no column 'value'"),
        ("a,value\n", "has no rows"),
        ("a,value\n1,x\n", "line 2 holds no numbers"),
        ("a,value\n1,2\n1,nan\n", "line 3 holds no numbers"),
        ("a,value\n1\n", "line 2 holds no numbers"),
    ],
)
def test_a_column_that_is_no_series_is_told(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / series.AIR_FILE
    path.write_text(text)
    with pytest.raises(DataError, match=said):
        series.load_air_passengers({path.name: path})


def test_a_series_of_another_length_is_told(tmp_path: Path) -> None:
    path = tmp_path / series.AIR_FILE
    path.write_text("a,value\n" + "1,2\n" * 143)
    with pytest.raises(DataError, match="air-passengers: has 143 steps, not the 144 expected"):
        catalogue.load(CATALOGUE["air-passengers"], {path.name: path})


# --- markets


def test_a_day_is_held_against_the_days_before_it() -> None:
    raw = catalogue.load(CATALOGUE["market"], {})
    returns = markets.market(markets.MARKET_DAYS, generator(markets.MARKET_SEED, 0, 8)) / 1e6
    train = len(raw.arrays["train_x"])
    assert np.array_equal(raw.arrays["train_x"][0], returns[:20])
    assert np.array_equal(raw.arrays["train_returns"][0], returns[20])
    assert np.array_equal(raw.arrays["test_x"][0][-1], returns[train + 19])
    assert np.array_equal(raw.arrays["test_returns"][-1], returns[-1])


def test_what_rose_lately_rises_in_the_synthetic_market() -> None:
    returns = markets.market(20_000, generator(5)).astype(np.float64)
    past = np.lib.stride_tricks.sliding_window_view(returns, 20, axis=0)[:-1].mean(-1)
    ahead = returns[20:]
    weights = (past - past.mean(1, keepdims=True) > 0).astype(float)
    weights /= np.maximum(weights.sum(1, keepdims=True), 1)
    chosen, equal = (weights * ahead).sum(1), ahead.mean(1)
    assert chosen.mean() / chosen.std() > 1.3 * equal.mean() / equal.std() > 0


def test_prices_become_returns(tmp_path: Path) -> None:
    path = tmp_path / markets.STOCKS_FILE
    path.write_text("n,DAX,SMI,CAC,FTSE\n1,100,1,1,1\n2,110,2,1,0.5\n")
    assert np.allclose(markets.load_stocks({path.name: path}).arrays["returns"], [[1e5, 1e6, 0, -5e5]])
    path.write_text("n,DAX,SMI,CAC,FTSE\n1,100,1,1,1\n2,0,2,1,0.5\n")
    with pytest.raises(DataError, match="all above zero"):
        markets.load_stocks({path.name: path})
    path.write_text("n,DAX,SMI,CAC,FTSE\n1,100,1,1,1\n2,110,2,1,0.5\n")
    with pytest.raises(DataError, match="eu-stock-markets: has 1 days, not the 1859"):
        catalogue.load(CATALOGUE["eu-stock-markets"], {path.name: path})
