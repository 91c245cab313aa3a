"""The harness's steady step time over that of a hand-written script of the same work, measured in turn.

    uv run python -m benchmarks.overhead [CONTENDER]... [--rounds N] [--data-dir DIR]

The work is the `mnist` suite's: the same weights, batches, data and threads. In each round a contender's
worker and its script in `tests/handwritten/` run one after the other, in an order drawn anew; both are fresh
processes in the backend's own environment, and both time blocks of the same number of steps. A process gives
one number, the median of its blocks; a round gives one ratio. Printed are the geometric mean of the ratios
and its 95 % t interval.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from scipy import stats

from harness import paths
from harness.execute import prepare
from harness.execute.request import Request, request
from harness.execute.run import Entry, Run
from harness.plan.jobs import PlannedJob
from harness.store import Store

SCRIPTS = paths.root() / "tests" / "handwritten"
BLOCKS = 7


def main() -> int:
    """Compare, and print a table and one JSON line a contender."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("contenders", nargs="*", default=["torch", "tensorflow", "keras", "jax", "mxnet"])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--data-dir", type=Path)
    arguments = parser.parse_args()
    wanted = request("mnist", contenders=arguments.contenders, data_dir=arguments.data_dir)
    wanted = replace(wanted, protocol=replace(wanted.protocol, train_blocks=BLOCKS, evaluate_passes=1))
    with tempfile.TemporaryDirectory() as folder:
        measured = _measure(wanted, Path(folder) / "run", arguments.rounds)
    _print(measured)
    return 0


def _measure(wanted: Request, folder: Path, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """For each contender and round: (harness, hand-written) seconds a step."""
    data = prepare.data_of(wanted)
    store = Store.create(folder, prepare.meta_of(wanted, data, "overhead"))
    entries = prepare.entries(wanted)
    run = Run(
        store,
        prepare.ready(wanted, data, store, lambda _: None),
        entries,
        wanted.device,
        wanted.threads,
        wanted.protocol,
    )
    run.execute(wanted.jobs(), ("verify",))
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in entries}
    steps: dict[str, int] = {}
    for number in range(rounds):
        for name in random.sample(sorted(entries), len(entries)):
            # The script needs to know how many steps fill a block here: in the first round it comes second.
            harness_first = name not in steps or random.random() < 0.5
            ours = _harness(run, name, number, steps) if harness_first else 0.0
            theirs = _script(run, entries[name], steps[name])
            ours = ours or _harness(run, name, number, steps)
            found[name].append((ours, theirs))
            print(f"round {number + 1}/{rounds} {name}: {ours / theirs:.3f}", file=sys.stderr)
    return found


def _harness(run: Run, name: str, number: int, steps: dict[str, int]) -> float:
    workload = next(iter(run.ready))
    job = PlannedJob("measure", workload, name, 0, block=number)
    run.execute([job], ("measure",))
    record = run.records.get(job.id)
    if record is None or record["status"] != "ok":
        verify = run.records[PlannedJob("verify", workload, name, 0).id]
        raise SystemExit(f"{name} cannot be measured: {(record or verify)['reason']}")
    timed = [block for block in record["measures"]["train_blocks"] if not block["warmup"]]
    steps.setdefault(name, timed[0]["steps"])
    return float(statistics.median(block["seconds"] / block["steps"] for block in timed))


def _script(run: Run, entry: Entry, steps: int) -> float:
    (ready,) = run.ready.values()
    contender = entry.contender
    command: list[Any] = [
        entry.interpreter,
        SCRIPTS / f"{contender.backend.name}.py",
        ready.inputs.data.folder,
        ready.inputs.order(0),
        ready.inputs.weights(0),
        run.threads,
        steps,
        BLOCKS,
        contender.mode.name,
    ]
    threads = {
        name: str(run.threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    }
    variables = {name: value for name, value in contender.mode.variables.items() if "{cache}" not in value}
    said = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, **threads, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(statistics.median(json.loads(said.stdout.splitlines()[-1])["seconds"])) / steps


def _print(measured: dict[str, list[tuple[float, float]]]) -> None:
    table = Table("contender", "harness ms", "by hand ms", "ratio", "95 % interval", "rounds", box=None)
    for name, pairs in measured.items():
        logs = [math.log(ours / theirs) for ours, theirs in pairs]
        mean = statistics.fmean(logs)
        half = float(stats.t.ppf(0.975, len(logs) - 1)) * statistics.stdev(logs) / math.sqrt(len(logs))
        ours, theirs = (statistics.median(side) * 1e3 for side in zip(*pairs, strict=True))
        interval = f"{math.exp(mean - half):.3f} to {math.exp(mean + half):.3f}"
        table.add_row(name, f"{ours:.3f}", f"{theirs:.3f}", f"{math.exp(mean):.3f}", interval, str(len(logs)))
        print(json.dumps({"contender": name, "seconds": pairs}))
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
