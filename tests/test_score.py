"""Scores that need libraries: what they mean on cases worked out by hand, and how a run comes by them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.linalg import sqrtm

from harness import score
from harness.errors import UsageError
from harness.plan.tasks import TASKS, Training
from harness.score import SCORES
from harness.score.case import Case, ScoreError
from harness.score.detection import LEAST_CONFIDENCE, decode, detections, overlap, suppress, truth
from harness.score.generation import gaussian_distance
from harness.score.pictures import EXAMPLES, Kept, kind_of, make, path_of
from harness.spec.data import Data
from harness.spec.derivations import Grid
from harness.spec.layers import Conv2D, Dense, Flatten, Reshape
from harness.spec.model import Model, Network, sequential
from harness.spec.optimizers import SGD
from harness.spec.spec import Recipe, Spec
from tests.conftest import Onespec

IMAGE = (4, 4, 1)
ANCHORS = ((0.25, 0.25), (0.5, 0.5))
FAR = 12.0
"""A logit whose sigmoid is 1 but for rounding."""


def spec(
    task: str, models: Model | dict[str, Model], shapes: Mapping[str, tuple[int, ...]], *metrics: str
) -> Spec:
    given = {"model": models} if isinstance(models, Model) else models
    program = TASKS[task].program(given, shapes, Training(SGD(0.1)))
    return Spec(program, Data("digits"), Recipe(2, 1), metrics)


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


def autoencoder(code: int = 2) -> Model:
    net = Network(IMAGE)
    middle = net.chain("x", Flatten(), Dense(code))
    return net.model(net.chain(middle, Dense(16), Reshape(IMAGE)), middle)


def reconstruct(*metrics: str) -> Spec:
    return spec("reconstruct", autoencoder(), {"x": IMAGE}, *metrics)


def generate(*metrics: str) -> Spec:
    models = {
        "generator": sequential((3,), Dense(16), Reshape(IMAGE)),
        "discriminator": sequential(IMAGE, Flatten(), Dense(1)),
    }
    return spec("generate", models, {"x": IMAGE, "noise": (3,)}, *metrics)


def segment() -> Spec:
    return spec("segment", sequential(IMAGE, Conv2D(1, (1, 1))), {"x": IMAGE, "mask": IMAGE})


def detect() -> Spec:
    """A grid of 2 x 2 with two anchors and two classes."""
    model = sequential(IMAGE, Conv2D(14, (2, 2), (2, 2)))
    shapes = {"x": IMAGE, "boxes": (2, 2, 2, 5), "classes": (2, 2, 2)}
    return replace(spec("detect", model, shapes, "map50"), data=Data("digits", derive=(Grid(2, 2, ANCHORS),)))


def empty_grid(images: int) -> np.ndarray:
    predictions = np.zeros((images, 2, 2, 2, 7), np.float32)
    predictions[..., 4] = -FAR
    return predictions


def placed(*found: tuple[int, int, int, int, int, float]) -> np.ndarray:
    """An anchor's box in the middle of a cell: image, row, column, anchor, class, logit of the objectness."""
    predictions = empty_grid(2)
    for image, row, column, anchor, label, objectness in found:
        predictions[image, row, column, anchor, 4] = objectness
        predictions[image, row, column, anchor, 5 + label] = FAR
    return predictions.reshape(2, 2, 2, 14)


OBJECTS = np.full((2, 3, 5), -1, np.float32)
OBJECTS[0, 0] = 0, 0.25, 0.25, 0.25, 0.25
OBJECTS[0, 1] = 1, 0.75, 0.75, 0.5, 0.5
OBJECTS[1, 0] = 0, 0.75, 0.25, 0.25, 0.25
EVERYTHING = ((0, 0, 0, 0, 0, FAR), (0, 1, 1, 1, 1, FAR), (1, 0, 1, 0, 0, FAR))


def average_precision(predictions: np.ndarray, objects: np.ndarray = OBJECTS) -> float:
    case = Case(detect(), {"output": predictions}, {}, {"objects": objects})
    return score.scores(case)["map50"]


def test_a_place_of_the_grid_is_decoded_as_the_loss_encodes_it() -> None:
    predictions = empty_grid(1)
    predictions[0, 1, 0, 1] = 0.0, FAR, np.log(0.5), -FAR, 0.0, np.log(3), 0.0
    boxes, confidence = decode(predictions.reshape(1, 2, 2, 14), ANCHORS)
    assert boxes.shape == (1, 8, 4)
    place = (1 * 2 + 0) * 2 + 1
    assert boxes[0, place] == pytest.approx([0.25 - 0.125, 1.0, 0.25 + 0.125, 1.0], abs=1e-4)
    assert confidence[0, place] == pytest.approx([0.5 * 0.75, 0.5 * 0.25])


