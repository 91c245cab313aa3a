"""`python -m tests.faults PRECISIONS FAULTS JOB...` runs inside a backend's environment.

It proves each job's own program, then, with FAULTS 1, each fault against the same references, all in one
process; the last line that it prints is JSON:
{program or fault: {precision: {"holds", "tensor", "error", "tolerance"}}}.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from harness.spec.program import Program
from harness.spec.proof import Check, compare
from harness.worker.backend import load_backend
from harness.worker.job import Job
from harness.worker.protocol import Built, Setting, Tensors
from harness.worker.verify import parts, read_batches
from tests.faults import FAULTS, PATCHES
from tests.faults.fault import Build


def checked(job: Job, build: Build, precision: Any, *, whole: bool) -> dict[str, Any]:
    """The worst check of a program against the job's reference, and whether the proof holds. Unless the
    `whole` evidence is asked for, the first part of it that fails is enough.
    """
    folder = Path(job.proof)
    with np.load(folder / "reference.npz") as archive:
        reference = {name: archive[name] for name in archive.files}
    allowed = json.loads((folder / "tolerances.json").read_text())
    found: Tensors = {}

    def worst(names: Collection[str], coarse: bool) -> Check:
        limits = allowed["float64 coarse" if precision == "float64" and coarse else precision]
        wanted = {name: reference[name] for name in names if name in reference}
        return compare(found, wanted, allowed["scale"], limits)[0]

    for part, coarse in parts(job, build, read_batches(folder), precision):
        found.update(part)
        check = worst(part, coarse)
        if not (whole or check.passed):
            break
    else:
        check = worst(reference, coarse)
    return {
        "holds": check.passed,
        "tensor": check.tensor,
        "error": check.error,
        "tolerance": check.tolerance,
    }


def verdicts(
    backend: str, module: ModuleType, jobs: Mapping[str, Job], faults: bool, precision: Any
) -> dict[str, Any]:
    """What `checked` says of each job's program and, with `faults`, of each fault."""
    build = _once(module.build, [job.program for job in jobs.values()])
    found = {name: checked(job, build, precision, whole=True) for name, job in jobs.items()}
    if faults:
        for title, fault in FAULTS.items():
            found[title] = checked(jobs[fault.on], fault.plant(build), precision, whole=False)
        patches = importlib.import_module(f"tests.fault_patches.on_{backend}")
        for title, (on, plant) in PATCHES.items():
            undo = getattr(patches, plant)(module)
            found[title] = checked(jobs[on], module.build, precision, whole=False)
            undo()
    return found


def main() -> None:
    """Prove each program of the proving ground, then each fault against it."""
    precisions = sys.argv[1].split(",")
    jobs = {path.parent.name: Job.read(path) for path in map(Path, sys.argv[3:])}
    backend = next(iter(jobs.values())).backend
    module = load_backend(backend.name, Path(backend.folder))
    # One precision after the other: for some frameworks it is a setting of the process.
    found = {
        precision: verdicts(backend.name, module, jobs, sys.argv[2] == "1", precision)
        for precision in precisions
    }
    titles = found[precisions[0]]
    by_title = {title: {precision: found[precision][title] for precision in precisions} for title in titles}
    print(json.dumps(by_title), flush=True)
    # Frameworks' own threads may hang on the way out.
    os._exit(0)


def _once(build: Build, programs: Collection[Program]) -> Build:
    """What is built of these programs is kept, for faults that leave them as they are: compilers take their
    time.
    """
    right = [*programs, *[program.without_randomness() for program in programs]]
    kept: list[tuple[Program, Built]] = []

    def remembering(program: Program, setting: Setting) -> Built:
        for known, built in kept:
            if known == program:
                return built
        built = build(program, setting)
        if program in right:
            kept.append((program, built))
        return built

    return remembering


if __name__ == "__main__":
    main()
