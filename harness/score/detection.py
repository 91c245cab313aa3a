"""Detections: from a grid's predictions to boxes, and their mean average precision.

Boxes are corners in shares of the image: left, top, right, bottom.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.score.case import Case, ScoreError
from harness.spec.derivations import Grid
from harness.spec.spec import Spec

IOU = 0.5
"""Of two boxes of a class that overlap by more, suppression keeps the surer; and the overlap of a hit."""

LEAST_CONFIDENCE = 0.01
"""Boxes less sure than this are no detections."""

MOST = 100
"""Detections of a class in an image that count, the surest first."""

Anchors = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Detections:
    """One entry a detection or true object, by image: its class, how sure it is, and its box (count, 4)."""

    image: np.ndarray
    label: np.ndarray
    confidence: np.ndarray
    box: np.ndarray

    def __len__(self) -> int:
        return len(self.image)


def anchors_of(spec: Spec) -> Anchors | None:
    """Width and height of each anchor, in shares, where the data are laid out on a grid; else None."""
    return next((item.anchors for item in spec.data.derive if isinstance(item, Grid)), None)


def decode(predictions: np.ndarray, anchors: Anchors) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (n, places, 4) and confidences (n, places, classes) of predictions
    (n, rows, columns, anchors * (5 + classes)), for each anchor x, y, w, h, objectness and a logit a class.

    The centre is the cell's corner plus (sigmoid(x), sigmoid(y)) cells, the size the anchor's times
    (exp(w), exp(h)) (Redmon and Farhadi 2017); what lies outside of the image is cut off. A class's
    confidence is sigmoid(objectness) times the softmax of the class logits.
    """
    from scipy.special import expit, softmax

    n, rows, columns, depth = predictions.shape
    if depth % len(anchors) or depth // len(anchors) < 6:
        raise ScoreError(f"{depth} numbers a place are not 5 + classes for each of {len(anchors)} anchors")
    values = predictions.astype(np.float64).reshape(n, rows, columns, len(anchors), -1)
    corner = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1)[:, :, np.newaxis]
    centre = (expit(values[..., 0:2]) + corner) / (columns, rows)
    with np.errstate(over="ignore"):
        size = np.asarray(anchors) * np.exp(values[..., 2:4])
    boxes = np.clip(np.concatenate([centre - size / 2, centre + size / 2], -1), 0.0, 1.0)
    confidence = expit(values[..., 4:5]) * softmax(values[..., 5:], -1)
    return boxes.reshape(n, -1, 4), confidence.reshape(n, -1, confidence.shape[-1])


def overlap(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of one box (4,) with others (count, 4); 0 where both are empty."""
    shared = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    intersection = np.prod(np.maximum(shared, 0.0), -1)
    union = np.prod(box[2:] - box[:2]) + np.prod(others[:, 2:] - others[:, :2], -1) - intersection
    found: np.ndarray = np.divide(intersection, union, out=np.zeros(len(others)), where=union > 0)
    return found


def suppress(boxes: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """The indices of the boxes that no surer one overlaps by more than `IOU`, the surest first."""
    left = np.argsort(-confidence, kind="stable")
    kept = []
    while len(left):
        kept.append(left[0])
        left = left[1:][overlap(boxes[left[0]], boxes[left[1:]]) <= IOU]
    return np.array(kept, np.intp)


def detections(predictions: np.ndarray, anchors: Anchors, least: float = LEAST_CONFIDENCE) -> Detections:
    """What is found with a confidence of at least `least`, after suppression within each class."""
    boxes, confidence = decode(predictions, anchors)
    found: list[tuple[np.ndarray, ...]] = []
    for image, label in zip(*np.nonzero((confidence >= least).any(1)), strict=True):
        sure = np.nonzero(confidence[image, :, label] >= least)[0]
        kept = sure[suppress(boxes[image, sure], confidence[image, sure, label])]
        where = np.full(len(kept), image), np.full(len(kept), label)
        found.append((*where, confidence[image, kept, label], boxes[image, kept]))
    if not found:
        return Detections(np.zeros(0, np.intp), np.zeros(0, np.intp), np.zeros(0), np.zeros((0, 4)))
    return Detections(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def truth(objects: np.ndarray) -> Detections:
    """The true objects of (n, most, 5): class (-1: none), centre x and y, width, height."""
    image, place = np.nonzero(objects[..., 0] >= 0)
    there = objects[image, place].astype(np.float64)
    centre, size = there[:, 1:3], there[:, 3:5]
    box = np.concatenate([centre - size / 2, centre + size / 2], -1)
    return Detections(image, there[:, 0].astype(np.intp), np.ones(len(image)), box)


def map50(case: Case) -> float:
    """Mean over the classes that occur of COCO's average precision at an IoU of 0.5, by pycocotools."""
    anchors = anchors_of(case.spec)
    if anchors is None:
        raise ScoreError("the data are not laid out on a grid, so there are no anchors")
    objects = truth(case.test["objects"])
    if not len(objects):
        raise ScoreError("the test split has no object")
    return average_precision(detections(case.prediction, anchors), objects, len(case.prediction))


def average_precision(found: Detections, objects: Detections, images: int) -> float:
    """See `map50`."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if not len(found):
        return 0.0
    # It says on the way how it fares.
    with contextlib.redirect_stdout(io.StringIO()):
        true = COCO()
        true.dataset = {
            "images": [{"id": image} for image in range(images)],
            "categories": [{"id": int(label)} for label in np.unique(objects.label)],
            "annotations": [entry | {"iscrowd": 0} for entry in _entries(objects)],
        }
        true.createIndex()
        judged = COCOeval(true, true.loadRes(_entries(found)), "bbox")
        judged.params.iouThrs = np.array([IOU])
        judged.params.areaRng, judged.params.areaRngLbl = [[0.0, 1.0]], ["all"]
        judged.params.maxDets = [MOST]
        judged.evaluate()
        judged.accumulate()
    return float(np.mean(judged.eval["precision"]))


def _entries(found: Detections) -> list[dict[str, Any]]:
    """As COCO writes them; ids from 1, as 0 means no match there."""
    sizes = found.box[:, 2:] - found.box[:, :2]
    return [
        {
            "id": number,
            "image_id": int(image),
            "category_id": int(label),
            "score": float(confidence),
            "bbox": [float(box[0]), float(box[1]), float(size[0]), float(size[1])],
            "area": float(size[0] * size[1]),
        }
        for number, (image, label, confidence, box, size) in enumerate(
            zip(found.image, found.label, found.confidence, found.box, sizes, strict=True), 1
        )
    ]
