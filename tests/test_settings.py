"""One policy for every contender: applied in the worker, recorded, and where contenders differ is found."""

from __future__ import annotations

import gc
import json
import os
import platform
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from harness.analyse import tables
from harness.analyse.environments import Difference, differences
from harness.worker import settings
from harness.worker.job import Protocol
from tests import synthetic
from tests.conftest import Onespec


@pytest.fixture
def collector() -> Iterator[None]:
    """The garbage collector as it was, afterwards."""
    yield
    gc.unfreeze()
    gc.enable()


@pytest.mark.usefixtures("collector")
@pytest.mark.parametrize("policy", ["default", "freeze", "off"])
def test_the_collector_is_as_the_policy_says_and_found_so(policy: Any) -> None:
    settings.settle(Protocol(gc=policy))
    assert settings.found(None)["gc"] == policy
    assert gc.isenabled() == (policy != "off")
    assert (gc.get_freeze_count() > 0) == (policy != "default")


def test_what_is_garbage_is_collected_before_it_would_be_frozen(collector: None) -> None:
    class Node:
        pass

    gc.disable()
    gc.collect()
    node = Node()
    node.itself = node  # type: ignore[attr-defined]
    del node
    settings.settle(Protocol())
    assert not any(type(one) is Node for one in gc.get_objects())
    gc.unfreeze()
    assert not any(type(one) is Node for one in gc.get_objects())


def test_an_allocator_in_place_of_the_systems_is_named() -> None:
    line = "7f00-7f01 r-xp 00000000 08:01 1 /usr/lib/x86_64-linux-gnu/{}\n"
    assert settings.allocator(line.format("libjemalloc.so.2")) == "jemalloc"
    assert settings.allocator(line.format("libtcmalloc_minimal.so.4")) == "tcmalloc"
    assert settings.allocator(line.format("libc.so.6")) == "system"


def test_a_backend_tells_what_is_in_force_in_its_framework() -> None:
    backend = ModuleType("backend")
    backend.settings = lambda: {"threads": 3}  # type: ignore[attr-defined]
    assert settings.found(backend)["threads"] == 3
    assert "threads" not in settings.found(ModuleType("silent"))


def recorded(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "records.jsonl").read_text().splitlines()
    return [json.loads(line)["environment"] for line in lines]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core can be pinned to one way only")
@pytest.mark.skipif(platform.machine() not in ("x86_64", "aarch64"), reason="subnormals are not known")
def test_a_suite_changes_the_policy_for_all(onespec: Onespec, suite: Path, tmp_path: Path) -> None:
    cores = sorted(os.sched_getaffinity(0))
    changed = '[protocol]\naffinity = "pinned"\ngc = "off"\nvariables = { OMP_SCHEDULE = "static" }'
    text = suite.read_text()
    out = {}
    for name, protocol in (("as it is", "[protocol]"), ("changed", changed)):
        suite.write_text(text.replace("[protocol]", protocol))
        assert onespec("run", suite, "--out", tmp_path / name, "--blocks", "1", "--threads", "1") == 0
        out[name] = recorded(tmp_path / name)
    assert len(out["changed"]) == 3
    for found in out["as it is"]:
        assert found["settings"] == {
            "subnormals": "flushed",
            "affinity": ",".join(map(str, cores)),
            "allocator": "system",
            "gc": "freeze",
        }
        assert "OMP_SCHEDULE" not in found["variables"]
    for found in out["changed"]:
        assert found["settings"]["affinity"] == str(cores[0])
        assert found["settings"]["gc"] == "off"
        assert found["variables"]["OMP_SCHEDULE"] == "static"


def told(contender: str, variables: dict[str, str] | None = None, **said: object) -> dict[str, Any]:
    record = synthetic.measure(contender)
    environment = {**record["environment"], "settings": said}
    environment["variables"] = {**environment["variables"], **(variables or {})}
    return record | {"environment": environment}


def test_contenders_that_are_alike_do_not_differ() -> None:
    records = [told("a", {"FAST": "1"}, gc="freeze", threads=2), told("b", gc="freeze", threads=2), told("c")]
    assert differences(tables.environments(records)) == [], "a backend's own variables are its mode"
    assert differences(tables.environments([])) == []


def test_what_contenders_do_not_have_alike_is_found() -> None:
    records = [
        told("a", {"MKL_CBWR": "AVX2"}, float32_matmul="float32", gc="freeze"),
        told("b", float32_matmul="tf32", gc="freeze"),
        told("c", {"OMP_NUM_THREADS": "1"}, gc="freeze"),
    ]
    assert differences(tables.environments(records)) == [
        Difference("float32_matmul", {"a": "float32", "b": "tf32"}),
        Difference("MKL_CBWR", {"a": "AVX2", "b": "not set", "c": "not set"}),
        Difference("OMP_NUM_THREADS", {"a": "2", "b": "2", "c": "1"}),
    ]


def test_a_contender_whose_records_differ_among_themselves_is_found_too() -> None:
    records = [told("a", gc="freeze"), told("a", gc="off"), told("b", gc="freeze")]
    (only,) = differences(tables.environments(records))
    assert only == Difference("gc", {"a": "freeze, off", "b": "freeze"})


def test_who_was_not_timed_does_not_differ_in_what_only_untimed_processes_have() -> None:
    loaded = told("a~loaded", {"OMP_WAIT_POLICY": "passive"}, gc="freeze") | {"kind": "memory"}
    records = [told("a", gc="freeze"), loaded]
    assert differences(tables.environments(records)) == []
    assert differences(tables.environments([loaded, told("b", gc="off") | {"kind": "memory"}])) == [
        Difference("gc", {"a~loaded": "freeze", "b": "off"}),
        Difference("OMP_WAIT_POLICY", {"a~loaded": "passive", "b": "not set"}),
    ]
