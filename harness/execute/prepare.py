"""From a request to a run that can start: data, environments, inputs, and the run's folder."""

from __future__ import annotations

import datetime
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import harness
from harness import environments, machine, paths
from harness.data.download import Progress
from harness.data.prepared import Prepared
from harness.environments import Environment
from harness.errors import OnespecError, UsageError
from harness.execute.references import write_references
from harness.execute.request import Request
from harness.execute.run import Entry, Ready
from harness.plan.jobs import TWIN, PlannedJob
from harness.plan.variants import Sweep
from harness.plan.workloads import Workload, load_data, proof_due, write_inputs
from harness.spec.codec import encode
from harness.store import SCHEMA, Store


def data_of(request: Request, progress: Progress | None = None) -> dict[str, Prepared]:
    """The data of each workload, downloaded where need be. Raises DataError where they cannot be had."""
    return {workload.name: load_data(workload, request.data_dir, progress) for workload in request.workloads}


def meta_of(request: Request, data: Mapping[str, Prepared], name: str) -> dict[str, Any]:
    """What `run.json` will say."""
    text = request.suite
    suite_path = text.path.resolve()
    inside = suite_path.is_relative_to(paths.root())
    return {
        "schema": SCHEMA,
        "run": name,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": ["onespec", *sys.argv[1:]],
        "suite": {
            "name": text.name,
            "title": text.suite.title,
            "path": str(suite_path.relative_to(paths.root()) if inside else suite_path),
            "text": text.text,
            "size": text.size,
        },
        "sweeps": encode(_swept(request)),
        "workloads": {
            workload.name: _workload_meta(workload, data[workload.name]) for workload in request.workloads
        },
        "contenders": [str(contender) for contender in request.contenders],
        "control": {"contender": request.control, "twin": request.control + TWIN}
        if request.control
        else None,
        "device": request.device,
        "threads": request.threads,
        "blocks": request.protocol.blocks if request.planned else None,
        "plan": request.goal and asdict(request.goal),
        "seed": request.seed,
        "protocol": encode(request.protocol),
        "request": request.as_data(),
        "machine": machine.describe(),
        "software": _software(),
        "jobs": jobs_meta(request.jobs()),
    }


def take_up(store: Store) -> None:
    """See that an interrupted run can go on here. Raises UsageError on other hardware, whose numbers would
    stand among those of the first. Other software is told in `run.json` as "this, then that".
    """
    meta = store.meta()
    here, began = machine.describe(), meta["machine"]
    other = [
        f"{name}: {began[name]}, here {here[name]}" for name in machine.HARDWARE if began[name] != here[name]
    ]
    if other:
        raise UsageError(
            f"{store.folder} began on other hardware ({'; '.join(other)}), and a run is of one machine. "
            "Start a new one here; onespec compare holds the two against each other."
        )
    told: dict[str, str | None] = meta["software"]
    now = {
        name: told[name] if (told[name] or "").endswith(value or "") else f"{told[name]}, then {value}"
        for name, value in _software().items()
    }
    store.amend({"software": now})


def _software() -> dict[str, str | None]:
    return {
        "onespec": harness.__version__,
        "commit": _commit(),
        "python": platform.python_version(),
    }


def _swept(request: Request) -> list[Sweep]:
    """The suite's sweeps with at least two levels among the workloads of the run, and those levels alone."""
    running = {workload.name for workload in request.workloads}
    found = []
    for sweep in request.suite.sweeps:
        levels = {level: name for level, name in sweep.levels.items() if name in running}
        if len(levels) > 1:
            found.append(replace(sweep, levels=levels))
    return found


def jobs_meta(jobs: Iterable[PlannedJob]) -> list[dict[str, Any]]:
    """The planned jobs for `run.json`."""
    return [
        {
            "job": job.id,
            "kind": job.kind,
            "workload": job.workload,
            "contender": job.contender,
            "block": job.block,
        }
        for job in jobs
    ]


def _workload_meta(workload: Workload, data: Prepared) -> dict[str, Any]:
    return {
        "fingerprint": workload.spec.fingerprint(data.fingerprint),
        "title": workload.title,
        "spec": encode(workload.spec),
        "metric": workload.spec.metrics[0],
        "target": workload.target,
        "parameters": workload.spec.program.count(),
        "flops_per_sample": workload.spec.program.flops(),
        "training_flops_per_sample": workload.spec.program.training_flops(),
        "tokens_per_sample": workload.tokens_per_sample(data),
        "batch_size": workload.batch_size,
        "steps_per_epoch": workload.steps_per_epoch,
        "epochs": workload.spec.recipe.epochs,
    }


def ready(
    request: Request, data: Mapping[str, Prepared], store: Store, tell: Callable[[str], None]
) -> dict[str, Ready]:
    """Write each workload's inputs. Raises UsageError where a resumed run's specs are no longer the same."""
    recorded = store.meta()["workloads"]
    found, due = {}, {}
    for workload in request.workloads:
        fingerprint = workload.spec.fingerprint(data[workload.name].fingerprint)
        if fingerprint != recorded[workload.name]["fingerprint"]:
            raise UsageError(
                f"{store.folder}: the workload {workload.name} is another one now (an architecture, "
                "the data or the language has changed since), so its records could not be compared. "
                "Start a new run."
            )
        inputs = write_inputs(
            workload, data[workload.name], store.work / "inputs" / workload.name, request.seeds
        )
        found[workload.name] = Ready(workload, inputs, fingerprint)
        due[workload.name] = proof_due(workload, inputs, request.seeds[0])
    write_references(due, request.threads, tell)
    return found


def entries(request: Request, progress: Callable[[Environment, str], None] | None = None) -> dict[str, Entry]:
    """Each contender's interpreter: named by the user, or in an environment made now.

    A contender whose environment cannot be made keeps the reason, and the others carry on.
    """
    found: dict[str, Entry] = {}
    needed = []
    for contender in request.contenders:
        interpreter = environments.named(contender, request.interpreters)
        if interpreter is not None:
            found[str(contender)] = Entry(contender, interpreter)
        elif request.device_kind not in contender.backend.devices:
            backend, kind = contender.backend.name, request.device_kind
            reason = f"the {backend} backend has no {kind} build (its README says why)"
            found[str(contender)] = Entry(contender, None, "unsupported", reason)
        else:
            needed.append(contender)
    made = environments.create_all(needed, request.device_kind, progress)
    for contender in needed:
        outcome = made[str(contender)]
        if isinstance(outcome, OnespecError):
            found[str(contender)] = Entry(contender, None, "crashed", str(outcome))
        else:
            found[str(contender)] = Entry(contender, outcome.python)
    return found


def run_name(request: Request) -> str:
    """A name that sorts by time: `quick-20260102-030405`."""
    return f"{request.suite.name}-{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}"


def results_folder() -> Path:
    """Where runs are kept."""
    return paths.root() / "results"


def _commit() -> str | None:
    """The checkout's commit, with `+` where files differ from it; None outside a checkout."""
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--abbrev=12"],
            cwd=paths.root(),
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()
