"""Architectures of images have the sizes that were published, or differ from them as they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.plan.architectures import Given, build_models
from harness.plan.suite import find_suite, read_suite
from harness.plan.tasks import TASKS, Training
from harness.plan.workloads import workloads
from harness.spec.layers import BatchNorm, Conv2D, Conv2DTranspose, Dense, Shape
from harness.spec.optimizers import SGD
from harness.spec.program import Program

RESNET50 = {"blocks": [3, 4, 6, 3], "width": 64, "block": "bottleneck", "stem": "imagenet"}


def program(task: str, name: str, shape: Shape, classes: int, **arguments: Any) -> Program:
    shapes = {"x": shape, "y": (), "mask": (*shape[:2], 1)}
    models = build_models(name, Path(), Given(shapes, classes), arguments)
    return TASKS[task].program(models, shapes, Training(SGD(0.1)))


def test_resnet_20_has_its_published_parameters_and_those_of_its_convolved_shortcuts() -> None:
    found = program("classify", "resnet", (32, 32, 3), 10)
    layers = [node.layer for node in found.models["model"].nodes]
    shortcuts = [layer for layer in layers if isinstance(layer, Conv2D) and layer.size == (1, 1)]
    assert [layer.filters for layer in shortcuts] == [32, 64]
    assert sum(isinstance(layer, Conv2D | Dense) for layer in layers) - len(shortcuts) == 20
    added = (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)
    assert found.count() == 269_722 + added == 272_474


def test_resnet_50_has_its_published_parameters() -> None:
    found = program("classify", "resnet", (224, 224, 3), 1000, **RESNET50)
    assert found.count() == 25_557_032


def test_the_u_net_has_the_papers_parameters_but_a_scale_and_a_shift_for_each_bias() -> None:
    found = program("segment", "unet", (256, 256, 3), 1)
    layers = [node.layer for node in found.models["model"].nodes]
    normalized = [layer.filters for layer in layers if isinstance(layer, Conv2D) and layer.size == (3, 3)]
    assert sum(isinstance(layer, BatchNorm) for layer in layers) == len(normalized) == 18
    assert sum(isinstance(layer, Conv2D | Conv2DTranspose) for layer in layers) == 23, "as the paper counts"
    assert sum(normalized) == 5_888
    assert found.count() == 31_031_745 + 5_888 == 31_037_633


@pytest.mark.parametrize(("name", "parameters"), [("resnet20", 272_474), ("segment", 31_037_633)])
def test_the_suites_gpu_sizes_are_the_published_ones(name: str, parameters: int) -> None:
    (found,) = workloads(read_suite(find_suite("vision"), "gpu"), [name])
    assert found.spec.program.count() == parameters


def test_the_suites_resnet_50_is_the_published_one_but_for_its_grey_images_and_its_ten_classes() -> None:
    (found,) = workloads(read_suite(find_suite("vision"), "gpu"), ["resnet50"])
    grey, ten = 2 * 7 * 7 * 64, 990 * (2048 + 1)
    assert found.spec.program.count() == 25_557_032 - grey - ten