def test_what_the_grid_lays_out_is_found_again() -> None:
    random = np.random.default_rng(0)
    objects = np.full((12, 3, 5), -1, np.float32)
    objects[:, :2, 0] = random.integers(0, 2, (12, 2))
    objects[:, 0, 1:3] = random.uniform(0.26, 0.48, (12, 2))
    objects[:, 1, 1:3] = random.uniform(0.52, 0.74, (12, 2))
    objects[:, :2, 3:] = random.uniform(0.2, 0.52, (12, 2, 2))
    laid = Grid(2, 2, ANCHORS).apply({"objects": objects}, "test", random)
    boxes, classes = laid["boxes"].astype(np.float64), laid["classes"]
    centre = np.clip(boxes[..., 1:3], 1e-9, 1 - 1e-9)
    objectness = np.where(boxes[..., :1] == 1, FAR, -FAR)
    logits = FAR * np.eye(2)[classes]
    parts = [np.log(centre / (1 - centre)), boxes[..., 3:], objectness, logits]
    assert average_precision(np.concatenate(parts, -1).reshape(12, 2, 2, 14), objects) == pytest.approx(1)


def test_a_box_without_bounds_is_cut_off_at_the_image() -> None:
    predictions = empty_grid(1)
    predictions[..., 2:4] = 1e6
    boxes, _ = decode(predictions.reshape(1, 2, 2, 14), ANCHORS)
    assert np.all(boxes == [0, 0, 1, 1])


def test_the_overlap_is_intersection_over_union() -> None:
    others = np.array(
        [[0, 0, 1, 1], [0, 0, 0.5, 1], [0.5, 0.5, 1.5, 1.5], [2, 2, 3, 3], [0.5, 0.5, 0.5, 0.5]]
    )
    assert overlap(np.array([0.0, 0, 1, 1]), others) == pytest.approx([1, 0.5, 0.25 / 1.75, 0, 0])
    assert overlap(np.zeros(4), np.zeros((1, 4))) == 0


def test_suppression_keeps_the_surest_of_boxes_that_overlap() -> None:
    boxes = np.array([[0, 0, 1, 1], [0, 0, 1, 0.9], [0, 0, 1, 0.4], [2, 2, 3, 3]])
    assert list(suppress(boxes, np.array([0.5, 0.9, 0.1, 0.7]))) == [1, 3, 2]


def test_suppression_stays_within_a_class() -> None:
    double = placed((0, 0, 0, 0, 0, FAR), (0, 0, 0, 1, 1, FAR))
    assert sorted(detections(double, ANCHORS).label) == [0, 1]
    assert len(detections(placed(), ANCHORS)) == 0
    assert np.all(detections(draw(4, 2, 2, 14), ANCHORS).confidence >= LEAST_CONFIDENCE)


def test_what_is_found_exactly_has_a_mean_average_precision_of_one() -> None:
    assert average_precision(placed(*EVERYTHING)) == pytest.approx(1)


def test_precision_is_averaged_over_the_classes_that_occur() -> None:
    assert average_precision(placed(*EVERYTHING[:1], *EVERYTHING[2:])) == pytest.approx(0.5)
    only = OBJECTS.copy()
    only[0, 1] = -1
    assert average_precision(placed(*EVERYTHING), only) == pytest.approx(1)


def test_a_surer_false_alarm_costs_precision_and_a_less_sure_one_none() -> None:
    alarm = (1, 1, 0, 0, 0)
    right = [(*each[:5], 1.0) for each in EVERYTHING]
    assert average_precision(placed(*right, (*alarm, -1.0))) == pytest.approx(1)
    # Class 0 then has precisions of 1/2 and 2/3 at its two hits, of which COCO takes the larger one to come.
    assert average_precision(placed(*right, (*alarm, FAR))) == pytest.approx((2 / 3 + 1) / 2)


def test_nothing_found_scores_nothing() -> None:
    assert average_precision(placed()) == 0


def test_unused_rows_are_no_objects() -> None:
    found = truth(OBJECTS)
    assert list(found.image) == [0, 0, 1]
    assert list(found.label) == [0, 1, 0]
    assert found.box[1] == pytest.approx([0.5, 0.5, 1, 1])


def test_the_distance_of_gaussians_is_that_of_the_formula() -> None:
    one, other = draw(50, 4), draw(60, 4, seed=1) @ np.diag([1, 2, 3, 4]) + 1
    first, second = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    formula = np.sum((one.mean(0) - other.mean(0)) ** 2)
    formula += np.trace(first + second - 2 * sqrtm(first @ second).real)
    assert gaussian_distance(one, other) == pytest.approx(formula)
    assert gaussian_distance(one, one) == pytest.approx(0, abs=1e-9)


