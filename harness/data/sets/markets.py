"""Markets whose assets are to be held in the best shares: a synthetic one, and European stock indices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from harness.data.data_set import DataSet, Raw, mirrored
from harness.data.disk import DataError
from harness.data.order import generator
from harness.data.sets.series import column
from harness.data.split import TEST_FRACTION
from harness.errors import UsageError

LENGTH = 20
MARKET_DAYS, MARKET_ASSETS, MARKET_SEED = 3000, 4, 0
STOCKS_FILE = "EuStockMarkets.csv"
STOCKS = ("DAX", "SMI", "CAC", "FTSE")

Floats = npt.NDArray[np.float64]


def market(days: int, random: np.random.Generator) -> npt.NDArray[np.int64]:
    """Daily returns (days, assets) in millionths, whole numbers throughout: each asset's drift rises or falls
    slowly, by chance and back to a small gain, and each day's return lies around it with much noise, part of
    it common to all. What has gained lately is likely to gain: there is something to learn.
    """
    drift: npt.NDArray[np.int64] = np.zeros(MARKET_ASSETS, np.int64)
    found = np.empty((days, MARKET_ASSETS), np.int64)
    for day in range(days):
        drift = drift * 95 // 100 + 750 * random.integers(-1000, 1001, MARKET_ASSETS, np.int64) // 1000
        common = random.integers(-2000, 2001, 3).sum()
        own = random.integers(-4000, 4001, (3, MARKET_ASSETS)).sum(0)
        found[day] = 300 + drift + common + own
    return found


def _draw_market(_: Mapping[str, Path]) -> Raw:
    return Raw({"returns": market(MARKET_DAYS, generator(MARKET_SEED, 0, 8))})


def load_stocks(paths: Mapping[str, Path]) -> Raw:
    """Closing prices, a column an index, as the returns from one day to the next, in millionths."""
    path = paths[STOCKS_FILE]
    prices = column(path, STOCKS)
    if len(prices) < 2 or not np.all(prices > 0):
        raise DataError(f"{path}: needs the prices of two days, all above zero")
    return Raw({"returns": (prices[1:] / prices[:-1] - 1) * 1e6})


def held(data_set: DataSet, days: int, length: int) -> DataSet:
    """The returns (length, assets) of the days before as x, and those of the day as `returns` (assets,). The
    last fifth of the days is the test part; a day's window may reach back into the training part.
    """

    def finish(raw: Raw) -> Raw:
        returns: Floats = raw.arrays["returns"] / 1e6
        if len(returns) != days:
            raise DataError(f"{data_set.name}: has {len(returns)} days, not the {days} expected")
        past = np.lib.stride_tricks.sliding_window_view(returns, length, axis=0)[:-1].transpose(0, 2, 1)
        arrays: dict[str, npt.NDArray[Any]] = {}
        for split, part in (("train", slice(train)), ("test", slice(train, None))):
            arrays |= {f"{split}_x": past[part], f"{split}_returns": returns[length:][part]}
        return Raw(arrays, raw.counts)

    test = round(TEST_FRACTION * days)
    train = days - length - test
    if train < 1:
        raise UsageError(f"{data_set.name}: has {days} days, {test} for testing: {length} are too many")
    assets = len(data_set.classes)
    return replace(
        data_set,
        train_examples=train,
        test_examples=test,
        shape=(length, assets),
        beside={"returns": (assets,)},
        numbers=assets,
        finish=finish,
        at=lambda data: held(data_set, days, data.length or length),
        options={"length": length},
    )


def _base(name: str, title: str, source: str, licence: str, assets: tuple[str, ...]) -> DataSet:
    return DataSet(
        name=name,
        title=title,
        source=source,
        licence=licence,
        train_examples=0,
        test_examples=0,
        shape=(),
        classes=assets,
        value_range=None,
        load=_draw_market,
        target="none",
        scale="standard",
        takes=("length",),
        integers=(),
        overlap=0,
    )


SETS = (
    held(
        replace(
            _base(
                "market",
                "A synthetic market of four assets whose drifts come and go: daily returns",
                "generated (harness/data/sets/markets.py)",
                "none needed: generated",
                tuple("ABCD"),
            ),
            content_sha256="70dca90e5e39f515b4d0698bdd53241a55be36e832520f20bb31d991e490b45b",
        ),
        MARKET_DAYS,
        LENGTH,
    ),
    held(
        replace(
            _base(
                "eu-stock-markets",
                "Daily returns of DAX, SMI, CAC and FTSE, 1991 to 1998",
                "Erste Bank AG, as R's EuStockMarkets",
                "none stated for the numbers",
                STOCKS,
            ),
            load=load_stocks,
            files=mirrored(
                ("https://raw.githubusercontent.com/vincentarelbundock/Rdatasets/master/csv/datasets/",),
                (STOCKS_FILE, 60_865, "aa5513f3ca55daf51294accae9a3f946e957ba53f405dc4fafb4e125e5c03818"),
            ),
        ),
        1859,
        LENGTH,
    ),
)
