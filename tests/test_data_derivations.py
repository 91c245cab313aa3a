"""Derived arrays: what they are, that they belong to the data, and what is refused."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.catalogue import CATALOGUE, array_shapes
from harness.data.prepared import prepare
from harness.spec import codec
from harness.spec.codec import SpecError
from harness.spec.data import Data
from harness.spec.derivations import Derivation, Grid, Latent, Noisy, OneHot, with_derived

RANDOM = np.random.default_rng(0)
DIGITS = {"x": (8, 8, 1), "y": ()}
SCENES = {"x": (64, 64, 3), "objects": (4, 5)}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONESPEC_CACHE", str(tmp_path / "cache"))


# --- the language


def test_derivations_are_words_of_a_spec() -> None:
    read = codec.decode(
        Data,
        {
            "name": "digits",
            "derive": [
                {"type": "latent", "size": 16},
                {"type": "noisy", "sigma": 1, "seed": 3},
                {"type": "grid", "rows": 2, "columns": 3, "anchors": [[0.5, 1]]},
            ],
        },
    )
    assert read.derive == (Latent(16), Noisy(1.0, seed=3), Grid(2, 3, ((0.5, 1.0),)))
    assert codec.decode(Data, codec.encode(read)) == read
    assert codec.encode(read)["derive"][0] == {"type": "latent", "size": 16, "seed": 0}


@pytest.mark.parametrize(
    ("derivation", "said"),
    [
        ({"type": "latent", "size": 0}, r"derive\[0\].size: must be positive"),
        ({"type": "latent"}, r"derive\[0\].size: is missing"),
        ({"type": "laten", "size": 4}, "unknown derivation 'laten'. Did you mean 'latent'"),
        ({"type": "one_hot", "classes": 0}, r"derive\[0\].classes: must be positive"),
        ({"type": "noisy", "sigma": -0.1}, r"derive\[0\].sigma: must be positive"),
        ({"type": "noisy", "sigma": 0.1, "seed": -1}, r"derive\[0\].seed: must lie in"),
        ({"type": "grid", "rows": 4, "columns": 0, "anchors": [[1, 1]]}, "columns: must be positive"),
        ({"type": "grid", "rows": 4, "columns": 4, "anchors": []}, "anchors: needs at least one"),
        (
            {"type": "grid", "rows": 4, "columns": 4, "anchors": [[1, 1], [0, 1]]},
            r"anchors\[1\]: a width and",
        ),
    ],
)
def test_a_wrong_derivation_is_told_by_its_field(derivation: dict[str, Any], said: str) -> None:
    with pytest.raises(SpecError, match=said):
        codec.decode(Data, {"name": "digits", "derive": [derivation]})


def test_shapes_add_up_and_what_does_not_fit_is_refused() -> None:
    assert with_derived(DIGITS, ()) == DIGITS
    assert with_derived(DIGITS, (Latent(3), Noisy(0.1))) == DIGITS | {"noise": (3,), "noisy": (8, 8, 1)}
    grid = Grid(4, 8, ((0.1, 0.1), (0.5, 0.5)))
    assert with_derived(SCENES, (grid,)) == SCENES | {"boxes": (4, 8, 2, 5), "classes": (4, 8, 2)}
    with pytest.raises(SpecError, match=r"derive\[0\]: needs the array 'objects'; there is x, y"):
        with_derived(DIGITS, (grid,))
    with pytest.raises(SpecError, match=r"derive\[1\]: there is an array 'noise' already"):
        with_derived(DIGITS, (Latent(3), Latent(4)))


def test_one_hot_has_a_one_at_the_class_and_refuses_a_class_too_many() -> None:
    assert with_derived(DIGITS, (OneHot(3),))["one_hot"] == (3,)
    found = OneHot(3).apply({"y": np.array([2, 0], np.int32)}, "train", RANDOM)["one_hot"]
    assert found.dtype == np.float32
    assert found.tolist() == [[0, 0, 1], [1, 0, 0]]
    with pytest.raises(SpecError, match="classes: the test split has the class 2, not below 2"):
        OneHot(2).apply({"y": np.array([2, 0], np.int32)}, "test", RANDOM)


# --- noise


def test_noise_is_normal_and_noisy_is_x_with_it_cut_off() -> None:
    x = np.random.default_rng(1).random((500, 4, 4, 1), np.float32)
    noise = Latent(20).apply({"x": x}, "train", np.random.default_rng(2))["noise"]
    assert (noise.shape, noise.dtype) == ((500, 20), np.float32)
    assert abs(noise.mean()) < 0.03
    assert noise.std() == pytest.approx(1, abs=0.03)
    noisy = Noisy(0.3).apply({"x": x}, "train", np.random.default_rng(2))["noisy"]
    drawn = np.random.default_rng(2).standard_normal(x.shape, np.float32)
    assert noisy.dtype == np.float32
    np.testing.assert_allclose(noisy, np.clip(x + 0.3 * drawn, 0, 1), atol=1e-6)
    assert (noisy.min(), noisy.max()) == (0, 1)


def test_noise_on_what_is_not_in_the_unit_range_is_refused() -> None:
    with pytest.raises(
        SpecError, match=r"derive\[1\]: needs x in \[0, 1\].* in the train split it lies in 0 ... 16"
    ):
        prepare("digits", scale="none", derive=(Latent(2), Noisy(0.1)))


# --- grids


def grid_of(*objects: list[float], anchors: tuple[tuple[float, float], ...], cells: int = 2) -> Any:
    rows: npt.NDArray[np.float32] = np.full((1, 5, 5), -1, np.float32)
    rows[0, : len(objects)] = np.array(objects, np.float32).reshape(-1, 5)
    grid = Grid(cells, cells, anchors)
    found = grid.apply({"objects": rows}, "train", RANDOM)
    return found["boxes"][0], found["classes"][0], grid.counts({"objects": rows} | found)


SMALL, LARGE = (0.2, 0.2), (0.8, 0.4)
DROPPED = "objects without a free anchor in their cell, dropped"


def test_an_object_stands_in_the_cell_of_its_centre_at_its_best_anchor() -> None:
    boxes, classes, counts = grid_of([2, 0.6, 0.35, 0.7, 0.4], anchors=(SMALL, LARGE))
    assert boxes.dtype == np.float32
    assert classes.dtype == np.int32
    np.testing.assert_allclose(boxes[0, 1, 1], [1, 0.2, 0.7, math.log(0.7 / 0.8), 0], atol=1e-6)
    assert classes[0, 1, 1] == 2
    assert np.count_nonzero(boxes[..., 0]) == np.count_nonzero(classes) == 1
    assert counts == {DROPPED: 0}


def test_the_second_goes_to_the_next_best_anchor_and_the_third_is_dropped() -> None:
    objects = [[0, 0.1, 0.1, 0.2, 0.2], [1, 0.2, 0.2, 0.2, 0.2], [2, 0.3, 0.3, 0.9, 0.4]]
    boxes, classes, counts = grid_of(*objects, anchors=(SMALL, LARGE))
    assert classes[0, 0].tolist() == [0, 1]
    np.testing.assert_allclose(boxes[0, 0, :, 0], [1, 1])
    np.testing.assert_allclose(boxes[0, 0, 1, 3:], [math.log(0.2 / 0.8), math.log(0.2 / 0.4)], rtol=1e-5)
    assert counts == {DROPPED: 1}


def test_a_centre_on_the_far_edge_belongs_to_the_last_cell() -> None:
    boxes, _, _ = grid_of([0, 1.0, 1.0, 0.1, 0.1], anchors=(SMALL,))
    assert boxes[1, 1, 0, :3].tolist() == [1, 1, 1]


@given(
    objects=st.lists(
        st.tuples(
            st.integers(0, 3),
            *[st.floats(0, 1, width=32)] * 2,
            *[st.floats(2**-10, 1, width=32)] * 2,
        ),
        max_size=5,
    ),
    cells=st.integers(1, 5),
)
def test_boxes_give_back_every_object_that_was_placed(objects: list[tuple[float, ...]], cells: int) -> None:
    anchors = (SMALL, LARGE, (0.1, 0.9))
    boxes, classes, counts = grid_of(*map(list, objects), anchors=anchors, cells=cells)
    found = []
    for row, column, anchor in np.argwhere(boxes[..., 0] == 1):
        x, y, w, h = boxes[row, column, anchor, 1:].astype(np.float64)
        assert 0 <= x <= 1
        assert 0 <= y <= 1
        width, height = anchors[anchor]
        sizes = (width * math.exp(w), height * math.exp(h))
        found.append((float(classes[row, column, anchor]), (column + x) / cells, (row + y) / cells, *sizes))
    assert len(found) + counts[DROPPED] == len(objects)
    for each in found:
        assert any(np.allclose(each, other, atol=1e-5) for other in objects)
    assert not boxes[boxes[..., 0] == 0].any()
    assert not classes[boxes[..., 0] == 0].any()


# --- as part of the data


DERIVE: tuple[Derivation, ...] = (Latent(4, seed=1), Noisy(0.3))


def test_derived_arrays_stand_in_every_split_and_leave_the_others_alone() -> None:
    plain, derived = prepare("digits", held_out=0.2), prepare("digits", held_out=0.2, derive=DERIVE)
    arrays, before = derived.arrays(), plain.arrays()
    shapes = with_derived(array_shapes(CATALOGUE["digits"]), DERIVE)
    for split, count in (("train", 1150), ("validation", 287), ("test", 360)):
        for name, shape in shapes.items():
            assert arrays[f"{split}_{name}"].shape == (count, *shape)
    for name, array in before.items():
        np.testing.assert_array_equal(arrays[name], array)
    assert plain.folder != derived.folder
    assert plain.fingerprint != derived.fingerprint
    assert "derive" not in plain.meta["preparation"]
    assert derived.meta["preparation"]["derive"] == [
        {"type": "latent", "size": 4, "seed": 1},
        {"type": "noisy", "sigma": 0.3, "seed": 0},
    ]
    assert prepare("digits", held_out=0.2, derive=DERIVE) == derived


def test_each_split_place_and_seed_has_its_own_documented_stream() -> None:
    arrays = prepare("digits", held_out=0.2, derive=DERIVE).arrays()
    for number, split in enumerate(("train", "validation", "test")):
        stream = np.random.Generator(np.random.PCG64([1, 0, 2, number, 0]))
        drawn = stream.standard_normal(arrays[f"{split}_noise"].shape, np.float32)
        np.testing.assert_array_equal(arrays[f"{split}_noise"], drawn)
    stream = np.random.Generator(np.random.PCG64([0, 0, 2, 2, 1]))
    drawn = stream.standard_normal(arrays["test_x"].shape, np.float32)
    expected = np.clip(arrays["test_x"] + drawn * np.float32(0.3), 0, 1)
    np.testing.assert_allclose(arrays["test_noisy"], expected, atol=1e-6)


def test_other_derivations_make_other_data() -> None:
    choices: list[tuple[Derivation, ...]] = [
        (),
        (Latent(4),),
        (Latent(4, seed=1),),
        (Latent(5),),
        (Noisy(0.3),),
        (Noisy(0.4),),
    ]
    found = [prepare("digits", derive=derive) for derive in choices]
    assert len({each.fingerprint for each in found}) == len({each.folder for each in found}) == len(choices)


def test_the_grid_of_the_scenes_holds_every_object() -> None:
    grid = Grid(8, 8, ((0.2, 0.2), (0.4, 0.4)))
    prepared = prepare("shapes-detect", derive=(grid,))
    arrays = prepared.arrays()
    assert arrays["train_boxes"].shape == (1000, 8, 8, 2, 5)
    for split in ("train", "test"):
        assert np.sum(arrays[f"{split}_boxes"][..., 0]) == np.sum(arrays[f"{split}_objects"][..., 0] >= 0)
    assert "counts" not in prepared.meta