def test_the_distance_survives_features_that_never_change() -> None:
    one, other = draw(50, 4), draw(50, 4, seed=1)
    one[:, 2:] = other[:, 3] = 0.5
    found = gaussian_distance(one, other)
    assert np.isfinite(found)
    assert found > 0


def test_real_images_are_nearer_to_real_ones_than_noise_is() -> None:
    real = np.tile(draw(1, *IMAGE), (80, 1, 1, 1)) * draw(80, 1, 1, 1, seed=1)
    train, test = {"x": real[:40]}, {"x": real[40:60]}

    def distance(made: np.ndarray) -> float:
        return score.scores(Case(generate("frechet_distance"), {"made": made}, train, test))[
            "frechet_distance"
        ]

    assert distance(real[60:]) < 0.2 * distance(draw(20, *IMAGE, seed=2))


def test_reconstructing_as_pca_does_scores_one() -> None:
    from sklearn.decomposition import PCA

    train, test = draw(40, *IMAGE), draw(10, *IMAGE, seed=1)
    space = PCA(2).fit(train.reshape(40, -1))
    linear = space.inverse_transform(space.transform(test.reshape(10, -1))).reshape(test.shape)

    def ratio(found: np.ndarray) -> float:
        outputs = {"output": found, "output.1": np.zeros((10, 2))}
        return score.scores(Case(reconstruct("mse_over_pca"), outputs, {"x": train}, {"x": test}))[
            "mse_over_pca"
        ]

    assert ratio(linear) == pytest.approx(1)
    assert ratio(test) == 0
    assert ratio(linear + (linear - test)) == pytest.approx(4)


@pytest.mark.parametrize(
    ("workload", "outputs", "words"),
    [
        (
            reconstruct("mse_over_pca"),
            {"output": draw(5, *IMAGE)},
            "mse_over_pca: needs the code as the program's",
        ),
        (generate("frechet_distance"), {"made": draw(5, 3)}, "frechet_distance: generated examples have 3"),
        (generate("frechet_distance"), {"made": draw(1, *IMAGE)}, "at least two examples"),
        (generate("frechet_distance"), {"made": draw(5, *IMAGE) * np.nan}, "frechet_distance: ValueError"),
        (
            reconstruct("map50"),
            {"output": draw(5, *IMAGE)},
            "map50: ValueError: mAP@0.5 needs the array 'objects'",
        ),
    ],
)
def test_a_score_that_cannot_be_had_says_why(
    workload: Spec, outputs: dict[str, np.ndarray], words: str
) -> None:
    arrays = {"x": draw(9, *IMAGE)}
    with pytest.raises(ScoreError, match=words):
        score.scores(Case(workload, outputs, arrays, arrays))


def test_what_is_computed_elsewhere_is_passed_over() -> None:
    arrays = {"x": draw(5, *IMAGE)}
    assert (
        score.scores(Case(reconstruct("reconstruction_mse", "psnr"), {"output": arrays["x"]}, arrays, arrays))
        == {}
    )


def test_what_there_is_to_see_follows_from_the_spec() -> None:
    vector = sequential((16,), Dense(16))
    classify = spec("classify", sequential(IMAGE, Flatten(), Dense(3)), {"x": IMAGE, "y": ()}, "accuracy")
    assert kind_of(reconstruct()) == "reconstructions"
    assert kind_of(generate()) == "samples"
    assert kind_of(segment()) == "masks"
    assert kind_of(detect()) == "detections"
    assert kind_of(spec("reconstruct", vector, {"x": (16,)})) is None
    assert kind_of(classify) is None
    assert not score.wanted(classify)
    assert score.wanted(reconstruct())


def test_reconstructions_are_kept_small_with_the_code_beside_the_principal_components(tmp_path: Path) -> None:
    x = draw(90, *IMAGE)
    case = Case(
        reconstruct(),
        {"output": x + 0.7, "output.1": draw(90, 2)},
        {"x": x},
        {"x": x, "y": np.arange(90, dtype=np.int32) % 3},
        ("zero", "one", "two"),
    )
    path = path_of(tmp_path, "small", "beta:loop")
    assert path == tmp_path / "pictures" / "small__beta-loop.npz"
    make(case, "reconstructions", 7).write(path)
    kept = Kept.read(path)
    assert (kept.kind, kept.seed, kept.classes) == ("reconstructions", 7, ("zero", "one", "two"))
    assert kept.arrays["images"].shape == (EXAMPLES["reconstructions"], *IMAGE)
    assert kept.arrays["images"].dtype == np.uint8
    assert kept.arrays["found"].max() == 255
    assert np.array_equal(kept.arrays["code"], case.outputs["output.1"])
    assert kept.arrays["components"].shape == (90, 2)
    assert "noisy" not in kept.arrays


