"""What a run is asked to do: from the command line, kept in `run.json`, read from there to resume."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from harness import catalogue, paths
from harness.catalogue import Backend, Contender
from harness.environments.interpreters import parse_interpreters
from harness.errors import UsageError, unknown
from harness.plan.jobs import PlannedJob, plan_jobs
from harness.plan.precision import PILOT_BLOCKS, Goal
from harness.plan.suite import ProtocolTable, SuiteFile, find_suite, parse_suite, read_suite
from harness.plan.variants import AS_WRITTEN
from harness.plan.workloads import Workload, workloads


@dataclass(frozen=True)
class Request:
    """A suite, and what of it to run where. Everything is checked; nothing is downloaded or made yet."""

    suite: SuiteFile
    workloads: tuple[Workload, ...]
    contenders: tuple[Contender, ...]
    device: str
    threads: int
    seed: int
    protocol: ProtocolTable
    control: str | None
    data_dir: Path | None
    interpreters: Mapping[str, Path]
    goal: Goal | None = None
    planned: bool = True
    """Whether the number of blocks is known: with a goal it is after the pilot."""

    @property
    def device_kind(self) -> str:
        """`cpu` or `cuda`."""
        return self.device.partition(":")[0]

    @property
    def seeds(self) -> list[int]:
        """The seeds whose weights and batch orders the run needs."""
        return [self.seed + number for number in range(self.protocol.seeds)]

    def jobs(self) -> list[PlannedJob]:
        """Every process of the run, in order, as far as it is planned."""
        return plan_jobs(
            [workload.name for workload in self.workloads],
            [str(contender) for contender in self.contenders],
            blocks=self.protocol.blocks if self.planned else 0,
            seeds=self.protocol.seeds,
            memory_passes=self.protocol.memory_passes,
            seed=self.seed,
            control=self.control,
            pilot=PILOT_BLOCKS if self.goal is not None else 0,
        )

    def with_blocks(self, blocks: int) -> Request:
        """The same request, its number of blocks known."""
        protocol = replace(self.protocol, blocks=blocks, seeds=min(self.protocol.seeds, blocks))
        return replace(self, protocol=protocol, planned=True)

    def as_data(self) -> dict[str, Any]:
        """The request as JSON data, for `of_data`."""
        return {
            "size": self.suite.size,
            "workloads": [workload.name for workload in self.workloads],
            "contenders": [str(contender) for contender in self.contenders],
            "device": self.device,
            "threads": self.threads,
            "seed": self.seed,
            "blocks": self.protocol.blocks if self.goal is None else None,
            "control": self.control or "none",
            "goal": asdict(self.goal) if self.goal else None,
            "data_dir": str(self.data_dir) if self.data_dir else None,
            "interpreters": {name: str(path) for name, path in self.interpreters.items()},
        }


def request(
    suite_name: str,
    *,
    contenders: list[str] | None = None,
    workload_names: list[str] | None = None,
    size: str = AS_WRITTEN,
    device: str = "cpu",
    threads: int | None = None,
    seed: int = 0,
    blocks: int | None = None,
    control: str | None = None,
    goal: Goal | None = None,
    data_dir: Path | None = None,
    interpreters: list[str] | None = None,
) -> Request:
    """A request by the words of the command line. Raises UsageError for whatever is wrong in them."""
    suite = read_suite(find_suite(suite_name), size)
    if data_dir is not None and not data_dir.is_dir():
        raise UsageError(f"--data-dir {data_dir} is not a folder")
    return _checked(
        suite,
        {
            "workloads": workload_names,
            "contenders": contenders,
            "device": _device(device),
            "threads": threads,
            "seed": seed,
            "blocks": blocks,
            "control": control,
            "goal": asdict(goal) if goal else None,
            "data_dir": str(data_dir.resolve()) if data_dir else None,
        },
        parse_interpreters(interpreters or []),
    )


def of_data(meta: Mapping[str, Any]) -> Request:
    """The request that `run.json` keeps, on the suite's text of that day."""
    kept = meta["request"]
    path = paths.root() / meta["suite"]["path"]
    suite = parse_suite(meta["suite"]["name"], path, meta["suite"]["text"], kept.get("size", AS_WRITTEN))
    # Runs of before there were controls and goals go on without.
    kept = {"control": "none", "goal": None, **kept}
    found = _checked(suite, kept, {name: Path(text) for name, text in kept["interpreters"].items()})
    return found if found.goal is None or meta["blocks"] is None else found.with_blocks(meta["blocks"])


def _checked(suite: SuiteFile, wanted: Mapping[str, Any], interpreters: Mapping[str, Path]) -> Request:
    known = catalogue.backends()
    threads = wanted["threads"] or len(os.sched_getaffinity(0))
    contenders = _contenders(suite, wanted["contenders"], known)
    control = _control(suite, wanted["control"], contenders, known)
    goal = Goal(**wanted["goal"]) if wanted["goal"] else None
    if goal is not None:
        _check_goal(goal, wanted["blocks"], len(contenders) + (control is not None))
    return Request(
        suite,
        tuple(workloads(suite, wanted["workloads"])),
        contenders,
        wanted["device"],
        threads,
        wanted["seed"],
        _protocol(suite, wanted["blocks"]),
        control,
        Path(wanted["data_dir"]) if wanted["data_dir"] else None,
        interpreters,
        goal,
        planned=goal is None,
    )


def _check_goal(goal: Goal, blocks: int | None, entered: int) -> None:
    if blocks is not None:
        raise UsageError(
            "--blocks says how many blocks; --precision and --budget plan them: give --blocks or those"
        )
    if goal.precision is not None and entered < 2:
        raise UsageError("--precision is of a ratio between two: add a contender, or --control first")


def _contenders(
    suite: SuiteFile, wanted: list[str] | None, known: Mapping[str, Backend]
) -> tuple[Contender, ...]:
    chosen: dict[str, Contender] = {}
    for text in wanted or suite.suite.contenders:
        try:
            found = catalogue.contender(text, known)
        except UsageError as error:
            if wanted:
                raise
            raise UsageError(f"{suite.path}: contenders: {error}") from None
        chosen[str(found)] = found
    return tuple(chosen.values())


def _control(
    suite: SuiteFile,
    wanted: str | None,
    contenders: tuple[Contender, ...],
    known: Mapping[str, Backend],
) -> str | None:
    """The contender that enters twice, by its canonical name; None where the run is to have no control."""
    text = wanted or suite.suite.protocol.control
    if text == "none":
        return None
    if text == "first":
        return str(contenders[0])
    where = f"--control {text}" if wanted else f"{suite.path}: protocol.control"
    try:
        found = str(catalogue.contender(text, known))
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    if found not in map(str, contenders):
        raise UsageError(
            f"{where}: {found} is not among the contenders of this run. Add it, or choose --control first or "
            "--control none."
        )
    return found


def _protocol(suite: SuiteFile, blocks: int | None) -> ProtocolTable:
    protocol = suite.suite.protocol
    if blocks is None:
        return protocol
    if blocks < 1:
        raise UsageError(f"--blocks must be at least 1, got {blocks}: a run without blocks measures nothing")
    return replace(protocol, blocks=blocks, seeds=min(protocol.seeds, blocks))


def _device(text: str) -> str:
    if text == "cpu":
        return text
    if text == "gpu":
        return "cuda:0"
    kind, _, number = text.partition(":")
    if kind == "cuda" and number.isdigit():
        return text
    raise unknown("device", text, ["cpu", "gpu", "cuda:0"])
