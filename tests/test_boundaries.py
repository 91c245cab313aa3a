"""The nevers of the architecture, held by the code's own imports and words."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import paths
from harness.catalogue import backends

HARNESS = paths.root() / "harness"
FRAMEWORKS = {
    "torch",
    "tensorflow",
    "keras",
    "jax",
    "flax",
    "optax",
    "mxnet",
    "jaxlib",
    "gluon",
    "linen",
    "pytorch",
}
ROOMS_IN_ORDER = ["spec", "data", "plan", "environments", "score", "execute", "analyse", "report", "cli"]
"""Nothing downstream is imported by anything upstream."""


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def sources(folder: Path) -> list[Path]:
    found = sorted(folder.rglob("*.py"))
    assert found, f"{folder} has no source"
    return found


@pytest.mark.parametrize("room", ["spec", "worker"])
def test_what_runs_in_a_backends_environment_needs_the_standard_library_and_numpy_only(room: str) -> None:
    for path in sources(HARNESS / room):
        for name in imports(path):
            top = name.split(".")[0]
            assert top in sys.stdlib_module_names | {"numpy", "harness"}, f"{path} imports {name}"
            if top == "harness":
                allowed = ("harness.spec", "harness.worker", "harness.errors")
                assert name.startswith(allowed), f"{path} imports {name}"


def test_the_harness_imports_no_framework() -> None:
    for path in sources(HARNESS):
        for name in imports(path):
            assert name.split(".")[0] not in FRAMEWORKS, f"{path} imports {name}"


def test_the_code_of_the_harness_names_no_framework_and_no_backend() -> None:
    names = FRAMEWORKS | set(backends())
    for path in sources(HARNESS):
        tree = ast.parse(path.read_text())
        documentation = {
            id(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        examples = path.is_relative_to(HARNESS / "cli") or "--python" in path.read_text()
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and id(node) not in documentation
            ):
                assert node.value not in names, f"{path}:{node.lineno} names {node.value!r}"
                if not examples:
                    words = set(node.value.lower().replace(":", " ").replace("=", " ").split())
                    assert not words & names, f"{path}:{node.lineno} says {node.value!r}"


def test_a_backend_imports_its_framework_numpy_and_the_protocol() -> None:
    for backend in backends().values():
        for path in sources(backend.folder):
            for name in imports(path):
                if name.split(".")[0] == "harness":
                    assert name.startswith(("harness.spec", "harness.worker.protocol")), (
                        f"{path} imports {name}"
                    )


def test_backends_hold_no_clock() -> None:
    for backend in backends().values():
        for path in sources(backend.folder):
            assert not {"time", "timeit", "perf_counter"} & set(imports(path)), f"{path} has a clock"


@pytest.mark.parametrize("index", range(len(ROOMS_IN_ORDER)))
def test_the_way_of_the_data_runs_one_way(index: int) -> None:
    downstream = tuple(f"harness.{room}" for room in ROOMS_IN_ORDER[index + 1 :])
    for path in sources(HARNESS / ROOMS_IN_ORDER[index]):
        for name in imports(path):
            assert not (downstream and name.startswith(downstream)), f"{path} imports {name} from downstream"


def test_nothing_is_pickled() -> None:
    for folder in (HARNESS, paths.root() / "backends"):
        for path in sources(folder):
            assert not {"pickle", "dill", "joblib", "cloudpickle"} & {
                name.split(".")[0] for name in imports(path)
            }
            assert "allow_pickle=True" not in path.read_text()