def test_a_code_of_many_numbers_is_shown_in_its_own_principal_plane() -> None:
    x, code = draw(30, *IMAGE), np.concatenate([draw(30, 2) * 9, draw(30, 3, seed=1) * 1e-6], 1)
    test = {"x": x, "y": np.zeros(30, np.int32)}
    kept = make(Case(reconstruct(), {"output": x, "output.1": code}, {"x": x}, test), "reconstructions", 0)
    assert kept.arrays["code_size"] == 5
    spread = np.linalg.norm(kept.arrays["code"], axis=1)
    assert spread == pytest.approx(np.linalg.norm(code[:, :2] - code[:, :2].mean(0), axis=1), rel=1e-4)


def test_masks_and_detections_are_kept_as_what_they_mean() -> None:
    logits = np.where(draw(9, *IMAGE) > 0.5, 3.0, -3.0)
    mask = (draw(9, *IMAGE, seed=1) > 0.5).astype(np.float32)
    kept = make(Case(segment(), {"output": logits}, {}, {"x": draw(9, *IMAGE), "mask": mask}), "masks", 0)
    assert np.array_equal(kept.arrays["found"], logits[: EXAMPLES["masks"], ..., 0] > 0)
    assert np.array_equal(kept.arrays["truth"], mask[: EXAMPLES["masks"], ..., 0] == 1)

    test = {"x": draw(2, *IMAGE), "objects": OBJECTS}
    kept = make(Case(detect(), {"output": placed(*EVERYTHING)}, {}, test), "detections", 0)
    assert kept.arrays["found"][:, [0, 1]].tolist() == [[0, 0], [0, 1], [1, 0]]
    assert kept.arrays["found"][:, 3:] == pytest.approx(kept.arrays["truth"][:, 3:], abs=1e-6)


def test_images_that_are_not_in_zero_to_one_are_kept_by_their_range() -> None:
    x = np.linspace(-3, 5, 9 * 16).reshape(9, *IMAGE)
    kept = make(Case(generate(), {"made": x}, {}, {"x": x}), "samples", 0)
    assert kept.arrays["images"].min() == 0
    assert kept.arrays["images"].max() == 255
    assert np.array_equal(kept.arrays["images"], kept.arrays["found"])


def test_a_damaged_picture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "cut.npz"
    for content in (b"", b"PK\x03\x04 and no more"):
        path.write_bytes(content)
        with pytest.raises(UsageError, match=r"cut\.npz cannot be read"):
            Kept.read(path)


AUTOENCODE = {
    'architecture = "mlp"': 'task = "reconstruct"\narchitecture = "autoencoder"',
    'metrics = ["accuracy"]': 'metrics = ["mse_over_pca", "reconstruction_mse"]',
    "hidden = [8]": "hidden = []\ncode = 2",
}


@pytest.fixture
def autoencode(suite: Path) -> Path:
    """The tiny suite with an autoencoder."""
    text = suite.read_text()
    for old, new in AUTOENCODE.items():
        text = text.replace(old, new)
    suite.write_text(text)
    return suite


def measured(folder: Path, block: int) -> dict[str, Any]:
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    return next(record for record in records if record["job"] == f"tiny/plain/measure/{block}")


def test_a_run_scores_what_a_worker_left_and_shows_it(
    onespec: Onespec, autoencode: Path, tmp_path: Path, left: dict[str, tuple[int, ...]]
) -> None:
    out = tmp_path / "out"
    assert onespec("run", autoencode, "--out", out) == 0
    test = measured(out, 0)["measures"]["learning"]["test"]
    assert set(test) == {"loss", "mse_over_pca", "reconstruction_mse"}
    assert test["mse_over_pca"] > 0
    assert left == {"output": (360, 8, 8, 1), "output.1": (360, 2)}
    assert Kept.read(path_of(out, "tiny", "plain")).kind == "reconstructions"
    assert "tiny-reconstructions.png" in {file.name for file in (out / "report" / "figures").iterdir()}
    assert measured(out, 1)["measures"]["learning"] is None


def test_a_score_that_fails_is_the_jobs_reason(
    onespec: Onespec, autoencode: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Case) -> float:
        raise ZeroDivisionError("nothing to divide by")

    monkeypatch.setitem(SCORES, "mse_over_pca", fail)
    onespec("run", autoencode, "--out", tmp_path / "out")
    record = measured(tmp_path / "out", 0)
    assert record["status"] == "crashed"
    assert record["reason"] == "mse_over_pca: ZeroDivisionError: nothing to divide by"
    assert measured(tmp_path / "out", 1)["status"] == "ok"
